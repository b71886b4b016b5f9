#include "pkcs11/tpm/tpm.h"

#include "pkcs11/tpm/tpm_key.h"

static struct tpm_key *key_of(const struct driver_key *key)
{
    return container_of(key, struct tpm_key, base);
}

static int driver_open(const void *config, const char *name, void **ret_state, struct error *err)
{
    struct tpm_device *device = NULL;
    TRY(tpm_device_open(config, name, &device, err));
    *ret_state = device;
    return 0;
}

static void driver_close(void *state)
{
    tpm_device_close(state);
}

static TSS2_RC probe_operation(struct tpm_device *device, void *argument)
{
    (void)argument;
    TSS2_RC rc = tpm_device_sync(device);
    return rc == TSS2_RC_SUCCESS ? tpm_device_session(device) : rc;
}

static int driver_probe(void *state, struct error *err)
{
    return tpm_device_attempt(state, probe_operation, NULL, err) < 0
               ? error_prepend(err, "asking the TPM for a sign of life")
               : 0;
}

static int driver_key_generate(void *state, enum key_type type, const uint8_t *id,
                               struct driver_key **ret_key, struct error *err)
{
    struct tpm_key *key = NULL;
    TRY(tpm_key_generate(state, type, id, &key, err));
    *ret_key = &key->base;
    return 0;
}

static int driver_key_open(void *state, enum key_type type, const uint8_t id[16],
                           struct bytes reference, struct driver_key **ret_key, struct error *err)
{
    struct tpm_key *key = NULL;
    TRY(tpm_key_open(state, type, id, reference, &key, err));
    *ret_key = &key->base;
    return 0;
}

static void driver_key_reference(void *state, const struct driver_key *key,
                                 struct buffer *ret_reference)
{
    (void)state;
    const struct buffer *reference = &key_of(key)->reference;
    buffer_append(ret_reference, reference->data, reference->size);
}

static int driver_key_sign(void *state, struct driver_key *key, const struct sign_request *request,
                           uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                           struct error *err)
{
    return tpm_key_sign(state, key_of(key), request, ret_signature, ret_size, err);
}

static void driver_key_close(void *state, struct driver_key *key)
{
    tpm_key_close(state, key_of(key));
}

/* The reference, which the caller stores, is the key: the TPM holds nothing of it. */
static int driver_destroy_id(void *state, const uint8_t id[16], struct error *err)
{
    (void)state;
    (void)id;
    (void)err;
    return 0;
}

const struct keystore_driver keystore_driver_tpm = {
    .name = "tpm",
    .protection = KEY_PROTECTION_HARDWARE,
    .max_workers = 1,
    .open = driver_open,
    .close = driver_close,
    .probe = driver_probe,
    .key_generate = driver_key_generate,
    .key_open = driver_key_open,
    .has_keys_in_references = true,
    .key_reference = driver_key_reference,
    .key_sign = driver_key_sign,
    .key_close = driver_key_close,
    .destroy_id = driver_destroy_id,
};
