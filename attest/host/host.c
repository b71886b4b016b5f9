#include "attest/host/host.h"

#include <string.h>
#include <tss2/tss2_mu.h>

#include "attest/host/host_state.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

int host_run(struct keystore *keystore, int (*run)(void *state, void *argument, struct error *err),
             void *argument, struct error *err)
{
    return keystore_run_driver(keystore, &keystore_driver_tpm, KEYSTORE_PRIORITY_USE, run, argument,
                               err);
}

struct tpm_key *host_tpm_key(const struct key *key)
{
    return container_of(key_driver_key(key), struct tpm_key, base);
}

int host_key_public(const struct tpm_key *key, struct buffer *ret_public, struct error *err)
{
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
    TRY(tpm_key_parse_reference(buffer_bytes(&key->reference), &public, &private, err));
    public_encode(&public.publicArea, ret_public);
    return 0;
}

struct tpm_loaded host_loaded(const struct tpm_object *object)
{
    return (struct tpm_loaded){object->handle, &object->name};
}

void host_doubt(TSS2_RC rc, struct tpm_object *object)
{
    if (rc != TSS2_RC_SUCCESS && tpm_rc_reaction(rc) == TPM_REACTION_REBUILD) {
        buffer_clear(&object->context);
    }
}

int host_nonce(struct bytes nonce, TPM2B_DATA *ret_nonce, struct error *err)
{
    if (nonce.size < EVIDENCE_NONCE_MIN_BYTES || nonce.size > EVIDENCE_NONCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a nonce has %d to %d bytes, this one %zu",
                         EVIDENCE_NONCE_MIN_BYTES, EVIDENCE_NONCE_MAX_BYTES, nonce.size);
    }
    *ret_nonce = (TPM2B_DATA){.size = (uint16_t)nonce.size};
    memcpy(ret_nonce->buffer, nonce.data, nonce.size);
    return 0;
}

int host_keep_attested(const struct tpm_attested *attested, struct evidence_signed *ret_signed,
                       struct error *err)
{
    uint8_t encoded[sizeof(TPMT_SIGNATURE)];
    size_t size = 0;
    TSS2_RC rc =
        Tss2_MU_TPMT_SIGNATURE_Marshal(&attested->signature, encoded, sizeof(encoded), &size);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "encoding the attestation key's signature");
    }
    buffer_reset(&ret_signed->attested);
    buffer_reset(&ret_signed->signature);
    buffer_append(&ret_signed->attested, attested->attested.attestationData,
                  attested->attested.size);
    buffer_append(&ret_signed->signature, encoded, size);
    return 0;
}

/* The AK's blob is of no use: the TPM says so, or its storage primary is another. */
static bool is_ak_lost(const struct tpm_device *device)
{
    return tpm_rc_is_integrity(device->failure) || device->failure == TPM_RC_OTHER_PRIMARY;
}

/* Attestation takes more slots at once than signing does: that they are taken does not mean that
 * the hardware is lost. */
static int judge_failure(const struct tpm_device *device, int result, struct error *err)
{
    enum tpm_reaction reaction = tpm_rc_reaction(device->failure);
    if (result < 0 && err &&
        (reaction == TPM_REACTION_MAKE_ROOM || reaction == TPM_REACTION_NEW_SESSION)) {
        err->code = ERROR_RESOURCE_EXHAUSTED;
    }
    return result;
}

static int judge_failure_with_ak(const struct tpm_device *device, int result, struct error *err)
{
    if (result < 0 && err && is_ak_lost(device)) {
        err->code = ERROR_NOT_FOUND;
        return error_prepend(err, "this TPM does not have the attestation key: it was cleared or "
                                  "replaced since, or the key is another host's");
    }
    return judge_failure(device, result, err);
}

int host_attempt(struct tpm_device *device, tpm_operation *operation, void *argument,
                 struct error *err)
{
    device->failure = TSS2_RC_SUCCESS;
    return judge_failure(device, tpm_device_attempt(device, operation, argument, err), err);
}

int host_attempt_with_ak(struct tpm_device *device, tpm_operation *operation, void *argument,
                         struct error *err)
{
    device->failure = TSS2_RC_SUCCESS;
    return judge_failure_with_ak(device, tpm_device_attempt(device, operation, argument, err), err);
}

struct ak_request {
    struct keystore *keystore;
    enum key_type type;
    struct bytes reference; /* of the one to open */
    struct key *ak;
};

static int run_open_ak(void *state, void *argument, struct error *err)
{
    struct tpm_device *device = state;
    struct ak_request *request = argument;
    struct tpm_key *key = NULL;
    device->failure = TSS2_RC_SUCCESS;
    int result = tpm_ak_open(device, request->type, request->reference, &key, err);
    TRY(judge_failure_with_ak(device, result, err));
    request->ak = keystore_adopt(request->keystore, &key->base);
    return 0;
}

