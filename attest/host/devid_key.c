#include "attest/host/devid_key.h"

#include <openssl/ecdsa.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "lib/base/memory.h"

enum { RSA_BYTES = 256 };

DEFINE_CLEANUP(ECDSA_SIG, ecdsa_sig, ECDSA_SIG_free);

/* As keys of workloads are, but with the scheme fixed: SPIRE refuses a key without. */
static void key_template(enum key_type type, TPM2B_PUBLIC *ret_template)
{
    tpm_public_key_template(type, ret_template);
    TPMT_PUBLIC *area = &ret_template->publicArea;
    if (type == KEY_TYPE_RSA_2048) {
        area->parameters.rsaDetail.scheme =
            (TPMT_RSA_SCHEME){.scheme = TPM2_ALG_RSASSA, .details.rsassa.hashAlg = TPM2_ALG_SHA256};
    } else {
        area->parameters.eccDetail.scheme =
            (TPMT_ECC_SCHEME){.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256};
    }
}

static TSS2_RC load_parent(struct tpm_device *device, struct tpm_object *object,
                           TPM2_HANDLE *ret_handle)
{
    const struct devid_key *key = container_of(object, struct devid_key, parent);
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    tpm_public_primary_template(
        key->type == KEY_TYPE_RSA_2048 ? TPM_PRIMARY_RSA_2048 : TPM_PRIMARY_ECC_P256, &template);
    TSS2_RC rc = tpm_command_create_primary(&device->transport, TPM2_RH_OWNER, &template,
                                            ret_handle, &public);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    rc = tpm_public_matches(&public, &template)
             ? tpm_public_name(&device->crypto, &public, &object->name)
             : TPM_RC_BAD_ANSWER;
    if (rc != TSS2_RC_SUCCESS) {
        (void)tpm_command_flush(&device->transport, *ret_handle);
    }
    return rc;
}

/* The parent was used last, so making room leaves it where it is. */
static TSS2_RC load_key(struct tpm_device *device, struct tpm_object *object,
                        TPM2_HANDLE *ret_handle)
{
    struct devid_key *key = container_of(object, struct devid_key, object);
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, &key->parent);
    }
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    tpm_cache_make_room(&device->cache);
    return tpm_command_load(&device->session, key->parent.handle, &key->parent.name, &key->public,
                            &key->private, ret_handle);
}

static struct devid_key *key_new(struct tpm_device *device, enum key_type type)
{
    struct devid_key *key = NEW(struct devid_key);
    key->device = device;
    key->type = type;
    key->parent.load = load_parent;
    key->object.load = load_key;
    return key;
}

void devid_key_close(struct devid_key *key)
{
    tpm_cache_drop(&key->device->cache, &key->object);
    tpm_cache_drop(&key->device->cache, &key->parent);
    free(key);
}

static TSS2_RC create_operation(struct tpm_device *device, void *argument)
{
    struct devid_key *key = argument;
    TPM2B_PUBLIC template;
    key_template(key->type, &template);
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, &key->parent);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_create(&device->session, key->parent.handle, &key->parent.name, &template,
                                &key->public, &key->private);
    }
    return rc == TSS2_RC_SUCCESS && !tpm_public_matches(&key->public, &template) ? TPM_RC_BAD_ANSWER
                                                                                 : rc;
}

static TSS2_RC load_operation(struct tpm_device *device, void *argument)
{
    struct devid_key *key = argument;
    return tpm_cache_acquire(&device->cache, &key->object);
}

static int load(struct devid_key *key, struct error *err)
{
    TSS2_RC rc = tpm_public_name(&key->device->crypto, &key->public, &key->object.name);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "computing a key's name");
    }
    return tpm_device_attempt(key->device, load_operation, key, err);
}

int devid_key_new(struct tpm_device *device, enum key_type type, struct devid_key **ret_key,
                  struct error *err)
{
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = key_new(device, type);
    if (type != KEY_TYPE_EC_P256 && type != KEY_TYPE_RSA_2048) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a DevID's key is of type ec-p256 or rsa-2048, not %s",
                         key_type_name(type));
    }
    TRY(tpm_device_attempt(device, create_operation, key, err));
    TRY(load(key, err));
    *ret_key = take_ptr(key);
    return 0;
}

/* The type whose template public is of; false: none. */
static bool find_type(const TPM2B_PUBLIC *public, enum key_type *ret_type)
{
    static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_RSA_2048};
    TPM2B_PUBLIC template;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        key_template(types[i], &template);
        if (tpm_public_matches(public, &template)) {
            *ret_type = types[i];
            return true;
        }
    }
    return false;
}

