/* The TPM's commands that the driver uses, one function each (TPM 2.0 Part 3). Each returns 0 or
 * what the TPM or the way to it answered; results are set on success only. */
#pragma once

#include "pkcs11/tpm/tpm_session.h"

/* Where the handles of a kind begin, for tpm_command_handles; the library's own
 * TPM2_TRANSIENT_FIRST shifts into a sign bit. */
#define TPM_HANDLES_TRANSIENT ((TPM2_HANDLE)0x80000000)
#define TPM_HANDLES_LOADED_SESSION ((TPM2_HANDLE)0x02000000)

/* Without a session: nothing in them is secret, and whoever changes them is found out by the
 * session later, as names no longer fit. */

TSS2_RC tpm_command_startup(struct tpm_transport *transport);
TSS2_RC tpm_command_read_clock(struct tpm_transport *transport, TPMS_CLOCK_INFO *ret_clock);
/* A property of TPM2_CAP_TPM_PROPERTIES. */
TSS2_RC tpm_command_property(struct tpm_transport *transport, TPM2_PT property, uint32_t *ret);
/* The handles of one kind from first on. */
TSS2_RC tpm_command_handles(struct tpm_transport *transport, TPM2_HANDLE first,
                            TPML_HANDLE *ret_handles);
/* ret_qualified may be NULL. */
TSS2_RC tpm_command_read_public(struct tpm_transport *transport, TPM2_HANDLE handle,
                                TPM2B_PUBLIC *ret_public, TPM2B_NAME *ret_qualified);
/* In the hierarchy, such as TPM2_RH_OWNER, with its password empty. */
TSS2_RC tpm_command_create_primary(struct tpm_transport *transport, TPM2_HANDLE hierarchy,
                                   const TPM2B_PUBLIC *template, TPM2_HANDLE *ret_handle,
                                   TPM2B_PUBLIC *ret_public);
/* The context is appended in the TPM's encoding. */
TSS2_RC tpm_command_context_save(struct tpm_transport *transport, TPM2_HANDLE handle,
                                 struct buffer *ret_context);
TSS2_RC tpm_command_context_load(struct tpm_transport *transport, struct bytes context,
                                 TPM2_HANDLE *ret_handle);
TSS2_RC tpm_command_flush(struct tpm_transport *transport, TPM2_HANDLE handle);

/* Under the session: what is passed and what comes back is private and authentic. name is the
 * object's behind handle. */

TSS2_RC tpm_command_create(struct tpm_session *session, TPM2_HANDLE parent,
                           const struct tpm_name *name, const TPM2B_PUBLIC *template,
                           TPM2B_PUBLIC *ret_public, TPM2B_PRIVATE *ret_private);
TSS2_RC tpm_command_load(struct tpm_session *session, TPM2_HANDLE parent,
                         const struct tpm_name *name, const TPM2B_PUBLIC *public,
                         const TPM2B_PRIVATE *private, TPM2_HANDLE *ret_handle);
TSS2_RC tpm_command_sign(struct tpm_session *session, TPM2_HANDLE key, const struct tpm_name *name,
                         const TPM2B_DIGEST *digest, const TPMT_SIG_SCHEME *scheme,
                         TPMT_SIGNATURE *ret_signature);
