/* The TPM, for commands that use it without the agent. */
#pragma once

#include "client/command.h"
#include "pkcs11/tpm/tpm_device.h"

#define TPM_ACCESS_DEFAULT_TCTI "device:/dev/tpmrm0"
#define TPM_ACCESS_TCTI_OPTION                                                                     \
    {                                                                                              \
        "tcti", "TCTI", "the TPM (" TPM_ACCESS_DEFAULT_TCTI ")", option_set_text,                  \
            offsetof(struct arguments, tcti), false                                                \
    }

/* Prepares guarded memory and keeps the TPM's libraries quiet, which would say each error again.
 * Before anything secret is read, in a process of one thread. */
int tpm_access_prepare(struct error *err);
/* Prepares, too. To be closed by tpm_device_close. */
int tpm_access_open(const struct arguments *arguments, struct tpm_device **ret_device,
                    struct error *err);
DEFINE_CLEANUP(struct tpm_device, tpm_access_close, tpm_device_close);
