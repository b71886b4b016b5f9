/* One TPM as the driver knows it, and the loop that carries an operation through resets, lost
 * handles, full slots and broken transports. One thread. */
#pragma once

#include "pkcs11/tpm/tpm.h"
#include "pkcs11/tpm/tpm_primary.h"

/* Whether RSA-PSS signatures of this TPM have a salt as long as the digest. */
enum tpm_pss { TPM_PSS_UNKNOWN, TPM_PSS_FITS, TPM_PSS_DIFFERS };

struct tpm_device {
    char *name; /* the keystore's, for the log; owned */
    struct tpm_transport transport;
    struct tpm_crypto crypto;
    struct tpm_session session;
    struct tpm_cache cache;
    struct tpm_primary primary;
    struct tpm_name ek_name; /* of the endorsement key that was loaded through it; empty: none */
    TPMS_CLOCK_INFO clock;   /* as last seen; its counters tell resets */
    bool is_clock_known;
    enum tpm_pss pss;
    TSS2_RC failure; /* why the last operation that was given up failed */
    /* The answer to the last start of a session never came: perhaps the TPM holds a session that
     * was not among those of before. */
    bool is_session_astray;
    TPML_HANDLE sessions_before;
};

/* Connects, finds the storage primary and pins it. */
int tpm_device_open(const struct tpm_config *config, const char *name,
                    struct tpm_device **ret_device, struct error *err);
/* Leaves nothing of ours in the TPM. No object but the primary may be left. */
void tpm_device_close(struct tpm_device *device);

/* One try of something. It may be run again from the start after whatever it did. */
typedef TSS2_RC tpm_operation(struct tpm_device *device, void *argument);

/* Runs the operation; after an error that can be mended mends it and runs it again, 4 times and
 * about 10 seconds at most. */
int tpm_device_attempt(struct tpm_device *device, tpm_operation *operation, void *argument,
                       struct error *err);

/* Sees to it that there is a session. */
TSS2_RC tpm_device_session(struct tpm_device *device);
/* Starts a policy session, as tpm_command_policy_start. */
TSS2_RC tpm_device_policy_session(struct tpm_device *device, TPM2_ALG_ID hash,
                                  TPM2_HANDLE *ret_session);
/* Reads the TPM's clock; when it was reset since, starts over: no handle of before is used again.
 */
TSS2_RC tpm_device_sync(struct tpm_device *device);
