#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "attest/credential.h"
#include "attest/judge_internal.h"

/* Whether the AK is in the TPM of the EK. An EK signs nothing, so neither key can speak of the
 * other: there are two sound ways and no third. Either this verifier hid a secret that only the TPM
 * with that EK reads, and only while it holds that AK (TPM2_ActivateCredential); or an issuer that
 * is trusted did so, and says it in a certificate. That both keys come in one document, that the
 * AK's quote is good, or that the AK's parent looks right shows nothing: anybody can make an AK in
 * a TPM of his own, or in software with the attributes that please, and put another's EK
 * certificate beside it. */

int judge_answer(struct bytes secret, struct bytes ek_public, const struct tpm2_name *ak_name,
                 uint8_t ret_answer[JUDGE_ANSWER_BYTES], struct error *err)
{
    static const char label[] = "signet challenge 1";
    _cleanup_(buffer_clear) struct buffer input = {0};
    unsigned size = 0;
    /* The sizes keep the parts apart. */
    buffer_append(&input, label, sizeof(label));
    buffer_append_u16(&input, (uint16_t)ek_public.size);
    buffer_append(&input, ek_public.data, ek_public.size);
    buffer_append_u16(&input, (uint16_t)ak_name->size);
    buffer_append(&input, ak_name->data, ak_name->size);
    if (!HMAC(EVP_sha256(), secret.data, (int)secret.size, input.data, input.size, ret_answer,
              &size) ||
        size != JUDGE_ANSWER_BYTES) {
        return error_set_openssl(err, ERROR_INTERNAL, "computing a challenge's answer");
    }
    return 0;
}

static int read_keys(const struct evidence *evidence, TPMT_PUBLIC *ret_ek,
                     struct tpm2_name *ret_ak_name, struct error *err)
{
    TPMT_PUBLIC ak;
    if (public_parse(buffer_bytes(&evidence->ek_public), ret_ek, err) < 0) {
        return error_prepend(err, "the evidence's EK");
    }
    if (public_parse(buffer_bytes(&evidence->ak_public), &ak, err) < 0 ||
        public_name(&ak, ret_ak_name, err) < 0) {
        return error_prepend(err, "the evidence's AK");
    }
    return 0;
}

static int make_challenge(const struct evidence *evidence, struct challenge *challenge,
                          struct secret *secret, struct error *err)
{
    _cleanup_(secret_clear) struct secret answer = {0};
    TPMT_PUBLIC ek;
    struct tpm2_name name;
    TRY(read_keys(evidence, &ek, &name, err));
    TRY(secret_new(CREDENTIAL_SECRET_BYTES, secret, err));
    TRY(secret_new(JUDGE_ANSWER_BYTES, &answer, err));
    if (RAND_priv_bytes(secret->data, (int)secret->size) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "no random bytes");
    }
    TRY(judge_answer(secret_bytes(secret), buffer_bytes(&evidence->ek_public), &name, answer.data,
                     err));
    buffer_append(&challenge->ak_name, name.data, name.size);
    return credential_make(&ek, &name, secret_bytes(&answer), &challenge->id_object,
                           &challenge->encrypted_secret, err);
}

int judge_challenge(const struct evidence *evidence, struct challenge *ret_challenge,
                    struct secret *ret_secret, struct error *err)
{
    struct challenge challenge = {0};
    struct secret secret = {0};
    if (make_challenge(evidence, &challenge, &secret, err) < 0) {
        challenge_clear(&challenge);
        secret_clear(&secret);
        return error_prepend(err, "making a challenge");
    }
    *ret_challenge = challenge;
    *ret_secret = secret;
    return 0;
}

static void bind(struct judging *judging, enum claim_result result, enum verdict_reason reason,
                 const char *text, const char *more)
{
    verdict_set(judging->verdict, CLAIM_AK_IN_TPM, result, reason, "%s%s", text, more);
}

/* Whether there is nothing left to say. */
static bool judge_answered(struct judging *judging)
{
    const struct judge_request *request = judging->request;
    uint8_t hidden[JUDGE_ANSWER_BYTES];
    _cleanup_(buffer_clear) struct buffer answer = {0};
    if (judging->evidence->activated.size == 0) {
        bind(judging, CLAIM_NOT_PROVEN, VERDICT_ACTIVATION,
             "the challenge is not answered in this evidence; have it made with the challenge", "");
        return false;
    }
    bool is_right =
        judge_answer(request->challenge_secret, buffer_bytes(&judging->evidence->ek_public),
                     &judging->ak_name, hidden, NULL) == 0 &&
        challenge_answer((struct bytes){hidden, sizeof(hidden)}, request->nonce, &answer, NULL) ==
            0 &&
        bytes_is_equal_secret(buffer_bytes(&answer), buffer_bytes(&judging->evidence->activated));
    if (!is_right) {
        bind(judging, CLAIM_REFUTED, VERDICT_ACTIVATION,
             "the answer to the challenge is wrong: the AK is not in the TPM of that EK, or the "
             "challenge was made for other keys, or answered for another nonce",
             "");
        return false;
    }
    bind(judging, CLAIM_PROVEN, VERDICT_NONE,
         "the TPM of the EK answered the challenge for this AK", "");
    return true;
}

void judge_step_binding(struct judging *judging)
{
    bool has_certificate = judging->evidence->ak_certificates.count > 0;
    struct error failure = {0};
    if (!judging->has_ek || !judging->has_ak) {
        judge_missing(judging, CLAIM_AK_IN_TPM,
                      "an EK and an AK are needed, and one of them is lacking or refused");
        return;
    }
    if (judging->request->challenge_secret.size > 0 && !judge_answered(judging)) {
        return;
    }
    /* One that is there and wrong refutes, even where the challenge was answered. */
    if (has_certificate && judging->request->issuers) {
        const struct chain_question question = {&judging->evidence->ak_certificates, &judging->ak,
                                                judging->ek_fingerprint};
        if (judge_chain(judging->request, &question, &failure) < 0) {
            bind(judging, CLAIM_REFUTED, VERDICT_AK_CERTIFICATE,
                 "the AK's certificate does not bind it to this EK: ", failure.text);
            return;
        }
        bind(judging, CLAIM_PROVEN, VERDICT_NONE,
             "a trusted issuer certifies that the TPM of the EK holds this AK", "");
        return;
    }
    if (judging->verdict->claims[CLAIM_AK_IN_TPM].result != CLAIM_PROVEN) {
        bind(judging, CLAIM_NOT_PROVEN, VERDICT_AK_UNBOUND,
             "nothing shows that this AK is in the TPM of that EK: ",
             has_certificate
                 ? "give the trust bundle of the issuer of the AK's certificate, or send a "
                   "challenge and judge evidence that answers it"
                 : "send a challenge and judge evidence that answers it; there is no certificate "
                   "of the AK");
    }
}
