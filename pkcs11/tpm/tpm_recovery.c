#include "pkcs11/tpm/tpm_recovery.h"

#include "lib/base/log.h"
#include "pkcs11/tpm/tpm_reclaim.h"

/* Between tries to open a broken transport again: a daemon that restarts takes a moment. Longer
 * outages are the keystore's to wait for. */
static const unsigned reopen_pauses_ms[] = {0, 50, 200};

/* Starts up a simulator that was reset. A real TPM is started by firmware and kernel: if nobody
 * did, starting it here would hide that its PCRs measured nothing. */
static TSS2_RC read_clock_started(struct tpm_device *device, TPMS_CLOCK_INFO *ret_clock)
{
    TSS2_RC rc = tpm_command_read_clock(&device->transport, ret_clock);
    if (rc == TPM2_RC_INITIALIZE && tpm_transport_is_simulator(&device->transport)) {
        rc = tpm_command_startup(&device->transport);
        if (rc == TSS2_RC_SUCCESS) {
            rc = tpm_command_read_clock(&device->transport, ret_clock);
        }
    }
    return rc;
}

/* Our keys are used in lockout too, so nothing else would tell of it. */
static void tell_of_lockout(struct tpm_device *device)
{
    uint32_t permanent = 0;
    if (tpm_command_property(&device->transport, TPM2_PT_PERMANENT, &permanent) ==
            TSS2_RC_SUCCESS &&
        (permanent & TPMA_PERMANENT_INLOCKOUT)) {
        log_warning("keystore %s: the TPM is in dictionary attack lockout after wrong passwords or "
                    "unclean stops. signet's keys are exempt, those of other programs may be "
                    "refused. It ends by itself, or at once by tpm2_dictionarylockout -c",
                    device->name);
    }
}

TSS2_RC tpm_recovery_restart(struct tpm_device *device)
{
    TPMS_CLOCK_INFO clock;
    TSS2_RC rc = read_clock_started(device, &clock);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    const TPMS_CLOCK_INFO before = device->clock;
    bool has_changed = device->is_clock_known && (clock.resetCount != before.resetCount ||
                                                  clock.restartCount != before.restartCount);
    /* TPM2_Clear sets the counters back and leaves sessions alone. */
    bool are_handles_gone = has_changed && clock.resetCount >= before.resetCount;
    if (has_changed) {
        log_warning("keystore %s: the TPM was %s (reset %u, restart %u); loading keys again",
                    device->name, are_handles_gone ? "reset" : "cleared", clock.resetCount,
                    clock.restartCount);
    }
    device->clock = clock;
    device->is_clock_known = true;
    tpm_cache_forget_all(&device->cache, !are_handles_gone);
    tpm_session_end(&device->session, !are_handles_gone);
    device->is_session_astray = device->is_session_astray && !are_handles_gone;
    tpm_reclaim_astray_session(device);
    tell_of_lockout(device);
    return tpm_primary_check(device);
}

static bool make_room(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    (void)rc;
    (void)attempt;
    tpm_cache_evict_all(&device->cache, true);
    tpm_reclaim_objects(device);
    return true;
}

static bool new_session(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    (void)attempt;
    tpm_session_end(&device->session, true);
    if ((rc & 0xffff) == TPM2_RC_SESSION_MEMORY) {
        tpm_reclaim_sessions(device);
    }
    return true;
}

/* The saved primary is no longer trusted either: it may be a context saved from a handle that had
 * changed hands. */
static bool rebuild(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    (void)attempt;
    if (rc == TPM_RC_TAMPERED) {
        log_warning("keystore %s: an answer to %s was not authentic; trying again", device->name,
                    device->transport.command);
    }
    buffer_clear(&device->primary.object.context);
    TSS2_RC reason = tpm_recovery_restart(device);
    if (reason != TSS2_RC_SUCCESS) {
        /* Whatever it is, the next try finds it again, on a fresh transport. */
        tpm_transport_close(&device->transport);
    }
    return true;
}

static bool reopen(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    (void)rc;
    tpm_transport_close(&device->transport);
    tpm_transport_pause(reopen_pauses_ms[MIN(attempt, ARRAY_SIZE(reopen_pauses_ms) - 1)]);
    return true;
}

static bool fail(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    (void)device;
    (void)rc;
    (void)attempt;
    return false;
}

typedef bool mender(struct tpm_device *device, TSS2_RC rc, unsigned attempt);

bool tpm_recovery_mend(struct tpm_device *device, TSS2_RC rc, unsigned attempt)
{
    static mender *const menders[] = {
        [TPM_REACTION_FAIL] = fail,
        [TPM_REACTION_RESEND] = fail, /* the transport did that for as long as it makes sense */
        [TPM_REACTION_MAKE_ROOM] = make_room,
        [TPM_REACTION_NEW_SESSION] = new_session,
        [TPM_REACTION_REBUILD] = rebuild,
        [TPM_REACTION_STARTUP] = rebuild,
        [TPM_REACTION_REOPEN] = reopen,
    };
    return menders[tpm_rc_reaction(rc)](device, rc, attempt);
}
