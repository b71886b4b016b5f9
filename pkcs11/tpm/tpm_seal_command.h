/* Commands for objects that hold a secret under a policy (TPM 2.0 Part 3 12, 23). Each returns 0 or
 * what the TPM or the way to it answered; results are set on success only. */
#pragma once

#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm_session.h"

/* Makes an object of the template, which has a policy, that holds the secret. The secret is
 * encrypted on its way; guarded is guarded room for TPM_SEAL_ROOM_BYTES, zeroed again. */
enum { TPM_SEAL_ROOM_BYTES = sizeof(TPM2B_SENSITIVE_CREATE) };
TSS2_RC tpm_command_create_sealed(struct tpm_session *session, TPM2_HANDLE parent,
                                  const struct tpm_name *name, struct bytes secret,
                                  const TPM2B_PUBLIC *template, const struct secret *guarded,
                                  TPM2B_PUBLIC *ret_public, TPM2B_PRIVATE *ret_private);
/* The policy session authorizes, and is used up by success; session encrypts. ret_data is guarded
 * room for TPM_SEAL_DATA_BYTES. */
enum { TPM_SEAL_DATA_BYTES = sizeof(TPM2B_SENSITIVE_DATA) };
TSS2_RC tpm_command_unseal(struct tpm_session *session, TPM2_HANDLE object,
                           const struct tpm_name *name, TPM2_HANDLE policy,
                           const struct secret *ret_data);

/* As tpm_command_pcr_read, and authentic: under the session, which audits. */
TSS2_RC tpm_command_pcr_read_audited(struct tpm_session *session, const TPML_PCR_SELECTION *wanted,
                                     uint32_t *ret_counter, TPML_PCR_SELECTION *ret_read,
                                     TPML_DIGEST *ret_values);

/* Assertions of a policy session. Without protection of their own: one that was changed on its way
 * gives a policy that opens nothing. */

/* The registers must have values of this digest now. */
TSS2_RC tpm_command_policy_pcr(struct tpm_transport *transport, TPM2_HANDLE policy,
                               const uint8_t digest[TPM_HASH_BYTES],
                               const TPML_PCR_SELECTION *selection);
/* approved must be the policy so far; the ticket is of tpm_command_verify_external. */
TSS2_RC tpm_command_policy_authorize(struct tpm_transport *transport, TPM2_HANDLE policy,
                                     const uint8_t approved[TPM_HASH_BYTES], struct bytes reference,
                                     const struct tpm_name *name, const TPMT_TK_VERIFIED *ticket);
/* The index, which everybody may read, must hold exactly these bytes. */
TSS2_RC tpm_command_policy_nv_equals(struct tpm_transport *transport, TPM2_HANDLE policy,
                                     TPM2_HANDLE index, struct bytes value);

/* Has the TPM verify a signature over a SHA-256 digest with a public key from outside, which takes
 * a slot while it is at it. */
TSS2_RC tpm_command_verify_external(struct tpm_transport *transport, const TPM2B_PUBLIC *public,
                                    const uint8_t digest[TPM_HASH_BYTES],
                                    const TPMT_SIGNATURE *signature, TPMT_TK_VERIFIED *ret_ticket);
