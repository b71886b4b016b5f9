#include "client/tpm_access.h"

#include <stdlib.h>

#include "lib/base/secret.h"

int tpm_access_prepare(struct error *err)
{
    (void)setenv("TSS2_LOG", "all+NONE", 0);
    return secret_init(err);
}

int tpm_access_open(const struct arguments *arguments, struct tpm_device **ret_device,
                    struct error *err)
{
    const struct tpm_config config = {.tcti = arguments->tcti ? arguments->tcti
                                                              : TPM_ACCESS_DEFAULT_TCTI};
    TRY(tpm_access_prepare(err));
    return tpm_device_open(&config, "tpm", ret_device, err);
}
