#include <stdio.h>
#include <string.h>

#include "attest/ima.h"
#include "attest/judge_internal.h"
#include "lib/base/memory.h"

enum { IMA_PCR = 10 };

/* Registers that only firmware, boot loader and the kernel's stub extend: the log is their whole
 * story. IMA extends 10; systemd 11, 12, 13 and 15 long after boot; 16 and 23 are for anybody, 17
 * to 22 are dynamic launches. Those are of use where they happen to replay, and refute nothing. */
static const uint32_t boot_registers = 0x3ff | UINT32_C(1) << 14;

struct replay {
    uint32_t equal;   /* quoted, and as replayed */
    uint32_t differs; /* quoted, of boot_registers, and not as replayed */
};

static int replay_bank(const struct judging *judging, TPM2_ALG_ID bank, uint32_t mask,
                       struct replay *ret_replay, struct error *err)
{
    struct pcr_bank replayed = {0};
    struct replay replay = {0};
    const struct hash_algorithm *hash = hash_by_id(bank);
    TRY(event_log_replay(judging->event_log, bank, &replayed, err));
    for (unsigned index = 0; index < PCR_COUNT; index++) {
        const uint32_t bit = UINT32_C(1) << index;
        const uint8_t *quoted = pcr_set_value(&judging->evidence->pcrs, bank, index);
        if (!(mask & bit)) {
            continue;
        }
        if ((replayed.mask & bit) && memcmp(quoted, replayed.values[index], hash->size) == 0) {
            replay.equal |= bit;
        } else {
            replay.differs |= bit & boot_registers;
        }
    }
    *ret_replay = replay;
    return 0;
}

static void refute_log(struct judging *judging, enum verdict_reason reason, const char *text)
{
    verdict_set(judging->verdict, CLAIM_EVENT_LOG, CLAIM_REFUTED, reason,
                "the event log is refused: %s", text);
}

/* Every bank of the quote has to agree; the strongest one draws the facts. */
static bool replay_banks(struct judging *judging)
{
    const struct hash_algorithm *best = NULL;
    struct error failure = {0};
    for (size_t i = 0; i < judging->quoted.count; i++) {
        TPM2_ALG_ID bank = judging->quoted.banks[i].bank;
        const struct hash_algorithm *hash = hash_by_id(bank);
        struct replay replay = {0};
        if (replay_bank(judging, bank, judging->quoted.banks[i].mask, &replay, &failure) < 0) {
            refute_log(judging, VERDICT_EVENT_LOG_REPLAY, failure.text);
            return false;
        }
        if (replay.differs) {
            char text[96];
            (void)snprintf(text, sizeof(text), "%s:%d is not what its events lead to", hash->name,
                           __builtin_ctz(replay.differs));
            refute_log(judging, VERDICT_EVENT_LOG_REPLAY, text);
            return false;
        }
        if ((replay.equal & boot_registers) && (!best || hash->size > best->size)) {
            best = hash;
            judging->log_bank = bank;
            judging->log_registers = replay.equal;
        }
    }
    return true;
}

void judge_step_event_log(struct judging *judging)
{
    struct error failure = {0};
    struct bytes bytes = buffer_bytes(&judging->evidence->event_log);
    if (bytes.size == 0) {
        judge_missing(judging, CLAIM_EVENT_LOG, "the evidence has no event log");
        return;
    }
    if (event_log_parse(bytes, judging->event_log, &failure) < 0) {
        refute_log(judging, VERDICT_MALFORMED, failure.text);
        return;
    }
    if (!judging->has_pcrs) {
        judge_missing(judging, CLAIM_EVENT_LOG,
                      "there are no PCR values that were quoted to compare the event log with");
        return;
    }
    if (!replay_banks(judging)) {
        return;
    }
    if (judging->log_registers == 0) {
        judge_lacking(judging, CLAIM_EVENT_LOG, VERDICT_PCR_SELECTION,
                      "none of the registers of the boot (PCR 0 to 9 and 14) is quoted; add some "
                      "to the policy's pcrs");
        return;
    }
    judging->has_event_log = true;
    verdict_set(judging->verdict, CLAIM_EVENT_LOG, CLAIM_PROVEN, VERDICT_NONE,
                "%zu events lead to what was quoted", judging->event_log->count);
}

