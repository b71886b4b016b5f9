#include "attest/host/host_state.h"

TSS2_RC host_certify_operation(struct tpm_device *device, void *argument)
{
    struct host_certification *certification = argument;
    struct tpm_object *key = certification->key;
    struct tpm_object *ak = certification->ak;
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire_both(&device->cache, key, ak);
        certification->is_key_lost = tpm_rc_is_integrity(rc) && key->handle == 0;
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_certify(&device->session, host_loaded(key), host_loaded(ak),
                                 &certification->nonce, &certification->certified);
    }
    host_doubt(rc, key);
    host_doubt(rc, ak);
    return rc;
}

static int run_certify(void *state, void *argument, struct error *err)
{
    struct host_certification *certification = argument;
    int result = host_attempt_with_ak(state, host_certify_operation, certification, err);
    if (result < 0 && certification->is_key_lost && err) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "the TPM no longer takes the key's blob");
    }
    return result;
}

static int check_key(const struct attest_host *host, const struct key *key, struct error *err)
{
    if (key_keystore(key) != host->keystore) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the key is in keystore %s, but the TPM that attests is keystore %s",
                         keystore_name(key_keystore(key)), keystore_name(host->keystore));
    }
    return key_is_alive(key)
               ? 0
               : error_set(err, ERROR_FAILED_PRECONDITION, "the key is lost; a new one is needed");
}

int attest_host_certify(struct attest_host *host, struct key *key, struct bytes nonce,
                        struct evidence *ret_evidence, struct error *err)
{
    struct host_certification certification = {.ak = &host_tpm_key(host->ak)->object};
    if (check_key(host, key, err) < 0 || host_nonce(nonce, &certification.nonce, err) < 0) {
        return error_prepend(err, "certifying a key");
    }
    certification.key = &host_tpm_key(key)->object;
    buffer_reset(&ret_evidence->key_public);
    if (host_run(host->keystore, run_certify, &certification, err) < 0 ||
        host_key_public(host_tpm_key(key), &ret_evidence->key_public, err) < 0 ||
        host_keep_attested(&certification.certified, &ret_evidence->key, err) < 0) {
        return error_prepend(err, "certifying a key");
    }
    return 0;
}
