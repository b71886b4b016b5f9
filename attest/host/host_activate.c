#include <string.h>

#include "attest/host/host_state.h"

struct activation {
    struct host_ek *ek;
    struct tpm_key *ak;
    TPM2B_ID_OBJECT credential;
    TPM2B_ENCRYPTED_SECRET secret;
    struct host_policy policy;
    struct secret room; /* TPM2B_DIGEST */
};

static TPM2B_DIGEST *content_of(const struct activation *activation)
{
    return (TPM2B_DIGEST *)activation->room.data;
}

/* What the TPM says to a credential that is not for it depends on where it stumbles; some say that
 * they have failed for good over an RSA secret that does not decrypt, and have not. */
static TSS2_RC judge_refusal(struct tpm_device *device, TSS2_RC rc)
{
    TPMS_CLOCK_INFO clock;
    if (tpm_rc_is_parameter(rc)) {
        return TPM_RC_CREDENTIAL;
    }
    if (rc == TPM2_RC_LOCKOUT) {
        return TPM_RC_EK_LOCKOUT;
    }
    bool is_well = rc == TPM2_RC_FAILURE &&
                   tpm_command_read_clock(&device->transport, &clock) == TSS2_RC_SUCCESS;
    return is_well ? TPM_RC_CREDENTIAL : rc;
}

/* An EK is made without the session, so nothing else would find out a reset before. */
static TSS2_RC load(struct tpm_device *device, struct activation *activation)
{
    TSS2_RC rc = tpm_device_sync(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_device_session(device);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = host_ek_check(device, activation->ek);
    }
    return rc == TSS2_RC_SUCCESS ? tpm_cache_acquire_both(&device->cache, &activation->ak->object,
                                                          &activation->ek->object)
                                 : rc;
}

static TSS2_RC activate(struct tpm_device *device, struct activation *activation)
{
    TPM2_HANDLE authorization = 0;
    TSS2_RC rc = host_ek_authorize(device, activation->ek, &activation->policy, &authorization);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    rc = tpm_command_activate_credential(&device->session, host_loaded(&activation->ak->object),
                                         host_loaded(&activation->ek->object), authorization,
                                         &activation->credential, &activation->secret,
                                         content_of(activation));
    if (rc == TSS2_RC_SUCCESS) {
        activation->policy.session = 0;
        return TSS2_RC_SUCCESS;
    }
    return judge_refusal(device, rc);
}

static TSS2_RC activate_operation(struct tpm_device *device, void *argument)
{
    struct activation *activation = argument;
    TSS2_RC rc = load(device, activation);
    if (rc == TSS2_RC_SUCCESS) {
        rc = activate(device, activation);
    }
    host_doubt(rc, &activation->ak->object);
    host_doubt(rc, &activation->ek->object);
    return rc;
}

static int run_activate(void *state, void *argument, struct error *err)
{
    struct tpm_device *device = state;
    struct activation *activation = argument;
    int result = host_attempt_with_ak(device, activate_operation, activation, err);
    host_policy_end(device, &activation->policy);
    tpm_cache_release(&device->cache, &activation->ek->object);
    return result;
}

static int take_challenge(const struct attest_host *host, const struct challenge *challenge,
                          struct activation *ret_activation, struct error *err)
{
    const struct buffer *credential = &challenge->id_object;
    const struct buffer *secret = &challenge->encrypted_secret;
    if (!bytes_is_equal(buffer_bytes(&challenge->ak_name), tpm2_name_bytes(&host->ak_name))) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the challenge is for another attestation key than this host's");
    }
    if (credential->size == 0 || credential->size > sizeof(ret_activation->credential.credential) ||
        secret->size == 0 || secret->size > sizeof(ret_activation->secret.secret)) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the challenge is none that a TPM could answer: %zu and %zu bytes",
                         credential->size, secret->size);
    }
    ret_activation->credential.size = (uint16_t)credential->size;
    memcpy(ret_activation->credential.credential, credential->data, credential->size);
    ret_activation->secret.size = (uint16_t)secret->size;
    memcpy(ret_activation->secret.secret, secret->data, secret->size);
    return 0;
}

int attest_host_activate(struct attest_host *host, const struct challenge *challenge,
                         struct secret *ret_secret, struct error *err)
{
    struct activation activation = {.ek = host->ek, .ak = host_tpm_key(host->ak)};
    _cleanup_(secret_clear) struct secret room = {0};
    if (take_challenge(host, challenge, &activation, err) < 0 ||
        secret_new(sizeof(TPM2B_DIGEST), &room, err) < 0) {
        return error_prepend(err, "activating a credential");
    }
    activation.room = room;
    if (host_run(host->keystore, run_activate, &activation, err) < 0) {
        return error_prepend(err, "activating a credential");
    }
    const TPM2B_DIGEST *content = content_of(&activation);
    return secret_copy((struct bytes){content->buffer, content->size}, ret_secret, err);
}
