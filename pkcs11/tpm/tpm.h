/* The driver for a TPM 2.0. Keys are children of the storage primary; nothing of them is written to
 * NV. */
#pragma once

#include "pkcs11/driver.h"

struct tpm_config {
    const char *tcti; /* tpm2-tss TCTI loader string, such as "device:/dev/tpmrm0" or
                         "swtpm:path=/run/x/sock" */
    /* Where the name of the storage primary is pinned at first use: a file in the data folder. A
     * primary with another name (TPM cleared or replaced, or somebody between us and it) is
     * refused. NULL: not pinned (tests). */
    const char *pin_path;
};

extern const struct keystore_driver keystore_driver_tpm; /* config: struct tpm_config */
