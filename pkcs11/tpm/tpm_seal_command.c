#include "pkcs11/tpm/tpm_seal_command.h"

#include <openssl/crypto.h>
#include <string.h>

#include "pkcs11/tpm/tpm_command.h"

static TSS2_RC then_execute(TSS2_RC rc, struct tpm_transport *transport, const char *command)
{
    return rc == TSS2_RC_SUCCESS ? tpm_transport_execute(transport, command) : rc;
}

static TPM2B_DIGEST digest_of(const uint8_t bytes[TPM_HASH_BYTES])
{
    TPM2B_DIGEST digest = {.size = TPM_HASH_BYTES};
    memcpy(digest.buffer, bytes, TPM_HASH_BYTES);
    return digest;
}

TSS2_RC tpm_command_create_sealed(struct tpm_session *session, TPM2_HANDLE parent,
                                  const struct tpm_name *name, struct bytes secret,
                                  const TPM2B_PUBLIC *template, const struct secret *guarded,
                                  TPM2B_PUBLIC *ret_public, TPM2B_PRIVATE *ret_private)
{
    static const struct tpm_command command = {"TPM2_Create", TPM2_CC_Create,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    static const TPM2B_DATA no_data = {0};
    static const TPML_PCR_SELECTION no_pcrs = {0};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TPM2B_SENSITIVE_CREATE *sensitive = (TPM2B_SENSITIVE_CREATE *)guarded->data;
    TPM2B_SENSITIVE_DATA *data = &sensitive->sensitive.data;
    TPM2B_CREATION_DATA creation = {0};
    TPM2B_DIGEST hash = {0};
    TPMT_TK_CREATION ticket = {0};
    if (guarded->size < sizeof(*sensitive) || secret.size > sizeof(data->buffer)) {
        return TPM_RC_BAD_REQUEST;
    }
    *ret_public = (TPM2B_PUBLIC){0};
    *ret_private = (TPM2B_PRIVATE){0};
    data->size = (uint16_t)secret.size;
    memcpy(data->buffer, secret.data, secret.size);
    TSS2_RC rc = Tss2_Sys_Create_Prepare(sys, parent, sensitive, template, &no_data, &no_pcrs);
    OPENSSL_cleanse(sensitive, sizeof(*sensitive));
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute(session, &command, name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Create_Complete(sys, ret_private, ret_public, &creation, &hash, &ticket);
    }
    return rc;
}

/* The library keeps the answer, decrypted, until the next command. */
static void wipe_answer(TSS2_SYS_CONTEXT *sys)
{
    const uint8_t *parameters = NULL;
    size_t size = 0;
    if (Tss2_Sys_GetRpBuffer(sys, &size, &parameters) == TSS2_RC_SUCCESS) {
        OPENSSL_cleanse((uint8_t *)parameters, size);
    }
}

TSS2_RC tpm_command_unseal(struct tpm_session *session, TPM2_HANDLE object,
                           const struct tpm_name *name, TPM2_HANDLE policy,
                           const struct secret *ret_data)
{
    static const struct tpm_command command = {"TPM2_Unseal", TPM2_CC_Unseal, TPMA_SESSION_ENCRYPT};
    const struct tpm_operand operand = {.name = tpm_name_bytes(name), .authorization = policy};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TPM2B_SENSITIVE_DATA *data = (TPM2B_SENSITIVE_DATA *)ret_data->data;
    if (ret_data->size < sizeof(*data)) {
        return TPM_RC_BAD_REQUEST;
    }
    data->size = 0;
    TSS2_RC rc = Tss2_Sys_Unseal_Prepare(sys, object);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute_on(session, &command, &operand, 1);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Unseal_Complete(sys, data);
        wipe_answer(sys);
    }
    return rc;
}

