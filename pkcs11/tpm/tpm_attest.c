#include "pkcs11/tpm/tpm_attest.h"

/* The key has a scheme. */
static const TPMT_SIG_SCHEME own_scheme = {.scheme = TPM2_ALG_NULL};

TSS2_RC tpm_command_quote(struct tpm_session *session, struct tpm_loaded signer,
                          const TPM2B_DATA *nonce, const TPML_PCR_SELECTION *selection,
                          struct tpm_attested *ret_quote)
{
    static const struct tpm_command command = {"TPM2_Quote", TPM2_CC_Quote,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    *ret_quote = (struct tpm_attested){0};
    TSS2_RC rc = Tss2_Sys_Quote_Prepare(sys, signer.handle, nonce, &own_scheme, selection);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute(session, &command, signer.name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Quote_Complete(sys, &ret_quote->attested, &ret_quote->signature);
    }
    return rc;
}

/* A session can stand for one handle only. It is the signer's, as the object's value is empty. */
TSS2_RC tpm_command_certify(struct tpm_session *session, struct tpm_loaded object,
                            struct tpm_loaded signer, const TPM2B_DATA *nonce,
                            struct tpm_attested *ret_certified)
{
    static const struct tpm_command command = {"TPM2_Certify", TPM2_CC_Certify,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    const struct tpm_operand operands[] = {
        {.name = tpm_name_bytes(object.name), .authorization = TPM2_RS_PW},
        {.name = tpm_name_bytes(signer.name)},
    };
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    *ret_certified = (struct tpm_attested){0};
    TSS2_RC rc = Tss2_Sys_Certify_Prepare(sys, object.handle, signer.handle, nonce, &own_scheme);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute_on(session, &command, operands, ARRAY_SIZE(operands));
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Certify_Complete(sys, &ret_certified->attested, &ret_certified->signature);
    }
    return rc;
}

TSS2_RC tpm_command_activate_credential(struct tpm_session *session, struct tpm_loaded ak,
                                        struct tpm_loaded ek, TPM2_HANDLE authorization,
                                        const TPM2B_ID_OBJECT *credential,
                                        const TPM2B_ENCRYPTED_SECRET *secret,
                                        TPM2B_DIGEST *ret_content)
{
    static const struct tpm_command command = {"TPM2_ActivateCredential",
                                               TPM2_CC_ActivateCredential,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    const struct tpm_operand operands[] = {
        {.name = tpm_name_bytes(ak.name)},
        {.name = tpm_name_bytes(ek.name), .authorization = authorization},
    };
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    *ret_content = (TPM2B_DIGEST){0};
    TSS2_RC rc = Tss2_Sys_ActivateCredential_Prepare(sys, ak.handle, ek.handle, credential, secret);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute_on(session, &command, operands, ARRAY_SIZE(operands));
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ActivateCredential_Complete(sys, ret_content);
    }
    return rc;
}

TSS2_RC tpm_command_pcr_read(struct tpm_transport *transport, const TPML_PCR_SELECTION *wanted,
                             uint32_t *ret_counter, TPML_PCR_SELECTION *ret_read,
                             TPML_DIGEST *ret_values)
{
    *ret_read = (TPML_PCR_SELECTION){0};
    *ret_values = (TPML_DIGEST){0};
    TSS2_RC rc = Tss2_Sys_PCR_Read_Prepare(transport->sys, wanted);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, "TPM2_PCR_Read");
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_PCR_Read_Complete(transport->sys, ret_counter, ret_read, ret_values);
    }
    return rc;
}
