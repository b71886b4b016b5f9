/* The commands of attestation (TPM 2.0 Part 3 12.5, 18, 22). Those under the session are private
 * and authentic, so what they return needs no check of its own on this host. Each function returns
 * 0 or what the TPM or the way to it answered. */
#pragma once

#include "pkcs11/tpm/tpm_session.h"

/* An object that is loaded. */
struct tpm_loaded {
    TPM2_HANDLE handle;
    const struct tpm_name *name;
};

/* What a key signed about the TPM, with the scheme of its own. */
struct tpm_attested {
    TPM2B_ATTEST attested;
    TPMT_SIGNATURE signature;
};

TSS2_RC tpm_command_quote(struct tpm_session *session, struct tpm_loaded signer,
                          const TPM2B_DATA *nonce, const TPML_PCR_SELECTION *selection,
                          struct tpm_attested *ret_quote);
/* Of object, whose authorization value is empty. */
TSS2_RC tpm_command_certify(struct tpm_session *session, struct tpm_loaded object,
                            struct tpm_loaded signer, const TPM2B_DATA *nonce,
                            struct tpm_attested *ret_certified);
/* authorization: of the EK, as in struct tpm_operand. */
TSS2_RC tpm_command_activate_credential(struct tpm_session *session, struct tpm_loaded ak,
                                        struct tpm_loaded ek, TPM2_HANDLE authorization,
                                        const TPM2B_ID_OBJECT *credential,
                                        const TPM2B_ENCRYPTED_SECRET *secret,
                                        TPM2B_DIGEST *ret_content);

/* As many of the registers as fit an answer, those of banks that are not active never. ret_counter:
 * goes up with every change of a register. Without a session: a quote proves them. */
TSS2_RC tpm_command_pcr_read(struct tpm_transport *transport, const TPML_PCR_SELECTION *wanted,
                             uint32_t *ret_counter, TPML_PCR_SELECTION *ret_read,
                             TPML_DIGEST *ret_values);
