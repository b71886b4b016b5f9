#include "pkcs11/tpm/tpm_device.h"

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_policy.h"
#include "pkcs11/tpm/tpm_recovery.h"

enum { ATTEMPTS_MAX = 4, ATTEMPTS_LIMIT_MS = 10000, SLOTS_MIN = 2, SLOTS_MAX = 16 };

/* A transport that was opened anew: what we knew of the TPM behind it is checked first. */
static TSS2_RC connect(struct tpm_device *device)
{
    if (device->transport.is_overdue) {
        tpm_transport_close(&device->transport);
    }
    if (device->transport.sys) {
        return TSS2_RC_SUCCESS;
    }
    TSS2_RC rc = tpm_transport_open(&device->transport);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_recovery_restart(device);
    }
    if (rc != TSS2_RC_SUCCESS) {
        tpm_transport_close(&device->transport);
    }
    return rc;
}

int tpm_device_attempt(struct tpm_device *device, tpm_operation *operation, void *argument,
                       struct error *err)
{
    uint64_t deadline_ms = clock_monotonic_ms() + ATTEMPTS_LIMIT_MS;
    for (unsigned attempt = 0;; attempt++) {
        TSS2_RC rc = connect(device);
        if (rc == TSS2_RC_SUCCESS) {
            rc = operation(device, argument);
        }
        if (rc == TSS2_RC_SUCCESS) {
            return 0;
        }
        const char *command = device->transport.command;
        if (attempt + 1 == ATTEMPTS_MAX || clock_monotonic_ms() > deadline_ms ||
            !tpm_recovery_mend(device, rc, attempt)) {
            device->failure = rc;
            return tpm_rc_error(err, rc, command);
        }
    }
}

/* Remembers which sessions there were, in case that the answer gets lost. A resource manager ends
 * what is left when the transport is closed. */
static TSS2_RC before_start(struct tpm_device *device)
{
    return tpm_transport_is_managed(&device->transport)
               ? TSS2_RC_SUCCESS
               : tpm_command_handles(&device->transport, TPM_HANDLES_LOADED_SESSION,
                                     &device->sessions_before);
}

static void after_start(struct tpm_device *device, TSS2_RC rc)
{
    device->is_session_astray =
        !tpm_transport_is_managed(&device->transport) &&
        (tpm_rc_reaction(rc) == TPM_REACTION_REOPEN || rc == TPM_RC_OVERDUE);
}

static TSS2_RC start_session(struct tpm_device *device)
{
    const struct tpm_primary *primary = &device->primary;
    TSS2_RC rc = before_start(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_start(&device->session, primary->object.handle, &primary->public);
        after_start(device, rc);
    }
    return rc;
}

TSS2_RC tpm_device_policy_session(struct tpm_device *device, TPM2_ALG_ID hash,
                                  TPM2_HANDLE *ret_session)
{
    TSS2_RC rc = before_start(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_policy_start(&device->transport, hash, ret_session);
        after_start(device, rc);
    }
    return rc;
}

TSS2_RC tpm_device_session(struct tpm_device *device)
{
    if (tpm_session_is_usable(&device->session)) {
        return TSS2_RC_SUCCESS;
    }
    tpm_session_end(&device->session, true);
    TSS2_RC rc = tpm_cache_acquire(&device->cache, &device->primary.object);
    return rc == TSS2_RC_SUCCESS ? start_session(device) : rc;
}

TSS2_RC tpm_device_sync(struct tpm_device *device)
{
    TPMS_CLOCK_INFO clock;
    TSS2_RC rc = tpm_command_read_clock(&device->transport, &clock);
    if (rc != TSS2_RC_SUCCESS || (clock.resetCount == device->clock.resetCount &&
                                  clock.restartCount == device->clock.restartCount)) {
        return rc;
    }
    return tpm_recovery_restart(device);
}

static TSS2_RC find_operation(struct tpm_device *device, void *argument)
{
    (void)argument;
    uint32_t slots = 0;
    TSS2_RC rc = tpm_command_property(&device->transport, TPM2_PT_HR_TRANSIENT_MIN, &slots);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    device->cache.limit = MIN(MAX(slots, SLOTS_MIN), SLOTS_MAX);
    return tpm_primary_find(device);
}

static int find_primary(struct tpm_device *device, const char *pin_path, struct error *err)
{
    struct tpm_primary *primary = &device->primary;
    if (pin_path) {
        TRY(tpm_primary_read_pin(primary, pin_path, err));
    }
    bool is_pinned = primary->is_known;
    if (tpm_device_attempt(device, find_operation, NULL, err) < 0) {
        return is_pinned ? error_prepend(err, "finding the storage primary pinned in %s", pin_path)
                         : error_prepend(err, "finding the storage primary");
    }
    return pin_path && !is_pinned ? tpm_primary_write_pin(primary, pin_path, err) : 0;
}

int tpm_device_open(const struct tpm_config *config, const char *name,
                    struct tpm_device **ret_device, struct error *err)
{
    struct tpm_device *device = NEW(struct tpm_device);
    device->name = memory_copy_text(name);
    device->transport.conf = memory_copy_text(config->tcti);
    tpm_cache_open(&device->cache, device, &device->transport);
    if (tpm_crypto_open(&device->crypto, err) < 0 ||
        tpm_session_open(&device->session, &device->transport, &device->crypto, err) < 0 ||
        find_primary(device, config->pin_path, err) < 0) {
        tpm_device_close(device);
        return error_prepend(err, "opening the TPM at %s", config->tcti);
    }
    *ret_device = device;
    return 0;
}

void tpm_device_close(struct tpm_device *device)
{
    if (device->transport.sys) {
        tpm_session_end(&device->session, true);
        tpm_cache_drop(&device->cache, &device->primary.object);
    }
    tpm_session_close(&device->session);
    tpm_transport_close(&device->transport);
    tpm_crypto_close(&device->crypto);
    buffer_clear(&device->primary.object.context);
    free(device->transport.conf);
    free(device->name);
    free(device);
}