static int run_generate_ak(void *state, void *argument, struct error *err)
{
    struct tpm_device *device = state;
    struct ak_request *request = argument;
    struct tpm_key *key = NULL;
    device->failure = TSS2_RC_SUCCESS;
    TRY(judge_failure(device, tpm_ak_generate(device, request->type, &key, err), err));
    request->ak = keystore_adopt(request->keystore, &key->base);
    return 0;
}

static int open_ak(const struct attest_host_config *config, struct bytes reference,
                   struct key **ret_ak, struct error *err)
{
    struct ak_request request = {
        .keystore = config->keystore, .type = config->ak_type, .reference = reference};
    if (host_run(config->keystore, run_open_ak, &request, err) < 0) {
        return error_prepend(err, "loading the attestation key in %s", config->ak_path);
    }
    *ret_ak = request.ak;
    return 0;
}

static int make_ak(const struct attest_host_config *config, struct key **ret_ak, struct error *err)
{
    struct ak_request request = {.keystore = config->keystore, .type = config->ak_type};
    _cleanup_(buffer_clear) struct buffer reference = {0};
    if (config->ak_type != KEY_TYPE_EC_P256 && config->ak_type != KEY_TYPE_RSA_2048) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "an attestation key is of type ec-p256 or rsa-2048, not %s",
                         key_type_name(config->ak_type));
    }
    TRY(host_run(config->keystore, run_generate_ak, &request, err));
    _cleanup_(key_unref_cleanup) struct key *ak = request.ak;
    key_reference(ak, &reference);
    if (file_write_atomic(config->ak_path, buffer_bytes(&reference), 0600, err) < 0) {
        return error_prepend(err, "keeping the attestation key");
    }
    *ret_ak = take_ptr(ak);
    return 0;
}

int attest_host_new_ak(const struct attest_host_config *config, struct error *err)
{
    _cleanup_(key_unref_cleanup) struct key *ak = NULL;
    return make_ak(config, &ak, err);
}

static int open_or_make_ak(const struct attest_host_config *config, struct key **ret_ak,
                           struct error *err)
{
    _cleanup_(buffer_clear) struct buffer reference = {0};
    struct error reason;
    if (buffer_read_file(config->ak_path, TPM_REFERENCE_LIMIT_BYTES, &reference, &reason) == 0) {
        return open_ak(config, buffer_bytes(&reference), ret_ak, err);
    }
    return reason.code == ERROR_NOT_FOUND
               ? make_ak(config, ret_ak, err)
               : error_set(err, reason.code, "reading the attestation key: %s", reason.text);
}

static int describe_ak(struct attest_host *host, struct error *err)
{
    TPMT_PUBLIC public;
    TRY(host_key_public(host_tpm_key(host->ak), &host->ak_public, err));
    TRY(public_parse(buffer_bytes(&host->ak_public), &public, err));
    return public_name(&public, &host->ak_name, err);
}

int attest_host_open(const struct attest_host_config *config, struct attest_host **ret_host,
                     struct error *err)
{
    _cleanup_(attest_host_close_cleanup) struct attest_host *host = NEW(struct attest_host);
    host->keystore = config->keystore;
    host->event_log_path = memory_copy_text(config->event_log_path);
    host->ima_path = memory_copy_text(config->ima_path);
    if (host_ek_find(config->keystore, &host->ek, err) < 0 ||
        open_or_make_ak(config, &host->ak, err) < 0 || describe_ak(host, err) < 0) {
        return error_prepend(err, "preparing attestation with the TPM of keystore %s",
                             keystore_name(config->keystore));
    }
    *ret_host = take_ptr(host);
    return 0;
}

void attest_host_close(struct attest_host *host)
{
    if (host->ak) {
        key_unref(host->ak);
    }
    if (host->ek) {
        host_ek_free(host->ek);
    }
    buffer_clear(&host->ak_public);
    free(host->event_log_path);
    free(host->ima_path);
    free(host);
}

int attest_host_read_ek(struct keystore *keystore, struct evidence *ret_evidence, struct error *err)
{
    _cleanup_(host_ek_free_cleanup) struct host_ek *ek = NULL;
    TRY(host_ek_find(keystore, &ek, err));
    host_ek_tell(ek, ret_evidence);
    return 0;
}

int attest_host_identify(struct attest_host *host, struct evidence *ret_evidence, struct error *err)
{
    (void)err;
    host_ek_tell(host->ek, ret_evidence);
    buffer_reset(&ret_evidence->ak_public);
    buffer_append(&ret_evidence->ak_public, host->ak_public.data, host->ak_public.size);
    return 0;
}
