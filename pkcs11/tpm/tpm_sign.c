#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/log.h"
#include "pkcs11/tpm/tpm_key.h"

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free);

static const TPM2_ALG_ID scheme_ids[] = {
    [SIGN_SCHEME_ECDSA] = TPM2_ALG_ECDSA,
    [SIGN_SCHEME_RSA_PKCS1] = TPM2_ALG_RSASSA,
    [SIGN_SCHEME_RSA_PSS] = TPM2_ALG_RSAPSS,
};

static const struct {
    TPM2_ALG_ID id;
    const char *name; /* OpenSSL's */
} digests[] = {
    [SIGN_DIGEST_SHA256] = {TPM2_ALG_SHA256, "SHA256"},
    [SIGN_DIGEST_SHA384] = {TPM2_ALG_SHA384, "SHA384"},
    [SIGN_DIGEST_SHA512] = {TPM2_ALG_SHA512, "SHA512"},
};

/* Of r and of s, or of an RSA signature. */
static const uint16_t number_bytes[] = {
    [KEY_TYPE_EC_P256] = 32,
    [KEY_TYPE_EC_P384] = 48,
    [KEY_TYPE_RSA_2048] = 256,
};

struct signing {
    struct tpm_key *key;
    const struct sign_request *request;
    TPM2B_DIGEST digest;
    TPMT_SIGNATURE signature;
};

static TSS2_RC sign_operation(struct tpm_device *device, void *argument)
{
    struct signing *signing = argument;
    struct tpm_object *object = &signing->key->object;
    const TPMT_SIG_SCHEME scheme = {
        .scheme = scheme_ids[signing->request->scheme],
        .details.any.hashAlg = digests[signing->request->digest].id,
    };
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, object);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_sign(&device->session, object->handle, &object->name, &signing->digest,
                              &scheme, &signing->signature);
    }
    if (rc != TSS2_RC_SUCCESS && tpm_rc_reaction(rc) == TPM_REACTION_REBUILD) {
        /* Perhaps it was saved from a handle that had changed hands. */
        buffer_clear(&object->context);
    }
    return rc;
}

static bool put_number(const uint8_t *from, size_t from_size, uint8_t *to, size_t size)
{
    if (from_size > size) {
        return false;
    }
    memset(to, 0, size - from_size);
    memcpy(to + size - from_size, from, from_size);
    return true;
}

/* The TPM's structure as the plain bytes of keystore.h. */
static TSS2_RC encode(const struct signing *signing, uint8_t ret_signature[SIGNATURE_MAX_BYTES],
                      size_t *ret_size)
{
    const TPMT_SIGNATURE *signature = &signing->signature;
    const TPMS_SIGNATURE_ECDSA *ecdsa = &signature->signature.ecdsa;
    const TPM2B_PUBLIC_KEY_RSA *rsa = &signature->signature.rsassa.sig;
    size_t size = number_bytes[signing->key->base.type];
    if (signature->sigAlg != scheme_ids[signing->request->scheme] ||
        signature->signature.any.hashAlg != digests[signing->request->digest].id) {
        return TPM_RC_BAD_ANSWER;
    }
    bool is_rsa = signing->key->base.type == KEY_TYPE_RSA_2048;
    bool is_put = is_rsa ? put_number(rsa->buffer, rsa->size, ret_signature, size)
                         : put_number(ecdsa->signatureR.buffer, ecdsa->signatureR.size,
                                      ret_signature, size) &&
                               put_number(ecdsa->signatureS.buffer, ecdsa->signatureS.size,
                                          ret_signature + size, size);
    *ret_size = is_rsa ? size : 2 * size;
    return is_put ? TSS2_RC_SUCCESS : TPM_RC_BAD_ANSWER;
}

/* Older TPMs salt RSA-PSS with as much as fits, which TLS 1.3 peers refuse. The first signature
 * tells. */
static bool has_fitting_salt(const struct signing *signing, const uint8_t *signature, size_t size)
{
    const struct buffer *spki = &signing->key->base.spki;
    const unsigned char *der = spki->data;
    const char *digest = digests[signing->request->digest].name;
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = d2i_PUBKEY(NULL, &der, (long)spki->size);
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        pkey ? EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL) : NULL;
    return context && EVP_PKEY_verify_init(context) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(digest)) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1 &&
           EVP_PKEY_verify(context, signature, size, signing->request->value.data,
                           signing->request->value.size) == 1;
}

static TSS2_RC check_salt(struct tpm_device *device, const struct signing *signing,
                          const uint8_t *signature, size_t size)
{
    if (signing->request->scheme == SIGN_SCHEME_RSA_PSS && device->pss == TPM_PSS_UNKNOWN) {
        device->pss = has_fitting_salt(signing, signature, size) ? TPM_PSS_FITS : TPM_PSS_DIFFERS;
    }
    return signing->request->scheme == SIGN_SCHEME_RSA_PSS && device->pss == TPM_PSS_DIFFERS
               ? TPM_RC_PSS_SALT
               : TSS2_RC_SUCCESS;
}

static TSS2_RC check_request(const struct tpm_device *device, const struct signing *signing)
{
    const struct sign_request *request = signing->request;
    bool is_rsa_key = signing->key->base.type == KEY_TYPE_RSA_2048;
    bool is_rsa_scheme = request->scheme != SIGN_SCHEME_ECDSA;
    if ((size_t)request->scheme >= ARRAY_SIZE(scheme_ids) ||
        (size_t)request->digest >= ARRAY_SIZE(digests) || is_rsa_key != is_rsa_scheme ||
        request->value.size != sign_digest_size(request->digest)) {
        return TPM_RC_BAD_REQUEST;
    }
    return request->scheme == SIGN_SCHEME_RSA_PSS && device->pss == TPM_PSS_DIFFERS
               ? TPM_RC_PSS_SALT
               : TSS2_RC_SUCCESS;
}

/* The primary is the one that made the key, so a blob that does not load is gone for good. */
static int lose(struct tpm_device *device, struct tpm_key *key, struct error *err)
{
    key->base.is_lost = true;
    keystore_driver_keys_lost();
    log_error("keystore %s: an %s key is lost: the TPM no longer takes its blob", device->name,
              key_type_name(key->base.type));
    if (err) {
        err->code = ERROR_DATA_LOSS;
    }
    return -1;
}

int tpm_key_sign(struct tpm_device *device, struct tpm_key *key, const struct sign_request *request,
                 uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size, struct error *err)
{
    struct error reason;
    struct signing signing = {.key = key, .request = request};
    TSS2_RC rc = check_request(device, &signing);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "signing in the TPM");
    }
    signing.digest.size = (uint16_t)request->value.size;
    memcpy(signing.digest.buffer, request->value.data, request->value.size);
    if (tpm_device_attempt(device, sign_operation, &signing, &reason) < 0) {
        if (err) {
            *err = reason;
        }
        (void)error_prepend(err, "signing with an %s key in the TPM",
                            key_type_name(key->base.type));
        return reason.code == ERROR_NOT_FOUND ? lose(device, key, err) : -1;
    }
    rc = encode(&signing, ret_signature, ret_size);
    if (rc == TSS2_RC_SUCCESS) {
        rc = check_salt(device, &signing, ret_signature, *ret_size);
    }
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(err, rc, "TPM2_Sign");
}