int devid_key_open(struct tpm_device *device, struct bytes public, struct bytes private,
                   struct devid_key **ret_key, struct error *err)
{
    size_t offset = 0;
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = key_new(device, KEY_TYPE_EC_P256);
    if (private.size == 0 || private.size > sizeof(key->private.buffer) ||
        Tss2_MU_TPMT_PUBLIC_Unmarshal(public.data, public.size, &offset, &key->public.publicArea) !=
            TSS2_RC_SUCCESS ||
        offset != public.size || !find_type(&key->public, &key->type)) {
        return error_set(err, ERROR_DATA_LOSS,
                         "the blobs are damaged, or not of a DevID's key that signet made");
    }
    key->private.size = (uint16_t) private.size;
    memcpy(key->private.buffer, private.data, private.size);
    TRY(load(key, err));
    *ret_key = take_ptr(key);
    return 0;
}

int devid_key_blobs(const struct devid_key *key, struct buffer *ret_public,
                    struct buffer *ret_private, struct error *err)
{
    uint8_t area[sizeof(TPMT_PUBLIC)];
    size_t size = 0;
    TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Marshal(&key->public.publicArea, area, sizeof(area), &size);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "encoding a key's public area");
    }
    buffer_append(ret_public, area, size);
    buffer_append(ret_private, key->private.buffer, key->private.size);
    return 0;
}

struct devid_signing {
    struct devid_key *key;
    TPM2B_DIGEST digest;
    TPMT_SIGNATURE signature;
};

static TSS2_RC sign_operation(struct tpm_device *device, void *argument)
{
    struct devid_signing *signing = argument;
    struct tpm_object *object = &signing->key->object;
    const TPMT_SIG_SCHEME scheme = {
        .scheme = signing->key->type == KEY_TYPE_RSA_2048 ? TPM2_ALG_RSASSA : TPM2_ALG_ECDSA,
        .details.any.hashAlg = TPM2_ALG_SHA256,
    };
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, object);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_sign(&device->session, object->handle, &object->name, &signing->digest,
                              &scheme, &signing->signature);
    }
    return rc == TSS2_RC_SUCCESS && signing->signature.sigAlg != scheme.scheme ? TPM_RC_BAD_ANSWER
                                                                               : rc;
}

static bool put_ecdsa(const TPMS_SIGNATURE_ECDSA *ecdsa, uint8_t *ret_der, size_t *ret_size)
{
    _cleanup_(ecdsa_sig_cleanup) ECDSA_SIG *numbers = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(ecdsa->signatureR.buffer, ecdsa->signatureR.size, NULL);
    BIGNUM *s = BN_bin2bn(ecdsa->signatureS.buffer, ecdsa->signatureS.size, NULL);
    unsigned char *der = NULL;
    if (!numbers || ECDSA_SIG_set0(numbers, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return false;
    }
    int size = i2d_ECDSA_SIG(numbers, &der);
    bool is_put = size > 0 && size <= DEVID_SIGNATURE_MAX_BYTES;
    if (is_put) {
        memcpy(ret_der, der, (size_t)size);
        *ret_size = (size_t)size;
    }
    OPENSSL_free(der);
    return is_put;
}

int devid_key_sign(struct devid_key *key, const uint8_t digest[TPM_HASH_BYTES],
                   uint8_t ret_signature[DEVID_SIGNATURE_MAX_BYTES], size_t *ret_size,
                   struct error *err)
{
    struct devid_signing signing = {.key = key, .digest.size = TPM_HASH_BYTES};
    const TPM2B_PUBLIC_KEY_RSA *rsa = &signing.signature.signature.rsassa.sig;
    memcpy(signing.digest.buffer, digest, TPM_HASH_BYTES);
    TRY(tpm_device_attempt(key->device, sign_operation, &signing, err));
    bool is_put = key->type == KEY_TYPE_RSA_2048
                      ? rsa->size == RSA_BYTES
                      : put_ecdsa(&signing.signature.signature.ecdsa, ret_signature, ret_size);
    if (is_put && key->type == KEY_TYPE_RSA_2048) {
        memcpy(ret_signature, rsa->buffer, RSA_BYTES);
        *ret_size = RSA_BYTES;
    }
    return is_put ? 0 : tpm_rc_error(err, TPM_RC_BAD_ANSWER, "TPM2_Sign");
}