void judge_step_facts(struct judging *judging)
{
    const struct text_list *wanted = &judging->policy->facts;
    if (!judging->has_event_log) {
        judge_missing(judging, CLAIM_FACTS,
                      "facts come from an event log, and none was shown to be true");
        return;
    }
    facts_draw(judging->event_log, judging->log_bank, judging->log_registers,
               &judging->verdict->facts);
    for (size_t i = 0; i < wanted->count; i++) {
        if (!facts_hold(&judging->verdict->facts, wanted->items[i])) {
            verdict_set(
                judging->verdict, CLAIM_FACTS, CLAIM_REFUTED, VERDICT_FACT,
                "\"%s\" does not hold of this boot, or the register that vouches for it is not "
                "quoted; signet attest show lists what holds",
                wanted->items[i]);
            return;
        }
    }
    if (wanted->count > 0) {
        verdict_set(judging->verdict, CLAIM_FACTS, CLAIM_PROVEN, VERDICT_NONE,
                    "all %zu required facts hold", wanted->count);
    } else {
        judge_missing(judging, CLAIM_FACTS, "no facts are required");
    }
}

static size_t count_violations(const struct ima_list *list, size_t count)
{
    size_t violations = 0;
    for (size_t i = 0; i < count; i++) {
        violations += list->entries[i].is_violation;
    }
    return violations;
}

/* Every bank of which PCR 10 was quoted has to agree. */
static bool replay_ima(struct judging *judging, const struct ima_list *list, size_t *ret_count,
                       bool *ret_is_quoted)
{
    for (size_t i = 0; i < judging->quoted.count; i++) {
        TPM2_ALG_ID bank = judging->quoted.banks[i].bank;
        const uint8_t *quoted = pcr_set_value(&judging->evidence->pcrs, bank, IMA_PCR);
        struct error failure = {0};
        if (!quoted) {
            continue;
        }
        *ret_is_quoted = true;
        if (ima_replay(list, bank, quoted, ret_count, &failure) < 0) {
            verdict_set(judging->verdict, CLAIM_IMA, CLAIM_REFUTED, VERDICT_IMA_REPLAY,
                        "the list of measured files is refused: %s", failure.text);
            return false;
        }
    }
    return true;
}

void judge_step_ima(struct judging *judging)
{
    _cleanup_(ima_clear) struct ima_list list = {0};
    struct bytes bytes = buffer_bytes(&judging->evidence->ima_list);
    struct error failure = {0};
    size_t count = 0;
    bool is_quoted = false;
    if (bytes.size == 0) {
        judge_missing(judging, CLAIM_IMA, "the evidence has no list of measured files");
        return;
    }
    if (ima_parse(bytes, &list, &failure) < 0) {
        verdict_set(judging->verdict, CLAIM_IMA, CLAIM_REFUTED, VERDICT_MALFORMED,
                    "the list of measured files cannot be read: %s", failure.text);
        return;
    }
    if (!judging->has_pcrs) {
        judge_missing(judging, CLAIM_IMA,
                      "there are no PCR values that were quoted to compare the list with");
        return;
    }
    if (!replay_ima(judging, &list, &count, &is_quoted)) {
        return;
    }
    if (!is_quoted) {
        judge_lacking(judging, CLAIM_IMA, VERDICT_PCR_SELECTION,
                      "PCR 10 is not quoted; add it to the policy's pcrs");
        return;
    }
    verdict_set(judging->verdict, CLAIM_IMA, CLAIM_PROVEN, VERDICT_NONE,
                "%zu measured files lead to the quoted PCR 10 (%zu of them changed while they were "
                "measured); %zu came after the quote",
                count, count_violations(&list, count), list.count - count);
}
