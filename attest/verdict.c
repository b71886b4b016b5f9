#include "attest/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
} claims[CLAIM_COUNT] = {
    [CLAIM_EK_GENUINE] = {"ek-genuine", "a trusted party vouches for the TPM's EK"},
    [CLAIM_AK_RESTRICTED] = {"ak-restricted", "the AK signs nothing but what the TPM itself says"},
    [CLAIM_AK_IN_TPM] = {"ak-in-tpm", "the AK is in the TPM of that EK"},
    [CLAIM_QUOTE] = {"quote", "the TPM signed its state for this nonce"},
    [CLAIM_COUNTERS] = {"counters", "the TPM was not reset against the policy, nothing went back"},
    [CLAIM_PCR_VALUES] = {"pcr-values", "the PCR values are those that were quoted"},
    [CLAIM_PCR_ACCEPTED] = {"pcr-accepted", "the PCR values are an accepted baseline"},
    [CLAIM_EVENT_LOG] = {"event-log", "the boot event log leads to the quoted PCRs"},
    [CLAIM_FACTS] = {"facts", "the required facts of the boot hold"},
    [CLAIM_IMA] = {"ima", "the list of measured files leads to the quoted PCR 10"},
    [CLAIM_KEY_IN_TPM] = {"key-in-tpm", "the key is in the same TPM, certified for this nonce"},
    [CLAIM_KEY_PROPERTIES] = {"key-properties",
                              "the key was made in the TPM, never leaves it and only signs"},
    [CLAIM_KEY_CERTIFICATE] = {"key-certificate",
                               "the certificate is of that key, by a trusted issuer"},
    [CLAIM_DATA_FRESH] = {"data-fresh", "the data folder, as a whole, is no older copy"},
};

const char *claim_name(enum claim claim)
{
    return (unsigned)claim < CLAIM_COUNT ? claims[claim].name : "";
}

const char *claim_text(enum claim claim)
{
    return (unsigned)claim < CLAIM_COUNT ? claims[claim].text : "";
}

const char *claim_result_name(enum claim_result result)
{
    static const char *const names[] = {
        [CLAIM_NOT_JUDGED] = "not-judged",
        [CLAIM_PROVEN] = "proven",
        [CLAIM_NOT_PROVEN] = "not-proven",
        [CLAIM_REFUTED] = "refuted",
    };
    return (unsigned)result < ARRAY_SIZE(names) ? names[result] : "";
}

const char *verdict_reason_name(enum verdict_reason reason)
{
#define REASON_NAME(name, text) [VERDICT_##name] = (text),
    static const char *const names[] = {VERDICT_REASON_LIST(REASON_NAME)};
#undef REASON_NAME
    return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "";
}

void verdict_set(struct verdict *verdict, enum claim claim, enum claim_result result,
                 enum verdict_reason reason, const char *format, ...)
{
    struct finding *finding = &verdict->claims[claim];
    finding->result = result;
    finding->reason = reason;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
    /* Texts carry what others wrote: names, paths, subjects. */
    text_make_printable(finding->text);
}

void verdict_clear(struct verdict *verdict)
{
    facts_clear(&verdict->facts);
    *verdict = (struct verdict){0};
}

static bool is_required(const struct verdict *verdict, unsigned claim)
{
    return verdict->required >> claim & 1;
}

const struct finding *verdict_first_flaw(const struct verdict *verdict, enum claim *ret_claim)
{
    unsigned found = CLAIM_COUNT;
    for (unsigned i = 0; i < CLAIM_COUNT; i++) {
        const struct finding *finding = &verdict->claims[i];
        bool is_lacking = is_required(verdict, i) && finding->result != CLAIM_PROVEN;
        if (finding->result == CLAIM_REFUTED) {
            found = i;
            break;
        }
        if (is_lacking && found == CLAIM_COUNT) {
            found = i;
        }
    }
    if (found == CLAIM_COUNT) {
        return NULL;
    }
    if (ret_claim) {
        *ret_claim = (enum claim)found;
    }
    return &verdict->claims[found];
}

bool verdict_allows(const struct verdict *verdict)
{
    return !verdict_first_flaw(verdict, NULL);
}
