#include <string.h>

#include "attest/judge_internal.h"

enum verdict_reason judge_reason_of(enum attested_flaw flaw)
{
    static const enum verdict_reason reasons[] = {
        [ATTESTED_FLAW_NONE] = VERDICT_MALFORMED,
        [ATTESTED_FLAW_ENCODING] = VERDICT_MALFORMED,
        [ATTESTED_FLAW_ALGORITHM] = VERDICT_SIGNATURE,
        [ATTESTED_FLAW_SIGNATURE] = VERDICT_SIGNATURE,
        [ATTESTED_FLAW_MAGIC] = VERDICT_NOT_BY_TPM,
        [ATTESTED_FLAW_TYPE] = VERDICT_WRONG_TYPE,
        [ATTESTED_FLAW_NONCE] = VERDICT_NONCE,
    };
    return (unsigned)flaw < ARRAY_SIZE(reasons) ? reasons[flaw] : VERDICT_MALFORMED;
}

void judge_step_quote(struct judging *judging)
{
    const struct evidence *evidence = judging->evidence;
    enum attested_flaw flaw = ATTESTED_FLAW_NONE;
    struct error failure = {0};
    if (evidence->quote.attested.size == 0 || evidence->quote.signature.size == 0) {
        judge_missing(judging, CLAIM_QUOTE, "the evidence has no quote");
        return;
    }
    if (!judging->has_ak) {
        verdict_set(judging->verdict, CLAIM_QUOTE, CLAIM_NOT_PROVEN, VERDICT_AK_PROPERTIES,
                    "there is no AK whose signature on a quote would mean something");
        return;
    }
    if (judging->request->nonce.size < EVIDENCE_NONCE_MIN_BYTES) {
        verdict_set(judging->verdict, CLAIM_QUOTE, CLAIM_REFUTED, VERDICT_NONCE,
                    "the verifier's nonce has less than %d bytes, so an old quote may fit it",
                    EVIDENCE_NONCE_MIN_BYTES);
        return;
    }
    /* Told twice, it has to be the same; only the verifier's counts. */
    if (!bytes_is_equal(buffer_bytes(&evidence->nonce), judging->request->nonce)) {
        verdict_set(judging->verdict, CLAIM_QUOTE, CLAIM_REFUTED, VERDICT_NONCE,
                    "the evidence was made for another nonce: it is old, or meant for another "
                    "verifier");
        return;
    }
    if (attested_check(buffer_bytes(&evidence->quote.attested),
                       buffer_bytes(&evidence->quote.signature), &judging->ak, TPM2_ST_ATTEST_QUOTE,
                       judging->request->nonce, &judging->quote, &flaw, &failure) < 0) {
        verdict_set(judging->verdict, CLAIM_QUOTE, CLAIM_REFUTED, judge_reason_of(flaw),
                    "the quote is refused: %s", failure.text);
        return;
    }
    judging->has_quote = true;
    judging->verdict->clock = judging->quote.clockInfo;
    verdict_set(judging->verdict, CLAIM_QUOTE, CLAIM_PROVEN, VERDICT_NONE,
                "the AK signed the quote for this nonce");
}

/* Counts are offset by a constant of the AK (TPM 2.0 Part 1 36.7), so only differences, modulo
 * 2^32, mean something. */
static bool is_back(uint32_t now, uint32_t before)
{
    return (int32_t)(now - before) < 0;
}

static void say_back(struct judging *judging, const char *what)
{
    verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_REFUTED, VERDICT_CLOCK_BACK,
                "the TPM's %s went back: an older state of it was put back (a virtual machine's "
                "snapshot?)",
                what);
}

/* resetCount and restartCount against the policy: a TPM that starts anew while the host goes on
 * forgets its PCRs, and what they are then is up to whoever extends them. A restart that clears
 * PCRs cannot be told from the host's own resume, so both are denied. */
