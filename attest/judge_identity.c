#include <stdio.h>
#include <string.h>

#include "attest/credential.h"
#include "attest/judge_internal.h"
#include "lib/base/memory.h"

int judge_ek_fingerprint(const TPMT_PUBLIC *ek, char ret_text[80], struct error *err)
{
    _cleanup_(buffer_clear) struct buffer spki = {0};
    uint8_t digest[HASH_MAX_BYTES];
    const struct hash_algorithm *hash = hash_by_id(TPM2_ALG_SHA256);
    struct bytes parts[1];
    TRY(public_spki(ek, &spki, err));
    parts[0] = buffer_bytes(&spki);
    TRY(hash_compute(hash, parts, 1, digest, err));
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, hash->size});
    (void)snprintf(ret_text, 80, "sha256:%s", hex);
    return 0;
}

/* Only once it is refused: which of the reasons it is. */
static enum verdict_reason reason_of_ek(const struct judging *judging, const struct error *failure)
{
    const struct evidence_chain *chain = &judging->evidence->ek_certificates;
    _cleanup_(judge_x509_cleanup) X509 *certificate = NULL;
    _cleanup_(judge_pkey_cleanup) EVP_PKEY *certified = NULL;
    _cleanup_(judge_pkey_cleanup) EVP_PKEY *pkey = NULL;
    size_t size = 0;
    if (chain->count == 0) {
        return failure->code == ERROR_INVALID_ARGUMENT ? VERDICT_MALFORMED : VERDICT_EK_UNTRUSTED;
    }
    if (ek_certificate_parse(buffer_bytes(&chain->items[0]), &certificate, &size, NULL) < 0) {
        return VERDICT_MALFORMED;
    }
    certified = ek_certificate_pkey(certificate, NULL);
    if (!certified || public_pkey(&judging->ek, &pkey, NULL) < 0) {
        return VERDICT_MALFORMED;
    }
    return EVP_PKEY_eq(certified, pkey) == 1 ? VERDICT_EK_UNTRUSTED : VERDICT_EK_MISMATCH;
}

static void judge_ek_trust(struct judging *judging)
{
    const struct evidence_chain *chain = &judging->evidence->ek_certificates;
    struct bytes certificate = {0};
    struct bytes further[EVIDENCE_CHAIN_MAX];
    for (size_t i = 0; i < chain->count; i++) {
        *(i ? &further[i - 1] : &certificate) = buffer_bytes(&chain->items[i]);
    }
    const char *how = NULL;
    struct error failure = {0};
    if (ek_trust_judge(judging->policy->ek_trust, &judging->ek, certificate, further,
                       chain->count ? chain->count - 1 : 0, judging->request->now_s, &how,
                       &failure) < 0) {
        enum verdict_reason reason = reason_of_ek(judging, &failure);
        verdict_set(judging->verdict, CLAIM_EK_GENUINE, CLAIM_REFUTED, reason,
                    "the EK %s is not believed: %s", judging->ek_fingerprint, failure.text);
        return;
    }
    verdict_set(judging->verdict, CLAIM_EK_GENUINE, CLAIM_PROVEN, VERDICT_NONE,
                "the EK %s (%s) is believed by %s", judging->ek_fingerprint,
                ek_template_of(&judging->ek)->name,
                strcmp(how, "hash") == 0 ? "the list of hashes" : "its manufacturer's certificate");
}

void judge_step_ek(struct judging *judging)
{
    struct error failure = {0};
    if (judging->evidence->ek_public.size == 0) {
        judge_missing(judging, CLAIM_EK_GENUINE, "the evidence has no EK");
        return;
    }
    if (public_parse(buffer_bytes(&judging->evidence->ek_public), &judging->ek, &failure) < 0 ||
        judge_ek_fingerprint(&judging->ek, judging->ek_fingerprint, &failure) < 0) {
        verdict_set(judging->verdict, CLAIM_EK_GENUINE, CLAIM_REFUTED, VERDICT_MALFORMED,
                    "the EK's public area cannot be read: %s", failure.text);
        return;
    }
    /* A key of another template may be used for other things than credentials, so that what it
     * decrypts proves nothing. */
    if (!ek_template_of(&judging->ek)) {
        verdict_set(judging->verdict, CLAIM_EK_GENUINE, CLAIM_REFUTED, VERDICT_EK_TEMPLATE,
                    "the EK's attributes, policy or algorithms are of none of the EK Credential "
                    "Profile's templates, so it is no EK");
        return;
    }
    judging->has_ek = true;
    if (judging->policy->ek_trust) {
        judge_ek_trust(judging);
    } else {
        verdict_set(judging->verdict, CLAIM_EK_GENUINE, CLAIM_NOT_JUDGED, VERDICT_NONE,
                    "nothing says whom to believe about EKs; give the CAs of TPM manufacturers or "
                    "hashes of EKs");
    }
}

void judge_step_ak(struct judging *judging)
{
    struct error failure = {0};
    if (judging->evidence->ak_public.size == 0) {
        judge_missing(judging, CLAIM_AK_RESTRICTED, "the evidence has no AK");
        return;
    }
    if (public_parse(buffer_bytes(&judging->evidence->ak_public), &judging->ak, &failure) < 0 ||
        public_name(&judging->ak, &judging->ak_name, &failure) < 0) {
        verdict_set(judging->verdict, CLAIM_AK_RESTRICTED, CLAIM_REFUTED, VERDICT_MALFORMED,
                    "the AK's public area cannot be read: %s", failure.text);
        return;
    }
    const char *flaw = public_flaw_of_ak(&judging->ak);
    if (flaw) {
        verdict_set(judging->verdict, CLAIM_AK_RESTRICTED, CLAIM_REFUTED, VERDICT_AK_PROPERTIES,
                    "the AK would sign, or give away, more than what the TPM says: %s", flaw);
        return;
    }
    judging->has_ak = true;
    verdict_set(judging->verdict, CLAIM_AK_RESTRICTED, CLAIM_PROVEN, VERDICT_NONE,
                "the AK is restricted, made in its TPM and never leaves it");
}
