#include "pkcs11/tpm/tpm_key.h"

#include <string.h>
#include <tss2/tss2_mu.h>

#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_child.h"

enum { REFERENCE_VERSION = 1 };

int tpm_key_parse_reference(struct bytes reference, TPM2B_PUBLIC *ret_public,
                            TPM2B_PRIVATE *ret_private, struct error *err)
{
    size_t offset = 0;
    struct reader reader = reader_of(reference);
    uint8_t version = reader_u8(&reader);
    struct bytes public = reader_bytes(&reader, reader_u16(&reader));
    struct bytes private = reader_bytes(&reader, reader_u16(&reader));
    *ret_public = (TPM2B_PUBLIC){0};
    if (reference.size > TPM_REFERENCE_LIMIT_BYTES || reader.is_bad || !reader_is_done(&reader) ||
        version != REFERENCE_VERSION || private.size == 0 ||
        private.size > sizeof(ret_private->buffer) ||
        Tss2_MU_TPMT_PUBLIC_Unmarshal(public.data, public.size, &offset, &ret_public->publicArea) !=
            TSS2_RC_SUCCESS ||
        offset != public.size) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading the stored reference of a TPM key: its %zu bytes are damaged or "
                         "of an unknown version",
                         reference.size);
    }
    size_t size = private.size;
    ret_private->size = (uint16_t)size;
    memcpy(ret_private->buffer, private.data, private.size);
    return 0;
}

static TSS2_RC format_reference(const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private,
                                struct buffer *ret_reference)
{
    uint8_t area[sizeof(TPMT_PUBLIC)];
    size_t size = 0;
    TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, area, sizeof(area), &size);
    if (rc == TSS2_RC_SUCCESS) {
        buffer_append_u8(ret_reference, REFERENCE_VERSION);
        buffer_append_u16(ret_reference, (uint16_t)size);
        buffer_append(ret_reference, area, size);
        buffer_append_u16(ret_reference, private->size);
        buffer_append(ret_reference, private->buffer, private->size);
    }
    return rc;
}

static TSS2_RC load(struct tpm_device *device, struct tpm_object *object, TPM2_HANDLE *ret_handle)
{
    struct tpm_key *key = container_of(object, struct tpm_key, object);
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
    if (tpm_key_parse_reference(buffer_bytes(&key->reference), &public, &private, NULL) < 0) {
        return TPM_RC_BAD_REQUEST;
    }
    return tpm_child_load(device, &device->primary.object, &public, &private, ret_handle);
}

static struct tpm_key *key_new(enum key_type type, const uint8_t *id)
{
    struct tpm_key *key = NEW(struct tpm_key);
    key->base.type = type;
    key->object.load = load;
    if (id) {
        key->base.is_lasting = true;
        memcpy(key->base.id, id, sizeof(key->base.id));
    }
    return key;
}

static void key_free(struct tpm_key *key)
{
    buffer_clear(&key->base.spki);
    buffer_clear(&key->object.context);
    buffer_clear(&key->reference);
    free(key);
}
DEFINE_CLEANUP(struct tpm_key, key_free, key_free);

struct creation {
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
};

static TSS2_RC create_operation(struct tpm_device *device, void *argument)
{
    struct creation *creation = argument;
    return tpm_child_create(device, &device->primary.object, &creation->template, &creation->public,
                            &creation->private);
}

/* Fills in what follows from the public area. */
static int describe(struct tpm_device *device, struct tpm_key *key, const TPM2B_PUBLIC *public,
                    struct error *err)
{
    TSS2_RC rc = tpm_public_name(&device->crypto, public, &key->object.name);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "computing a key's name");
    }
    return tpm_public_spki(public, &key->base.spki, err);
}

