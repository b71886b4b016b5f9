/* Policy sessions (TPM 2.0 Part 1 19.7): what they authorize is used under the HMAC session, which
 * proves the answer, so they carry neither salt nor nonces of worth. Each function returns 0 or
 * what the TPM or the way to it answered. */
#pragma once

#include "pkcs11/tpm/tpm_transport.h"

/* Starts one whose digest is of that algorithm, which is the nameAlg of what it is to authorize. It
 * is gone once it was used (struct tpm_operand) with success; else the caller flushes it with
 * tpm_command_flush. */
TSS2_RC tpm_command_policy_start(struct tpm_transport *transport, TPM2_ALG_ID hash,
                                 TPM2_HANDLE *ret_session);
/* Who knows the authorization value of the entity, such as TPM2_RH_ENDORSEMENT: it is empty. */
TSS2_RC tpm_command_policy_secret(struct tpm_transport *transport, TPM2_HANDLE entity,
                                  TPM2_HANDLE session);
/* One of the branches is what the session has come to. */
TSS2_RC tpm_command_policy_or(struct tpm_transport *transport, TPM2_HANDLE session,
                              const TPML_DIGEST *branches);
