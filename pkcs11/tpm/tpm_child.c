#include "pkcs11/tpm/tpm_child.h"

#include <string.h>

static TSS2_RC acquire(struct tpm_device *device, struct tpm_object *object)
{
    TSS2_RC rc = tpm_device_session(device);
    return rc == TSS2_RC_SUCCESS ? tpm_cache_acquire(&device->cache, object) : rc;
}

TSS2_RC tpm_child_create(struct tpm_device *device, struct tpm_object *parent,
                         const TPM2B_PUBLIC *template, TPM2B_PUBLIC *ret_public,
                         TPM2B_PRIVATE *ret_private)
{
    TSS2_RC rc = acquire(device, parent);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_create(&device->session, parent->handle, &parent->name, template,
                                ret_public, ret_private);
    }
    return rc == TSS2_RC_SUCCESS && !tpm_public_matches(ret_public, template) ? TPM_RC_BAD_ANSWER
                                                                              : rc;
}

/* The parent was used last, so making room leaves it where it is. */
TSS2_RC tpm_child_load(struct tpm_device *device, struct tpm_object *parent,
                       const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private,
                       TPM2_HANDLE *ret_handle)
{
    TSS2_RC rc = acquire(device, parent);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    tpm_cache_make_room(&device->cache);
    return tpm_command_load(&device->session, parent->handle, &parent->name, public, private,
                            ret_handle);
}

static const TPM2_ALG_ID schemes[] = {
    [SIGN_SCHEME_ECDSA] = TPM2_ALG_ECDSA,
    [SIGN_SCHEME_RSA_PKCS1] = TPM2_ALG_RSASSA,
    [SIGN_SCHEME_RSA_PSS] = TPM2_ALG_RSAPSS,
};

static const TPM2_ALG_ID digests[] = {
    [SIGN_DIGEST_SHA256] = TPM2_ALG_SHA256,
    [SIGN_DIGEST_SHA384] = TPM2_ALG_SHA384,
    [SIGN_DIGEST_SHA512] = TPM2_ALG_SHA512,
};

/* Of r and of s, or of an RSA signature. */
static const uint16_t number_bytes[] = {
    [KEY_TYPE_EC_P256] = 32,
    [KEY_TYPE_EC_P384] = 48,
    [KEY_TYPE_RSA_2048] = 256,
};

struct signing {
    struct tpm_object *object;
    TPMT_SIG_SCHEME scheme;
    TPM2B_DIGEST digest;
    TPMT_SIGNATURE signature;
};

static TSS2_RC sign_operation(struct tpm_device *device, void *argument)
{
    struct signing *signing = argument;
    struct tpm_object *object = signing->object;
    TSS2_RC rc = acquire(device, object);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_sign(&device->session, object->handle, &object->name, &signing->digest,
                              &signing->scheme, &signing->signature);
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
static TSS2_RC encode(const struct signing *signing, enum key_type type,
                      uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size)
{
    const TPMT_SIGNATURE *signature = &signing->signature;
    const TPMS_SIGNATURE_ECDSA *ecdsa = &signature->signature.ecdsa;
    const TPM2B_PUBLIC_KEY_RSA *rsa = &signature->signature.rsassa.sig;
    size_t size = number_bytes[type];
    if (signature->sigAlg != signing->scheme.scheme ||
        signature->signature.any.hashAlg != signing->scheme.details.any.hashAlg) {
        return TPM_RC_BAD_ANSWER;
    }
    bool is_rsa = type == KEY_TYPE_RSA_2048;
    bool is_put = is_rsa ? put_number(rsa->buffer, rsa->size, ret_signature, size)
                         : put_number(ecdsa->signatureR.buffer, ecdsa->signatureR.size,
                                      ret_signature, size) &&
                               put_number(ecdsa->signatureS.buffer, ecdsa->signatureS.size,
                                          ret_signature + size, size);
    *ret_size = is_rsa ? size : 2 * size;
    return is_put ? TSS2_RC_SUCCESS : TPM_RC_BAD_ANSWER;
}

static bool is_right(enum key_type type, const struct sign_request *request)
{
    bool is_rsa_key = type == KEY_TYPE_RSA_2048;
    bool is_rsa_scheme = request->scheme != SIGN_SCHEME_ECDSA;
    return (size_t)request->scheme < ARRAY_SIZE(schemes) &&
           (size_t)request->digest < ARRAY_SIZE(digests) && is_rsa_key == is_rsa_scheme &&
           request->value.size == sign_digest_size(request->digest);
}

int tpm_child_sign(struct tpm_device *device, struct tpm_object *object, enum key_type type,
                   const struct sign_request *request, uint8_t ret_signature[SIGNATURE_MAX_BYTES],
                   size_t *ret_size, struct error *err)
{
    struct signing signing = {.object = object};
    if (!is_right(type, request)) {
        return tpm_rc_error(err, TPM_RC_BAD_REQUEST, "signing in the TPM");
    }
    signing.scheme.scheme = schemes[request->scheme];
    signing.scheme.details.any.hashAlg = digests[request->digest];
    signing.digest.size = (uint16_t)request->value.size;
    memcpy(signing.digest.buffer, request->value.data, request->value.size);
    TRY(tpm_device_attempt(device, sign_operation, &signing, err));
    TSS2_RC rc = encode(&signing, type, ret_signature, ret_size);
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(err, rc, "TPM2_Sign");
}
