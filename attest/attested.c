#include "attest/attested.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <tss2/tss2_mu.h>

#include "lib/base/ecdsa.h"

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_MD_CTX, md_context, EVP_MD_CTX_free);

static int fail(enum attested_flaw flaw, enum attested_flaw *ret_flaw, struct error *err,
                const char *text)
{
    *ret_flaw = flaw;
    return error_set(err, ERROR_PERMISSION_DENIED, "%s", text);
}

/* Every byte is accounted for: what is encoded again is what was read. */
static bool parse_signature(struct bytes encoded, TPMT_SIGNATURE *ret)
{
    uint8_t again[sizeof(TPMT_SIGNATURE)];
    size_t offset = 0;
    size_t size = 0;
    return encoded.size <= sizeof(again) &&
           Tss2_MU_TPMT_SIGNATURE_Unmarshal(encoded.data, encoded.size, &offset, ret) ==
               TSS2_RC_SUCCESS &&
           Tss2_MU_TPMT_SIGNATURE_Marshal(ret, again, sizeof(again), &size) == TSS2_RC_SUCCESS &&
           bytes_is_equal(encoded, (struct bytes){again, size});
}

/* The hash of the AK's scheme when the signature has that scheme and hash; NULL otherwise. */
static const struct hash_algorithm *agreed_hash(const TPMT_PUBLIC *ak,
                                                const TPMT_SIGNATURE *signature)
{
    TPM2_ALG_ID scheme = TPM2_ALG_NULL;
    TPM2_ALG_ID hash = TPM2_ALG_NULL;
    if (ak->type == TPM2_ALG_ECC) {
        scheme = ak->parameters.eccDetail.scheme.scheme;
        hash = ak->parameters.eccDetail.scheme.details.anySig.hashAlg;
    } else if (ak->type == TPM2_ALG_RSA) {
        scheme = ak->parameters.rsaDetail.scheme.scheme;
        hash = ak->parameters.rsaDetail.scheme.details.anySig.hashAlg;
    }
    const bool is_known =
        scheme == TPM2_ALG_ECDSA || scheme == TPM2_ALG_RSASSA || scheme == TPM2_ALG_RSAPSS;
    const bool is_agreed =
        is_known && signature->sigAlg == scheme && signature->signature.any.hashAlg == hash;
    return is_agreed ? hash_by_id(hash) : NULL;
}

static bool signature_bytes(const TPMT_SIGNATURE *signature, struct buffer *ret)
{
    if (signature->sigAlg == TPM2_ALG_ECDSA) {
        const TPMS_SIGNATURE_ECDSA *ecdsa = &signature->signature.ecdsa;
        return ecdsa_encode((struct bytes){ecdsa->signatureR.buffer, ecdsa->signatureR.size},
                            (struct bytes){ecdsa->signatureS.buffer, ecdsa->signatureS.size}, ret);
    }
    const TPM2B_PUBLIC_KEY_RSA *number = signature->sigAlg == TPM2_ALG_RSAPSS
                                             ? &signature->signature.rsapss.sig
                                             : &signature->signature.rsassa.sig;
    buffer_append(ret, number->buffer, number->size);
    return true;
}

/* TPMs differ in the length of the salt, which proves nothing either way. */
static bool set_pss(EVP_PKEY_CTX *context)
{
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_AUTO) == 1;
}

static bool verify(const TPMT_PUBLIC *ak, const struct hash_algorithm *hash,
                   const TPMT_SIGNATURE *signature, struct bytes attested, struct error *err)
{
    EVP_PKEY_CTX *key_context = NULL; /* the digest's own */
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = NULL;
    _cleanup_(md_context_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool is_verified =
        public_pkey(ak, &pkey, err) == 0 && signature_bytes(signature, &bytes) && context &&
        EVP_DigestVerifyInit(context, &key_context, hash->md(), NULL, pkey) == 1 &&
        (signature->sigAlg != TPM2_ALG_RSAPSS || set_pss(key_context)) &&
        EVP_DigestVerify(context, bytes.data, bytes.size, attested.data, attested.size) == 1;
    ERR_clear_error();
    return is_verified;
}

static bool parse_attest(struct bytes encoded, TPMS_ATTEST *ret)
{
    size_t offset = 0;
    return Tss2_MU_TPMS_ATTEST_Unmarshal(encoded.data, encoded.size, &offset, ret) ==
               TSS2_RC_SUCCESS &&
           offset == encoded.size;
}

static int check_signature(struct bytes attested, struct bytes signature, const TPMT_PUBLIC *ak,
                           enum attested_flaw *ret_flaw, struct error *err)
{
    TPMT_SIGNATURE parsed = {0};
    if (!parse_signature(signature, &parsed)) {
        return fail(ATTESTED_FLAW_ENCODING, ret_flaw, err,
                    "the signature cannot be read as a TPMT_SIGNATURE, or bytes are left over "
                    "behind it");
    }
    const struct hash_algorithm *hash = agreed_hash(ak, &parsed);
    if (!hash) {
        return fail(ATTESTED_FLAW_ALGORITHM, ret_flaw, err,
                    "the signature's algorithm or hash is not that of the AK's scheme");
    }
    if (!verify(ak, hash, &parsed, attested, err)) {
        return fail(ATTESTED_FLAW_SIGNATURE, ret_flaw, err,
                    "the signature is not the AK's over these bytes");
    }
    return 0;
}

int attested_check(struct bytes attested, struct bytes signature, const TPMT_PUBLIC *ak,
                   TPM2_ST type, struct bytes nonce, TPMS_ATTEST *ret_attest,
                   enum attested_flaw *ret_flaw, struct error *err)
{
    TPMS_ATTEST attest = {0};
    TRY(check_signature(attested, signature, ak, ret_flaw, err));
    if (!parse_attest(attested, &attest)) {
        return fail(ATTESTED_FLAW_ENCODING, ret_flaw, err,
                    "what is signed cannot be read as a TPMS_ATTEST, or bytes are left over "
                    "behind it");
    }
    if (attest.magic != TPM2_GENERATED_VALUE) {
        return fail(ATTESTED_FLAW_MAGIC, ret_flaw, err,
                    "what is signed was not made by a TPM: it lacks the mark of what only a TPM "
                    "makes");
    }
    if (attest.type != type) {
        *ret_flaw = ATTESTED_FLAW_TYPE;
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the TPM attested to something else: type 0x%04x, expected is 0x%04x",
                         attest.type, type);
    }
    if (!bytes_is_equal_secret((struct bytes){attest.extraData.buffer, attest.extraData.size},
                               nonce)) {
        return fail(ATTESTED_FLAW_NONCE, ret_flaw, err,
                    "what is signed is for another nonce: it was made for somebody else, or "
                    "before");
    }
    *ret_attest = attest;
    *ret_flaw = ATTESTED_FLAW_NONE;
    return 0;
}
