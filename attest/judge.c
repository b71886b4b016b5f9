#include "attest/judge.h"

#include "attest/judge_internal.h"
#include "lib/base/memory.h"

static void (*const steps[])(struct judging *judging) = {
    judge_step_ek,       judge_step_ak,         judge_step_binding,      judge_step_quote,
    judge_step_counters, judge_step_pcr_values, judge_step_pcr_accepted, judge_step_event_log,
    judge_step_facts,    judge_step_ima,        judge_step_key,          judge_step_key_certificate,
};

/* Counters of another AK have another offset: they tell nothing, and without a memory there is
 * nothing to compare. Whether they are required is decided where they are judged. */
static uint32_t required_claims(const struct judge_request *request)
{
    const struct attest_policy *policy = request->policy;
    const bool asks_facts = policy->facts.count > 0;
    const struct {
        enum claim claim;
        bool is_required;
    } table[] = {
        {CLAIM_EK_GENUINE, policy->ek_trust != NULL},
        {CLAIM_AK_RESTRICTED, true},
        {CLAIM_AK_IN_TPM, !policy->may_lack_ak_binding},
        {CLAIM_QUOTE, true},
        {CLAIM_PCR_VALUES, policy->selection.count > 0 || policy->baselines.count > 0},
        {CLAIM_PCR_ACCEPTED, policy->baselines.count > 0},
        {CLAIM_EVENT_LOG, policy->requires_event_log || asks_facts},
        {CLAIM_FACTS, asks_facts},
        {CLAIM_IMA, policy->requires_ima},
        {CLAIM_KEY_IN_TPM, request->wants_key},
        {CLAIM_KEY_PROPERTIES, request->wants_key},
        {CLAIM_KEY_CERTIFICATE, request->wants_key && request->issuers},
    };
    uint32_t required = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        required |= (uint32_t)table[i].is_required << table[i].claim;
    }
    return required;
}

void judge_lacking(struct judging *judging, enum claim claim, enum verdict_reason reason,
                   const char *text)
{
    bool is_required = judging->verdict->required >> claim & 1;
    verdict_set(judging->verdict, claim, is_required ? CLAIM_NOT_PROVEN : CLAIM_NOT_JUDGED,
                is_required ? reason : VERDICT_NONE, "%s", text);
}

void judge_missing(struct judging *judging, enum claim claim, const char *text)
{
    judge_lacking(judging, claim, VERDICT_MISSING, text);
}

void judge_evidence(const struct judge_request *request, struct verdict *ret_verdict)
{
    *ret_verdict = (struct verdict){.required = required_claims(request)};
    struct event_log log = {0};
    /* Structures of the TPM are large, and this runs on small stacks of worker threads too. */
    _cleanup_(free_cleanup) struct judging *judging = NEW(struct judging);
    judging->request = request;
    judging->evidence = request->evidence;
    judging->policy = request->policy;
    judging->verdict = ret_verdict;
    judging->event_log = &log;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        steps[i](judging);
    }
    event_log_clear(&log);
}
