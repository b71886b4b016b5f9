/* Counters in NV: indices that only go up (TPM 2.0 Part 1 37.2.4). Defined and stepped with the
 * owner's empty authorization, read by everybody. Each returns 0 or what the TPM or the way to it
 * answered; results are set on success only. */
#pragma once

#include "pkcs11/tpm/tpm_session.h"

/* The public area of such a counter that was stepped at least once, and its name. */
void tpm_nv_counter_template(TPM2_HANDLE index, TPMS_NV_PUBLIC *ret_public);
/* The name, computed here. */
TSS2_RC tpm_nv_counter_name(const struct tpm_crypto *crypto, const TPMS_NV_PUBLIC *public,
                            struct tpm_name *ret_name);

/* Under the session, so both ways authentic: */
TSS2_RC tpm_command_nv_counter_define(struct tpm_session *session, const TPMS_NV_PUBLIC *public);
TSS2_RC tpm_command_nv_counter_step(struct tpm_session *session, TPM2_HANDLE index,
                                    const struct tpm_name *name);
TSS2_RC tpm_command_nv_counter_read(struct tpm_session *session, TPM2_HANDLE index,
                                    const struct tpm_name *name, uint64_t *ret_value);
