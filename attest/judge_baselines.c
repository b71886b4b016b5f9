#include <stdio.h>
#include <string.h>

#include "attest/judge_internal.h"
#include "lib/base/memory.h"

/* How one baseline compares. */
struct difference {
    const struct baseline *baseline;
    unsigned count;
    uint32_t registers;
    /* The first register that differs. */
    const struct hash_algorithm *bank;
    unsigned index;
};

/* An open baseline is for a boot that has yet to come: in the running system anybody who may extend
 * a register could use it. Counts of another AK have another offset, and so are always others. */
static const char *why_open_is_void(const struct judging *judging, const struct baseline *baseline)
{
    if (judging->is_other_ak) {
        return "it was announced with another AK; announce it again";
    }
    return judging->quote.clockInfo.resetCount == baseline->announced_at_reset
               ? "it is for the next boot"
               : NULL;
}

/* Why it cannot be used now; NULL: it can. */
static const char *why_void(const struct judging *judging, const struct baseline *baseline)
{
    if (baseline->ends_at_s && judging->request->now_s >= baseline->ends_at_s) {
        return "it has ended";
    }
    if (baseline->open_mask) {
        return why_open_is_void(judging, baseline);
    }
    /* It would accept every state. */
    return baseline->pcrs.count > 0 ? NULL : "it has no values";
}

static void note_difference(struct difference *difference, const struct hash_algorithm *bank,
                            unsigned index)
{
    if (difference->count++ == 0) {
        difference->bank = bank;
        difference->index = index;
    }
    difference->registers |= UINT32_C(1) << index;
}

/* A register that the baseline names and the quote does not have differs, too. */
static struct difference compare(const struct pcr_set *pcrs, const struct baseline *baseline)
{
    struct difference difference = {.baseline = baseline};
    for (size_t i = 0; i < baseline->pcrs.count; i++) {
        const struct pcr_bank *wanted = &baseline->pcrs.banks[i];
        const struct hash_algorithm *bank = hash_by_id(wanted->bank);
        uint32_t mask = wanted->mask & ~baseline->open_mask;
        for (unsigned index = 0; bank && index < PCR_COUNT; index++) {
            if (!(mask >> index & 1)) {
                continue;
            }
            const uint8_t *value = pcr_set_value(pcrs, wanted->bank, index);
            if (!value || memcmp(value, wanted->values[index], bank->size) != 0) {
                note_difference(&difference, bank, index);
            }
        }
    }
    return difference;
}

enum { SHORT_BYTES = 6 };

/* The first bytes of a value; enough for people to tell two apart. */
static void write_short(char *to, size_t size, const uint8_t *value)
{
    if (!value) {
        (void)snprintf(to, size, "not quoted");
        return;
    }
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){value, SHORT_BYTES});
    (void)snprintf(to, size, "%s…", hex);
}

static void write_others(char *to, size_t size, const struct difference *difference)
{
    size_t used = 0;
    uint32_t rest = difference->registers & ~(UINT32_C(1) << difference->index);
    to[0] = '\0';
    for (unsigned index = 0; index < PCR_COUNT && used < size; index++) {
        if (rest >> index & 1) {
            int written = snprintf(to + used, size - used, "%s%u",
                                   used ? "," : "; changed as well: PCR ", index);
            used += written > 0 ? (size_t)written : 0;
        }
    }
}

static void say_changed(struct judging *judging, const struct difference *nearest)
{
    char expected[32], found[32], others[96];
    const struct pcr_set *pcrs = &judging->evidence->pcrs;
    TPM2_ALG_ID bank = nearest->bank->id;
    write_short(expected, sizeof(expected),
                pcr_set_value(&nearest->baseline->pcrs, bank, nearest->index));
    write_short(found, sizeof(found), pcr_set_value(pcrs, bank, nearest->index));
    write_others(others, sizeof(others), nearest);
    judging->verdict->has_changed_pcrs = true;
    judging->verdict->changed_pcrs = nearest->registers;
    verdict_set(judging->verdict, CLAIM_PCR_ACCEPTED, CLAIM_REFUTED, VERDICT_PCR_CHANGED,
                "%s:%u is %s, and the nearest baseline \"%s\" expects %s%s; if this change is "
                "yours, record a baseline, else find out what was changed",
                nearest->bank->name, nearest->index, found, nearest->baseline->name, expected,
                others);
}

static void say_none(struct judging *judging, const struct baseline *voided)
{
    const char *why = voided ? why_void(judging, voided) : NULL;
    verdict_set(judging->verdict, CLAIM_PCR_ACCEPTED, CLAIM_NOT_PROVEN, VERDICT_NO_BASELINE,
                "no baseline is in force%s%s%s%s; record one in a state that is known to be good",
                voided ? ": of the last one, \"" : "", voided ? voided->name : "",
                voided ? "\", " : "", why ? why : "");
}

/* The first that is met, or the nearest. */
static struct difference find_nearest(const struct judging *judging,
                                      const struct baseline **ret_voided)
{
    const struct baselines *baselines = &judging->policy->baselines;
    struct difference nearest = {0};
    for (size_t i = 0; i < baselines->count; i++) {
        const struct baseline *baseline = &baselines->items[i];
        if (why_void(judging, baseline)) {
            *ret_voided = baseline;
            continue;
        }
        struct difference difference = compare(&judging->evidence->pcrs, baseline);
        if (!nearest.baseline || difference.count < nearest.count) {
            nearest = difference;
        }
        if (difference.count == 0) {
            break;
        }
    }
    return nearest;
}

void judge_step_pcr_accepted(struct judging *judging)
{
    if (judging->policy->baselines.count == 0) {
        verdict_set(judging->verdict, CLAIM_PCR_ACCEPTED, CLAIM_NOT_JUDGED, VERDICT_NONE,
                    "no baseline says which values are accepted");
        return;
    }
    if (!judging->has_pcrs) {
        judge_missing(judging, CLAIM_PCR_ACCEPTED, "there are no PCR values that were quoted");
        return;
    }
    const struct baseline *voided = NULL;
    struct difference nearest = find_nearest(judging, &voided);
    if (!nearest.baseline) {
        say_none(judging, voided);
    } else if (nearest.count > 0) {
        say_changed(judging, &nearest);
    } else {
        memcpy(judging->verdict->baseline, nearest.baseline->name, sizeof(nearest.baseline->name));
        verdict_set(judging->verdict, CLAIM_PCR_ACCEPTED, CLAIM_PROVEN, VERDICT_NONE,
                    "the values are those of the baseline \"%s\"", nearest.baseline->name);
    }
}