static bool is_reset_denied(struct judging *judging, const TPMS_CLOCK_INFO *before)
{
    const TPMS_CLOCK_INFO *now = &judging->quote.clockInfo;
    if (judging->policy->resets != RESET_DENY || !judging->request->memory->is_same_boot) {
        return false;
    }
    if (now->resetCount != before->resetCount) {
        verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_REFUTED, VERDICT_TPM_RESET,
                    "the TPM was reset %u times while this host went on: somebody reset it, and "
                    "its PCRs no longer tell of this boot; reboot the host",
                    now->resetCount - before->resetCount);
        return true;
    }
    if (now->restartCount != before->restartCount) {
        verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_REFUTED, VERDICT_TPM_RESET,
                    "the TPM was restarted %u times while this host went on; reboot the host, or, "
                    "if it may sleep, let the policy allow resets",
                    now->restartCount - before->restartCount);
        return true;
    }
    return false;
}

static void compare_clock(struct judging *judging)
{
    const TPMS_CLOCK_INFO *before = &judging->request->memory->clock;
    const TPMS_CLOCK_INFO *now = &judging->quote.clockInfo;
    bool is_same_reset = now->resetCount == before->resetCount;
    if (is_back(now->resetCount, before->resetCount)) {
        say_back(judging, "count of resets");
    } else if (is_same_reset && is_back(now->restartCount, before->restartCount)) {
        say_back(judging, "count of restarts");
    } else if (is_reset_denied(judging, before)) {
        return;
    } else if (now->clock < before->clock && (is_same_reset || now->safe)) {
        /* After a stop without a shutdown the clock may be some minutes behind, and says so by
         * safe = 0; within one cycle, or once it is safe again, it never is. */
        say_back(judging, "clock");
    } else {
        verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_PROVEN, VERDICT_NONE,
                    "since the last time the TPM was reset %u times, and nothing went back%s",
                    now->resetCount - before->resetCount,
                    now->safe ? "" : " (its clock is not sure of itself after an unclean stop)");
    }
}

static bool is_name_equal(const struct tpm2_name *a, const struct tpm2_name *b)
{
    return bytes_is_equal(tpm2_name_bytes(a), tpm2_name_bytes(b));
}

void judge_step_counters(struct judging *judging)
{
    const struct judge_memory *memory = judging->request->memory;
    if (!memory || !memory->is_known) {
        verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_NOT_JUDGED, VERDICT_NONE,
                    "nothing is remembered of this TPM to compare with");
        return;
    }
    if (judging->evidence->ek_public.size &&
        !bytes_is_equal(buffer_bytes(&memory->ek_public),
                        buffer_bytes(&judging->evidence->ek_public))) {
        verdict_set(judging->verdict, CLAIM_COUNTERS, CLAIM_REFUTED, VERDICT_TPM_REPLACED,
                    "this is another TPM than before: its EK is %s",
                    judging->has_ek ? judging->ek_fingerprint : "not readable");
        return;
    }
    if (judging->has_ak && !is_name_equal(&memory->ak_name, &judging->ak_name)) {
        /* Counters of another AK have another offset. */
        judging->is_other_ak = true;
        bool is_denied = judging->policy->resets == RESET_DENY && memory->is_same_boot;
        judging->verdict->required |= (uint32_t)is_denied << CLAIM_COUNTERS;
        verdict_set(
            judging->verdict, CLAIM_COUNTERS, is_denied ? CLAIM_NOT_PROVEN : CLAIM_NOT_JUDGED,
            is_denied ? VERDICT_AK_LOST : VERDICT_NONE,
            "the AK is another than before, and its counters cannot be compared%s",
            is_denied ? ", so that a reset of the TPM would not show; reboot the host" : "");
        return;
    }
    judging->verdict->required |= 1U << CLAIM_COUNTERS;
    if (judging->has_quote) {
        compare_clock(judging);
    } else {
        judge_missing(judging, CLAIM_COUNTERS, "counters come with a quote, and none is good");
    }
}