TSS2_RC tpm_command_pcr_read_audited(struct tpm_session *session, const TPML_PCR_SELECTION *wanted,
                                     uint32_t *ret_counter, TPML_PCR_SELECTION *ret_read,
                                     TPML_DIGEST *ret_values)
{
    static const struct tpm_command command = {"TPM2_PCR_Read", TPM2_CC_PCR_Read,
                                               TPMA_SESSION_AUDIT};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    *ret_read = (TPML_PCR_SELECTION){0};
    *ret_values = (TPML_DIGEST){0};
    TSS2_RC rc = Tss2_Sys_PCR_Read_Prepare(sys, wanted);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute_on(session, &command, NULL, 0);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_PCR_Read_Complete(sys, ret_counter, ret_read, ret_values);
    }
    return rc;
}

TSS2_RC tpm_command_policy_pcr(struct tpm_transport *transport, TPM2_HANDLE policy,
                               const uint8_t digest[TPM_HASH_BYTES],
                               const TPML_PCR_SELECTION *selection)
{
    const TPM2B_DIGEST expected = digest_of(digest);
    TSS2_RC rc = Tss2_Sys_PolicyPCR_Prepare(transport->sys, policy, &expected, selection);
    return then_execute(rc, transport, "TPM2_PolicyPCR");
}

TSS2_RC tpm_command_policy_authorize(struct tpm_transport *transport, TPM2_HANDLE policy,
                                     const uint8_t approved[TPM_HASH_BYTES], struct bytes reference,
                                     const struct tpm_name *name, const TPMT_TK_VERIFIED *ticket)
{
    const TPM2B_DIGEST digest = digest_of(approved);
    TPM2B_NONCE policy_reference = {.size = (uint16_t)reference.size};
    TPM2B_NAME key = {.size = (uint16_t)name->size};
    if (reference.size > sizeof(policy_reference.buffer)) {
        return TPM_RC_BAD_REQUEST;
    }
    memcpy(policy_reference.buffer, reference.data, reference.size);
    memcpy(key.name, name->data, name->size);
    TSS2_RC rc = Tss2_Sys_PolicyAuthorize_Prepare(transport->sys, policy, &digest,
                                                  &policy_reference, &key, ticket);
    return then_execute(rc, transport, "TPM2_PolicyAuthorize");
}

TSS2_RC tpm_command_policy_nv_equals(struct tpm_transport *transport, TPM2_HANDLE policy,
                                     TPM2_HANDLE index, struct bytes value)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TPM2B_OPERAND operand = {.size = (uint16_t)value.size};
    if (value.size > sizeof(operand.buffer)) {
        return TPM_RC_BAD_REQUEST;
    }
    memcpy(operand.buffer, value.data, value.size);
    TSS2_RC rc =
        Tss2_Sys_PolicyNV_Prepare(transport->sys, index, index, policy, &operand, 0, TPM2_EO_EQ);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_SetCmdAuths(transport->sys, &empty_password);
    }
    return then_execute(rc, transport, "TPM2_PolicyNV");
}

static TSS2_RC load_external(struct tpm_transport *transport, const TPM2B_PUBLIC *public,
                             TPM2_HANDLE *ret_handle)
{
    TPM2B_NAME name = {0};
    TSS2_RC rc = Tss2_Sys_LoadExternal_Prepare(transport->sys, NULL, public, TPM2_RH_OWNER);
    rc = then_execute(rc, transport, "TPM2_LoadExternal");
    return rc == TSS2_RC_SUCCESS ? Tss2_Sys_LoadExternal_Complete(transport->sys, ret_handle, &name)
                                 : rc;
}

TSS2_RC tpm_command_verify_external(struct tpm_transport *transport, const TPM2B_PUBLIC *public,
                                    const uint8_t digest[TPM_HASH_BYTES],
                                    const TPMT_SIGNATURE *signature, TPMT_TK_VERIFIED *ret_ticket)
{
    const TPM2B_DIGEST signed_digest = digest_of(digest);
    TPM2_HANDLE handle = 0;
    TSS2_RC rc = load_external(transport, public, &handle);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    rc = Tss2_Sys_VerifySignature_Prepare(transport->sys, handle, &signed_digest, signature);
    rc = then_execute(rc, transport, "TPM2_VerifySignature");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_VerifySignature_Complete(transport->sys, ret_ticket);
    }
    if (handle >> TPM2_HR_SHIFT == TPM2_HT_TRANSIENT) {
        (void)tpm_command_flush(transport, handle);
    }
    return rc;
}
