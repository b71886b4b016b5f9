/* The verifier: judges evidence in software, on any machine, without a TPM. Every thread; one
 * struct ek_trust may serve several at once. */
#pragma once

#include <openssl/x509.h>

#include "attest/evidence.h"
#include "attest/policy.h"
#include "lib/base/secret.h"

/* What is remembered of the same TPM from before; all zero: nothing. */
struct judge_memory {
    bool is_known;
    struct buffer ek_public; /* of the last time */
    struct tpm2_name ak_name;
    TPMS_CLOCK_INFO clock; /* of the last quote that was believed, with the same AK */
    bool is_same_boot;     /* the host's kernel is still the one of then */
};

/* Certificates of AKs and keys that were found good, for the next time: at most 1,024 chains, each
 * for as long as all of it is valid. For who judges a lot. */
struct judge_cache;
struct judge_cache *judge_cache_new(void);
void judge_cache_free(struct judge_cache *cache);

struct judge_request {
    const struct evidence *evidence;
    const struct attest_policy *policy;
    struct bytes nonce; /* the verifier's own; never taken from the evidence */
    /* The secret that judge_challenge gave; empty: no challenge was made. Compared in constant
     * time with what the TPM answered. */
    struct bytes challenge_secret;
    /* Whose certificates of AKs and keys are believed; NULL: nobody's. */
    STACK_OF(X509) * issuers;
    struct judge_cache *cache;         /* NULL: none */
    const struct judge_memory *memory; /* NULL: none */
    bool wants_key;                    /* the key's claims are required */
    int64_t now_s;
};

/* Always gives a verdict; malformed parts refute their claim with VERDICT_MALFORMED. Clear it with
 * verdict_clear. CLAIM_DATA_FRESH is left to the agent, as is what needs a TPM. */
void judge_evidence(const struct judge_request *request, struct verdict *ret_verdict);

/* A challenge for the EK and AK of an evidence, and the verifier's secret of 32 bytes that belongs
 * to it (judge_request.challenge_secret). What the challenge hides, and the TPM answers in
 * evidence.activated, is derived from the secret, that EK and that AK: the answer for one AK says
 * nothing about another. */
int judge_challenge(const struct evidence *evidence, struct challenge *ret_challenge,
                    struct secret *ret_secret, struct error *err);

/* Of an AK certificate: the extended key usage that says so (2.23.133.8.3), and the subject's
 * serialNumber, which names the EK: "sha256:HEX" of its SubjectPublicKeyInfo. */
#define JUDGE_AK_CERTIFICATE_PURPOSE "2.23.133.8.3"
int judge_ek_fingerprint(const TPMT_PUBLIC *ek, char ret_text[80], struct error *err);
