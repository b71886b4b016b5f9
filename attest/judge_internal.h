/* The steps of judging one evidence; each writes its claims. In the order of judge.c: a step may
 * use what those before it found. */
#pragma once

#include "attest/attested.h"
#include "attest/judge.h"

struct judging {
    const struct judge_request *request;
    const struct evidence *evidence;
    const struct attest_policy *policy;
    struct verdict *verdict;
    bool has_ek; /* ek and ek_fingerprint can be used; whether it is believed is another matter */
    TPMT_PUBLIC ek;
    char ek_fingerprint[80];
    bool has_ak; /* read, and its attributes are as they must be */
    TPMT_PUBLIC ak;
    struct tpm2_name ak_name;
    bool has_quote; /* signed by the AK for the nonce */
    TPMS_ATTEST quote;
    bool is_other_ak; /* than the one that is remembered: counters cannot be compared */
    bool has_pcrs;    /* the values of evidence->pcrs are those that were quoted */
    struct pcr_selection quoted;
    bool has_event_log;     /* it replays */
    TPM2_ALG_ID log_bank;   /* the strongest one of those quoted */
    uint32_t log_registers; /* of that bank: replayed and equal */
    struct event_log *event_log;
};

DEFINE_CLEANUP(X509, judge_x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, judge_pkey, EVP_PKEY_free);

void judge_step_ek(struct judging *judging);
void judge_step_ak(struct judging *judging);
void judge_step_binding(struct judging *judging);
void judge_step_quote(struct judging *judging);
void judge_step_counters(struct judging *judging);
void judge_step_pcr_values(struct judging *judging);
void judge_step_pcr_accepted(struct judging *judging);
void judge_step_event_log(struct judging *judging);
void judge_step_facts(struct judging *judging);
void judge_step_ima(struct judging *judging);
void judge_step_key(struct judging *judging);
void judge_step_key_certificate(struct judging *judging);

/* What cannot be judged: not proven where it is required, else merely not judged. */
void judge_lacking(struct judging *judging, enum claim claim, enum verdict_reason reason,
                   const char *text);
/* With VERDICT_MISSING. */
void judge_missing(struct judging *judging, enum claim claim, const char *text);

enum verdict_reason judge_reason_of(enum attested_flaw flaw);
/* The hash of the key's scheme, which also makes pcrDigest; NULL: none. */
const struct hash_algorithm *judge_scheme_hash(const TPMT_PUBLIC *public);
/* What was quoted, as a selection; false: it has banks or registers that cannot be judged.
 * ret_inactive: a bank without registers, TPM2_ALG_ERROR: none. */
bool judge_selection_of(const TPML_PCR_SELECTION *quoted, struct pcr_selection *ret_selection,
                        TPM2_ALG_ID *ret_inactive);

/* What a chain of certificates has to be. */
struct chain_question {
    const struct evidence_chain *chain; /* leaf first */
    const TPMT_PUBLIC *key;             /* the leaf is of this key, and no CA's */
    /* Of an AK: its one purpose, and names the EK of this fingerprint. NULL: any purpose. */
    const char *ek_fingerprint;
};
/* To one of the request's issuers, at its time. Without issuers only the leaf's key is checked, and
 * nothing is trusted. */
int judge_chain(const struct judge_request *request, const struct chain_question *question,
                struct error *err);

/* Over all that the answer hangs on but the time. */
int judge_cache_key(const struct judge_request *request, const struct chain_question *question,
                    uint8_t ret_key[HASH_MAX_BYTES], struct error *err);
/* false without a cache. */
bool judge_cache_has(const struct judge_request *request, const uint8_t *key);
/* verified: the certificates of the chain, all of them good. */
void judge_cache_put(const struct judge_request *request, const uint8_t *key,
                     const STACK_OF(X509) * verified);

/* What a TPM reads out of a challenge for that EK and AK. The secret itself never leaves the
 * verifier: what a host learns from a challenge for one AK says nothing about another. */
enum { JUDGE_ANSWER_BYTES = 32 };
int judge_answer(struct bytes secret, struct bytes ek_public, const struct tpm2_name *ak_name,
                 uint8_t ret_answer[JUDGE_ANSWER_BYTES], struct error *err);
