#include "attest/host/devid_key.h"

#include <string.h>
#include <tss2/tss2_mu.h>

#include "lib/base/ecdsa.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_child.h"

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

static TSS2_RC load_key(struct tpm_device *device, struct tpm_object *object,
                        TPM2_HANDLE *ret_handle)
{
    struct devid_key *key = container_of(object, struct devid_key, object);
    return tpm_child_load(device, &key->parent, &key->public, &key->private, ret_handle);
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
    tpm_public_fixed_key_template(key->type, &template);
    return tpm_child_create(device, &key->parent, &template, &key->public, &key->private);
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
        tpm_public_fixed_key_template(types[i], &template);
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

int devid_key_sign(struct devid_key *key, const uint8_t digest[TPM_HASH_BYTES],
                   struct buffer *ret_signature, struct error *err)
{
    bool is_rsa = key->type == KEY_TYPE_RSA_2048;
    const struct sign_request request = {
        .scheme = is_rsa ? SIGN_SCHEME_RSA_PKCS1 : SIGN_SCHEME_ECDSA,
        .digest = SIGN_DIGEST_SHA256,
        .value = {digest, TPM_HASH_BYTES},
    };
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    TRY(tpm_child_sign(key->device, &key->object, key->type, &request, signature, &size, err));
    if (is_rsa) {
        buffer_append(ret_signature, signature, size);
        return 0;
    }
    return ecdsa_encode_pair((struct bytes){signature, size}, ret_signature)
               ? 0
               : error_set_openssl(err, ERROR_INTERNAL, "encoding a signature");
}
