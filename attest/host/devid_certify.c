#include "attest/host/devid.h"
#include "attest/host/devid_files.h"
#include "attest/host/host_state.h"
#include "attest/public.h"

struct devid_certification {
    const char *folder;
    struct host_certification of_key;
    struct buffer *key_public;
};

static int run_certify(void *state, void *argument, struct error *err)
{
    struct devid_certification *certification = argument;
    _cleanup_(devid_key_close_cleanup) struct devid_key *key = NULL;
    TRY(devid_files_open(state, certification->folder, &key, err));
    certification->of_key.key = &key->object;
    public_encode(&key->public.publicArea, certification->key_public);
    return host_attempt_with_ak(state, host_certify_operation, &certification->of_key, err);
}

int devid_certify(struct attest_host *host, const char *folder, struct bytes nonce,
                  struct evidence *ret_evidence, struct error *err)
{
    struct devid_certification certification = {.folder = folder,
                                                .of_key.ak = &host_tpm_key(host->ak)->object,
                                                .key_public = &ret_evidence->key_public};
    buffer_reset(&ret_evidence->key_public);
    if (host_nonce(nonce, &certification.of_key.nonce, err) < 0 ||
        host_run(host->keystore, run_certify, &certification, err) < 0 ||
        host_keep_attested(&certification.of_key.certified, &ret_evidence->key, err) < 0) {
        return error_prepend(err, "certifying a DevID's key");
    }
    return 0;
}