/* Takes the key, whose template is in the creation. */
static int create(struct tpm_device *device, struct creation *creation, struct tpm_key *new_key,
                  struct tpm_key **ret_key, struct error *err)
{
    _cleanup_(key_free_cleanup) struct tpm_key *key = new_key;
    TRY(tpm_device_attempt(device, create_operation, creation, err));
    TRY(describe(device, key, &creation->public, err));
    TSS2_RC rc = format_reference(&creation->public, &creation->private, &key->reference);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "encoding a key's reference");
    }
    *ret_key = take_ptr(key);
    return 0;
}

int tpm_key_generate(struct tpm_device *device, enum key_type type, const uint8_t *id,
                     struct tpm_key **ret_key, struct error *err)
{
    struct creation creation;
    tpm_public_key_template(type, &creation.template);
    return create(device, &creation, key_new(type, id), ret_key, err) < 0
               ? error_prepend(err, "making an %s key in the TPM", key_type_name(type))
               : 0;
}

int tpm_ak_generate(struct tpm_device *device, enum key_type type, struct tpm_key **ret_key,
                    struct error *err)
{
    struct creation creation;
    tpm_public_ak_template(type, &creation.template);
    return create(device, &creation, key_new(type, NULL), ret_key, err) < 0
               ? error_prepend(err, "making an %s attestation key in the TPM", key_type_name(type))
               : 0;
}

static TSS2_RC load_operation(struct tpm_device *device, void *argument)
{
    struct tpm_key *key = argument;
    return tpm_cache_acquire(&device->cache, &key->object);
}

/* Takes the key. */
static int open_loaded(struct tpm_device *device, const TPM2B_PUBLIC *public,
                       struct bytes reference, struct tpm_key *new_key, struct tpm_key **ret_key,
                       struct error *err)
{
    _cleanup_(key_free_cleanup) struct tpm_key *key = new_key;
    buffer_append(&key->reference, reference.data, reference.size);
    TRY(describe(device, key, public, err));
    TRY(tpm_device_attempt(device, load_operation, key, err));
    *ret_key = take_ptr(key);
    return 0;
}

int tpm_key_open(struct tpm_device *device, enum key_type type, const uint8_t id[16],
                 struct bytes reference, struct tpm_key **ret_key, struct error *err)
{
    TPM2B_PUBLIC public;
    TPM2B_PUBLIC template;
    TPM2B_PRIVATE private;
    TRY(tpm_key_parse_reference(reference, &public, &private, err));
    tpm_public_key_template(type, &template);
    if (!tpm_public_matches(&public, &template)) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "opening a key in the TPM: the reference is not one of an %s key that only "
            "signs and never leaves the TPM",
            key_type_name(type));
    }
    return open_loaded(device, &public, reference, key_new(type, id), ret_key, err) < 0
               ? error_prepend(err, "opening an %s key in the TPM", key_type_name(type))
               : 0;
}

/* Whether it is an attestation key at all, and of this type. */
static int check_ak(const TPM2B_PUBLIC *public, enum key_type type, struct error *err)
{
    TPM2B_PUBLIC template;
    for (unsigned other = 0; other < KEY_TYPE_COUNT; other++) {
        tpm_public_ak_template(other, &template);
        if (tpm_public_matches(public, &template)) {
            return other == type ? 0
                                 : error_set(err, ERROR_FAILED_PRECONDITION,
                                             "it is an %s key, where an %s key is asked for",
                                             key_type_name(other), key_type_name(type));
        }
    }
    return error_set(err, ERROR_DATA_LOSS, "the reference is not one of an attestation key");
}

int tpm_ak_open(struct tpm_device *device, enum key_type type, struct bytes reference,
                struct tpm_key **ret_key, struct error *err)
{
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
    TRY(tpm_key_parse_reference(reference, &public, &private, err));
    if (check_ak(&public, type, err) < 0 ||
        open_loaded(device, &public, reference, key_new(type, NULL), ret_key, err) < 0) {
        return error_prepend(err, "opening an attestation key in the TPM");
    }
    return 0;
}

void tpm_key_close(struct tpm_device *device, struct tpm_key *key)
{
    tpm_cache_drop(&device->cache, &key->object);
    key_free(key);
}
