/* Registers, read so that nobody on the wires can make up their values. On the device's thread. */
#pragma once

#include "attest/pcr.h"
#include "pkcs11/tpm/tpm_device.h"

/* One try, for use in an operation, under the device's session. Registers that the TPM does not
 * have are not in ret_pcrs. */
TSS2_RC seal_pcrs_read(struct tpm_device *device, const struct pcr_selection *selection,
                       struct pcr_set *ret_pcrs);
