#include "attest/host/devid.h"
#include "attest/host/devid_files.h"
#include "attest/host/host_state.h"
#include "attest/public.h"

struct devid_certification {
    const char *folder;
    struct tpm_key *ak;
    TPM2B_DATA nonce;
    struct devid_key *key;
    struct tpm_attested certified;
    struct buffer *key_public;
};

static TSS2_RC certify_operation(struct tpm_device *device, void *argument)
{
    struct devid_certification *certification = argument;
    struct tpm_object *key = &certification->key->object;
    struct tpm_object *ak = &certification->ak->object;
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire_both(&device->cache, key, ak);
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
    struct devid_certification *certification = argument;
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = NULL;
    TRY(devid_files_open(state, certification->folder, &key, err));
    certification->key = key;
    public_encode(&key->public.publicArea, certification->key_public);
    return host_attempt_with_ak(state, certify_operation, certification, err);
}

int devid_certify(struct attest_host *host, const char *folder, struct bytes nonce,
                  struct evidence *ret_evidence, struct error *err)
{
    struct devid_certification certification = {
        .folder = folder, .ak = host_tpm_key(host->ak), .key_public = &ret_evidence->key_public};
    buffer_reset(&ret_evidence->key_public);
    if (host_nonce(nonce, &certification.nonce, err) < 0 ||
        host_run(host->keystore, run_certify, &certification, err) < 0 ||
        host_keep_attested(&certification.certified, &ret_evidence->key, err) < 0) {
        return error_prepend(err, "certifying a DevID's key");
    }
    return 0;
}
