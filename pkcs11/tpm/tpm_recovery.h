/* What is done about an error before an operation is tried again. */
#pragma once

#include "pkcs11/tpm/tpm_device.h"

/* Whether it is worth trying again after rc, which was the error of try number attempt (from 0).
 * Slots, session, handles or transport have been seen to as the code asks for. */
bool tpm_recovery_mend(struct tpm_device *device, TSS2_RC rc, unsigned attempt);

/* Forgets handles and session, finds out whether the TPM was reset, and checks a persistent
 * primary. For a transport that is open. */
TSS2_RC tpm_recovery_restart(struct tpm_device *device);
