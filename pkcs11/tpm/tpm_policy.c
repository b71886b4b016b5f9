#include "pkcs11/tpm/tpm_policy.h"

#include <openssl/rand.h>

enum { POLICY_NONCE_BYTES = 16 };

TSS2_RC tpm_command_policy_start(struct tpm_transport *transport, TPM2_ALG_ID hash,
                                 TPM2_HANDLE *ret_session)
{
    static const TPMT_SYM_DEF none = {.algorithm = TPM2_ALG_NULL};
    static const TPM2B_ENCRYPTED_SECRET no_salt = {0};
    TPM2B_NONCE nonce = {.size = POLICY_NONCE_BYTES};
    TPM2B_NONCE nonce_tpm = {0};
    TPM2_HANDLE session = 0;
    if (RAND_bytes(nonce.buffer, nonce.size) != 1) {
        return TPM_RC_CRYPTO;
    }
    TSS2_RC rc = Tss2_Sys_StartAuthSession_Prepare(transport->sys, TPM2_RH_NULL, TPM2_RH_NULL,
                                                   &nonce, &no_salt, TPM2_SE_POLICY, &none, hash);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, "TPM2_StartAuthSession");
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_StartAuthSession_Complete(transport->sys, &session, &nonce_tpm);
    }
    if (rc == TSS2_RC_SUCCESS && session >> TPM2_HR_SHIFT != TPM2_HT_POLICY_SESSION) {
        rc = TPM_RC_TAMPERED;
    }
    if (rc == TSS2_RC_SUCCESS) {
        *ret_session = session;
    }
    return rc;
}

TSS2_RC tpm_command_policy_secret(struct tpm_transport *transport, TPM2_HANDLE entity,
                                  TPM2_HANDLE session)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    static const TPM2B_NONCE no_nonce = {0};
    static const TPM2B_DIGEST no_digest = {0};
    TSS2_SYS_CONTEXT *sys = transport->sys;
    TSS2_RC rc =
        Tss2_Sys_PolicySecret_Prepare(sys, entity, session, &no_nonce, &no_digest, &no_nonce, 0);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_SetCmdAuths(sys, &empty_password);
    }
    return rc == TSS2_RC_SUCCESS ? tpm_transport_execute(transport, "TPM2_PolicySecret") : rc;
}

TSS2_RC tpm_command_policy_or(struct tpm_transport *transport, TPM2_HANDLE session,
                              const TPML_DIGEST *branches)
{
    TSS2_RC rc = Tss2_Sys_PolicyOR_Prepare(transport->sys, session, branches);
    return rc == TSS2_RC_SUCCESS ? tpm_transport_execute(transport, "TPM2_PolicyOR") : rc;
}
