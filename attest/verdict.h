/* What judging evidence has shown: claim by claim, each with its reason. Every thread. */
#pragma once

#include "attest/facts.h"

enum claim {
    CLAIM_EK_GENUINE,      /* a manufacturer, or the list, vouches for the EK */
    CLAIM_AK_RESTRICTED,   /* the AK's attributes: it signs nothing but what the TPM itself says */
    CLAIM_AK_IN_TPM,       /* the AK is in the TPM of that EK */
    CLAIM_QUOTE,           /* the TPM signed this state for this nonce */
    CLAIM_COUNTERS,        /* no reset against the policy; nothing went back */
    CLAIM_PCR_VALUES,      /* the values are those that were quoted, of the registers asked for */
    CLAIM_PCR_ACCEPTED,    /* one of the accepted sets; which one is in the text */
    CLAIM_EVENT_LOG,       /* replays to what was quoted */
    CLAIM_FACTS,           /* every required fact holds */
    CLAIM_IMA,             /* the list of files leads to what was quoted */
    CLAIM_KEY_IN_TPM,      /* the key was certified by the AK for this nonce */
    CLAIM_KEY_PROPERTIES,  /* made there, never leaves, only signs */
    CLAIM_KEY_CERTIFICATE, /* the certificate beside it is of that key, by an issuer that is trusted
                            */
    CLAIM_DATA_FRESH,      /* the data folder, as a whole, is no older copy */
};
enum { CLAIM_COUNT = CLAIM_DATA_FRESH + 1 };
/* "ek-genuine", "ak-in-tpm", …: also in JSON. */
const char *claim_name(enum claim claim);
/* In people's words: "the AK is in the TPM of that EK". */
const char *claim_text(enum claim claim);

enum claim_result {
    CLAIM_NOT_JUDGED, /* nobody asked, or there is nothing about it in the evidence */
    CLAIM_PROVEN,
    CLAIM_NOT_PROVEN, /* cannot be told from this evidence */
    CLAIM_REFUTED,    /* it is not so */
};
const char *claim_result_name(enum claim_result result); /* "proven", "not-proven", … */

/* Reasons that programs and alerts look for; the text is for people. */
#define VERDICT_REASON_LIST(X)                                                                     \
    X(NONE, "")                                                                                    \
    X(MISSING, "missing")                                                                          \
    X(MALFORMED, "malformed")                                                                      \
    X(EK_UNTRUSTED, "ek-untrusted")                                                                \
    X(EK_MISMATCH, "ek-mismatch")                                                                  \
    X(EK_TEMPLATE, "ek-template")                                                                  \
    X(AK_PROPERTIES, "ak-properties")                                                              \
    X(AK_UNBOUND, "ak-unbound")                                                                    \
    X(AK_CERTIFICATE, "ak-certificate")                                                            \
    X(ACTIVATION, "activation")                                                                    \
    X(SIGNATURE, "signature")                                                                      \
    X(NOT_BY_TPM, "not-by-tpm")                                                                    \
    X(WRONG_TYPE, "wrong-type")                                                                    \
    X(NONCE, "nonce")                                                                              \
    X(PCR_SELECTION, "pcr-selection")                                                              \
    X(PCR_BANK, "pcr-bank")                                                                        \
    X(PCR_DIGEST, "pcr-digest")                                                                    \
    X(PCR_CHANGED, "pcr-changed")                                                                  \
    X(NO_BASELINE, "no-baseline")                                                                  \
    X(TPM_RESET, "tpm-reset")                                                                      \
    X(CLOCK_BACK, "clock-back")                                                                    \
    X(TPM_CLEARED, "tpm-cleared")                                                                  \
    X(TPM_REPLACED, "tpm-replaced")                                                                \
    X(TPM_UNREACHABLE, "tpm-unreachable")                                                          \
    X(AK_LOST, "ak-lost")                                                                          \
    X(DATA_ROLLED_BACK, "data-rolled-back")                                                        \
    X(EVENT_LOG_REPLAY, "event-log-replay")                                                        \
    X(FACT, "fact")                                                                                \
    X(IMA_REPLAY, "ima-replay")                                                                    \
    X(KEY_MISMATCH, "key-mismatch")                                                                \
    X(KEY_PROPERTIES, "key-properties")                                                            \
    X(KEY_CERTIFICATE, "key-certificate")

#define VERDICT_REASON_ENUM(name, text) VERDICT_##name,
enum verdict_reason { VERDICT_REASON_LIST(VERDICT_REASON_ENUM) VERDICT_REASON_COUNT };
const char *verdict_reason_name(enum verdict_reason reason);

struct finding {
    enum claim_result result;
    enum verdict_reason reason;
    char text[384]; /* what was found and, where it is not proven, why and what to do */
};

struct verdict {
    struct finding claims[CLAIM_COUNT];
    uint32_t required; /* bit for each claim that the policy asks for */
    struct facts facts;
    struct pcr_set pcrs;   /* quoted ones; empty unless CLAIM_PCR_VALUES is proven */
    char baseline[64];     /* the accepted set; empty: none */
    TPMS_CLOCK_INFO clock; /* of the quote; zero unless CLAIM_QUOTE is proven */
    bool has_changed_pcrs;
    uint32_t changed_pcrs; /* of the accepted set that is nearest; bits */
};

void verdict_set(struct verdict *verdict, enum claim claim, enum claim_result result,
                 enum verdict_reason reason, const char *format, ...) _printf_(5, 6);
void verdict_clear(struct verdict *verdict);

/* Nothing is refuted and every required claim is proven. */
bool verdict_allows(const struct verdict *verdict);
/* The finding that decides where it does not allow: what is refuted first, in the order of claims;
 * NULL where it allows. ret_claim may be NULL. */
const struct finding *verdict_first_flaw(const struct verdict *verdict, enum claim *ret_claim);
