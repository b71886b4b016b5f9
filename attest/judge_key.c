#include <string.h>

#include "attest/judge_internal.h"

static void refute_key(struct judging *judging, enum verdict_reason reason, const char *text)
{
    verdict_set(judging->verdict, CLAIM_KEY_IN_TPM, CLAIM_REFUTED, reason,
                "the key's certification is refused: %s", text);
}

/* The signed name has to be the one computed here: the attributes below are true only because the
 * name hashes them. */
static void judge_certified(struct judging *judging, const TPMT_PUBLIC *key)
{
    const struct evidence *evidence = judging->evidence;
    enum attested_flaw flaw = ATTESTED_FLAW_NONE;
    struct error failure = {0};
    struct tpm2_name name;
    TPMS_ATTEST attest;
    if (!judging->has_ak) {
        verdict_set(judging->verdict, CLAIM_KEY_IN_TPM, CLAIM_NOT_PROVEN, VERDICT_AK_PROPERTIES,
                    "there is no AK whose word on the key would mean something");
        return;
    }
    if (attested_check(buffer_bytes(&evidence->key.attested),
                       buffer_bytes(&evidence->key.signature), &judging->ak, TPM2_ST_ATTEST_CERTIFY,
                       judging->request->nonce, &attest, &flaw, &failure) < 0) {
        refute_key(judging, judge_reason_of(flaw), failure.text);
        return;
    }
    const TPM2B_NAME *certified = &attest.attested.certify.name;
    if (public_name(key, &name, &failure) < 0 ||
        !bytes_is_equal(tpm2_name_bytes(&name), (struct bytes){certified->name, certified->size})) {
        refute_key(judging, VERDICT_KEY_MISMATCH, "it is of another key than the evidence's");
        return;
    }
    /* Both are signed for the same nonce, yet a TPM may be reset between them: then the quote is
     * not of the state that the key is used in. */
    if (judging->has_quote &&
        (attest.clockInfo.resetCount != judging->quote.clockInfo.resetCount ||
         attest.clockInfo.restartCount != judging->quote.clockInfo.restartCount)) {
        refute_key(judging, VERDICT_TPM_RESET,
                   "the TPM was reset between it and the quote; have the evidence made again");
        return;
    }
    verdict_set(judging->verdict, CLAIM_KEY_IN_TPM, CLAIM_PROVEN, VERDICT_NONE,
                "the AK certified for this nonce that the TPM holds the key");
}

static void judge_properties(struct judging *judging, const TPMT_PUBLIC *key)
{
    const char *flaw = public_flaw_of_signing_key(key);
    if (flaw) {
        verdict_set(judging->verdict, CLAIM_KEY_PROPERTIES, CLAIM_REFUTED, VERDICT_KEY_PROPERTIES,
                    "the key is not one that only signs, was made in the TPM and never leaves it: "
                    "%s",
                    flaw);
    } else if (judging->verdict->claims[CLAIM_KEY_IN_TPM].result == CLAIM_PROVEN) {
        verdict_set(judging->verdict, CLAIM_KEY_PROPERTIES, CLAIM_PROVEN, VERDICT_NONE,
                    "the key was made in the TPM, never leaves it and only signs");
    } else {
        judge_missing(judging, CLAIM_KEY_PROPERTIES,
                      "nothing shows that these are the attributes of a key in the TPM");
    }
}

void judge_step_key(struct judging *judging)
{
    struct bytes encoded = buffer_bytes(&judging->evidence->key_public);
    struct error failure = {0};
    TPMT_PUBLIC key;
    if (encoded.size == 0) {
        judge_missing(judging, CLAIM_KEY_IN_TPM, "the evidence is about no key");
        judge_missing(judging, CLAIM_KEY_PROPERTIES, "the evidence is about no key");
        return;
    }
    if (public_parse(encoded, &key, &failure) < 0) {
        refute_key(judging, VERDICT_MALFORMED, failure.text);
        judge_missing(judging, CLAIM_KEY_PROPERTIES, "the key's public area cannot be read");
        return;
    }
    judge_certified(judging, &key);
    judge_properties(judging, &key);
}

static const char *reason_text(const struct error *failure, enum verdict_reason *ret_reason)
{
    *ret_reason =
        failure->code == ERROR_INVALID_ARGUMENT ? VERDICT_MALFORMED : VERDICT_KEY_CERTIFICATE;
    return failure->text;
}

void judge_step_key_certificate(struct judging *judging)
{
    const struct evidence *evidence = judging->evidence;
    struct error failure = {0};
    enum verdict_reason reason = VERDICT_NONE;
    TPMT_PUBLIC key;
    if (evidence->key_certificates.count == 0) {
        judge_missing(judging, CLAIM_KEY_CERTIFICATE, "there is no certificate of a key");
        return;
    }
    const struct chain_question question = {&evidence->key_certificates, &key, NULL};
    if (public_parse(buffer_bytes(&evidence->key_public), &key, &failure) < 0 ||
        judge_chain(judging->request, &question, &failure) < 0) {
        const char *text = reason_text(&failure, &reason);
        verdict_set(judging->verdict, CLAIM_KEY_CERTIFICATE, CLAIM_REFUTED, reason,
                    "the key's certificate is refused: %s", text);
        return;
    }
    if (!judging->request->issuers) {
        verdict_set(judging->verdict, CLAIM_KEY_CERTIFICATE, CLAIM_NOT_PROVEN,
                    VERDICT_KEY_CERTIFICATE,
                    "the certificate is of that key, but nobody's certificates are trusted: give "
                    "the trust bundle of its issuer");
        return;
    }
    verdict_set(judging->verdict, CLAIM_KEY_CERTIFICATE, CLAIM_PROVEN, VERDICT_NONE,
                "a trusted issuer certifies the key");
}
