/* The inside of opening a sealed file. On the device's thread. */
#pragma once

#include "attest/host/seal_policy.h"
#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm_device.h"

/* Why it does not open, where trying again would change nothing. */
enum seal_outcome {
    SEAL_OPENED,
    SEAL_OTHER_TPM,
    SEAL_OTHER_STATE,
    SEAL_MOVING, /* registers changed while we were at it */
    SEAL_BAD_APPROVAL,
    SEAL_COUNTER_WENT_ON,
    SEAL_NO_COUNTER,
    SEAL_DAMAGED,
};

struct seal_opening {
    const struct seal_file *file;
    struct tpm_object object;
    struct pcr_set now;
    struct secret data; /* guarded TPM2B_SENSITIVE_DATA */
    enum seal_outcome outcome;
};

/* One try to have the object unsealed by way of the state, whose values the registers had a moment
 * ago; the outcome says how it went unless the TPM or the way to it failed. */
TSS2_RC seal_unseal_by(struct tpm_device *device, struct seal_opening *opening,
                       const struct seal_state *state);
