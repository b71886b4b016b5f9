/* Reading NV indices (TPM 2.0 Part 3 31), such as those that hold certificates. Without a session:
 * what is read is no secret and proves itself or nothing. Each function returns 0 or what the TPM
 * or the way to it answered. */
#pragma once

#include "pkcs11/tpm/tpm_transport.h"

#include "lib/base/bytes.h"

/* Where the TCG keeps what belongs to endorsement keys, for tpm_command_handles. */
#define TPM_HANDLES_NV_EK ((TPM2_HANDLE)0x01c00000)

TSS2_RC tpm_command_nv_read_public(struct tpm_transport *transport, TPM2_HANDLE index,
                                   TPMS_NV_PUBLIC *ret_public);
/* A part of the contents, appended. authorizer: the index itself, or TPM2_RH_OWNER; its
 * authorization value is empty. */
TSS2_RC tpm_command_nv_read(struct tpm_transport *transport, TPM2_HANDLE authorizer,
                            TPM2_HANDLE index, uint16_t size, uint16_t offset,
                            struct buffer *ret_contents);

/* The whole contents, in as many parts as the TPM asks for, appended. TPM_RC_BAD_ANSWER: more than
 * limit_bytes. */
TSS2_RC tpm_nv_read_all(struct tpm_transport *transport, TPM2_HANDLE index, size_t limit_bytes,
                        struct buffer *ret_contents);
