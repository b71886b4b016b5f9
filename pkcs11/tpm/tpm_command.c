#include "pkcs11/tpm/tpm_command.h"

#include <tss2/tss2_mu.h>

static TSS2_RC then_execute(TSS2_RC rc, struct tpm_transport *transport, const char *command)
{
    return rc == TSS2_RC_SUCCESS ? tpm_transport_execute(transport, command) : rc;
}

/* Handles are not covered by a session's HMAC. A wrong one is found out when it is used; one that
 * cannot be an object's is not even kept. */
static TSS2_RC take_handle(TSS2_RC rc, TPM2_HANDLE handle, TPM2_HANDLE *ret_handle)
{
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    if (handle >> TPM2_HR_SHIFT != TPM2_HT_TRANSIENT) {
        return TPM_RC_TAMPERED;
    }
    *ret_handle = handle;
    return TSS2_RC_SUCCESS;
}

TSS2_RC tpm_command_startup(struct tpm_transport *transport)
{
    TSS2_RC rc = Tss2_Sys_Startup_Prepare(transport->sys, TPM2_SU_CLEAR);
    rc = then_execute(rc, transport, "TPM2_Startup");
    /* Somebody else was faster. */
    return rc == TPM2_RC_INITIALIZE ? TSS2_RC_SUCCESS : rc;
}

TSS2_RC tpm_command_read_clock(struct tpm_transport *transport, TPMS_CLOCK_INFO *ret_clock)
{
    TPMS_TIME_INFO time = {0};
    TSS2_RC rc = Tss2_Sys_ReadClock_Prepare(transport->sys);
    rc = then_execute(rc, transport, "TPM2_ReadClock");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ReadClock_Complete(transport->sys, &time);
    }
    if (rc == TSS2_RC_SUCCESS) {
        *ret_clock = time.clockInfo;
    }
    return rc;
}

static TSS2_RC get_capability(struct tpm_transport *transport, TPM2_CAP capability,
                              uint32_t property, uint32_t count, TPMS_CAPABILITY_DATA *ret)
{
    TPMI_YES_NO has_more = TPM2_NO;
    TSS2_RC rc = Tss2_Sys_GetCapability_Prepare(transport->sys, capability, property, count);
    rc = then_execute(rc, transport, "TPM2_GetCapability");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_GetCapability_Complete(transport->sys, &has_more, ret);
    }
    return rc == TSS2_RC_SUCCESS && ret->capability != capability ? TPM_RC_BAD_ANSWER : rc;
}

TSS2_RC tpm_command_property(struct tpm_transport *transport, TPM2_PT property, uint32_t *ret)
{
    TPMS_CAPABILITY_DATA data = {0};
    const TPML_TAGGED_TPM_PROPERTY *list = &data.data.tpmProperties;
    TSS2_RC rc = get_capability(transport, TPM2_CAP_TPM_PROPERTIES, property, 1, &data);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    if (list->count < 1 || list->tpmProperty[0].property != property) {
        return TPM_RC_BAD_ANSWER;
    }
    *ret = list->tpmProperty[0].value;
    return TSS2_RC_SUCCESS;
}

TSS2_RC tpm_command_handles(struct tpm_transport *transport, TPM2_HANDLE first,
                            TPML_HANDLE *ret_handles)
{
    TPMS_CAPABILITY_DATA data = {0};
    TSS2_RC rc = get_capability(transport, TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, &data);
    if (rc == TSS2_RC_SUCCESS) {
        *ret_handles = data.data.handles;
    }
    return rc;
}

TSS2_RC tpm_command_read_public(struct tpm_transport *transport, TPM2_HANDLE handle,
                                TPM2B_PUBLIC *ret_public, TPM2B_NAME *ret_qualified)
{
    TPM2B_NAME name = {0};
    TPM2B_NAME qualified = {0};
    *ret_public = (TPM2B_PUBLIC){0};
    TSS2_RC rc = Tss2_Sys_ReadPublic_Prepare(transport->sys, handle);
    rc = then_execute(rc, transport, "TPM2_ReadPublic");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ReadPublic_Complete(transport->sys, ret_public, &name, &qualified);
    }
    if (rc == TSS2_RC_SUCCESS && ret_qualified) {
        *ret_qualified = qualified;
    }
    return rc;
}

TSS2_RC tpm_command_create_primary(struct tpm_transport *transport, TPM2_HANDLE hierarchy,
                                   const TPM2B_PUBLIC *template, TPM2_HANDLE *ret_handle,
                                   TPM2B_PUBLIC *ret_public)
{
    static const TPM2B_SENSITIVE_CREATE no_secret = {0};
    static const TPM2B_DATA no_data = {0};
    static const TPML_PCR_SELECTION no_pcrs = {0};
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TSS2_SYS_CONTEXT *sys = transport->sys;
    TPM2B_CREATION_DATA creation = {0};
    TPM2B_DIGEST hash = {0};
    TPMT_TK_CREATION ticket = {0};
    TPM2B_NAME name = {0};
    TPM2_HANDLE handle = 0;
    *ret_public = (TPM2B_PUBLIC){0};
    TSS2_RC rc =
        Tss2_Sys_CreatePrimary_Prepare(sys, hierarchy, &no_secret, template, &no_data, &no_pcrs);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_SetCmdAuths(sys, &empty_password);
    }
    rc = then_execute(rc, transport, "TPM2_CreatePrimary");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_CreatePrimary_Complete(sys, &handle, ret_public, &creation, &hash, &ticket,
                                             &name);
    }
    return take_handle(rc, handle, ret_handle);
}

TSS2_RC tpm_command_context_save(struct tpm_transport *transport, TPM2_HANDLE handle,
                                 struct buffer *ret_context)
{
    uint8_t encoded[TPM2_MAX_COMMAND_SIZE];
    size_t size = 0;
    TPMS_CONTEXT context = {0};
    TSS2_RC rc = Tss2_Sys_ContextSave_Prepare(transport->sys, handle);
    rc = then_execute(rc, transport, "TPM2_ContextSave");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ContextSave_Complete(transport->sys, &context);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_MU_TPMS_CONTEXT_Marshal(&context, encoded, sizeof(encoded), &size);
    }
    if (rc == TSS2_RC_SUCCESS) {
        buffer_append(ret_context, encoded, size);
    }
    return rc;
}

TSS2_RC tpm_command_context_load(struct tpm_transport *transport, struct bytes context,
                                 TPM2_HANDLE *ret_handle)
{
    TPMS_CONTEXT decoded = {0};
    TPM2_HANDLE handle = 0;
    size_t offset = 0;
    TSS2_RC rc = Tss2_MU_TPMS_CONTEXT_Unmarshal(context.data, context.size, &offset, &decoded);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ContextLoad_Prepare(transport->sys, &decoded);
    }
    rc = then_execute(rc, transport, "TPM2_ContextLoad");
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_ContextLoad_Complete(transport->sys, &handle);
    }
    return take_handle(rc, handle, ret_handle);
}

TSS2_RC tpm_command_flush(struct tpm_transport *transport, TPM2_HANDLE handle)
{
    TSS2_RC rc = Tss2_Sys_FlushContext_Prepare(transport->sys, handle);
    return then_execute(rc, transport, NULL);
}

TSS2_RC tpm_command_create(struct tpm_session *session, TPM2_HANDLE parent,
                           const struct tpm_name *name, const TPM2B_PUBLIC *template,
                           TPM2B_PUBLIC *ret_public, TPM2B_PRIVATE *ret_private)
{
    static const struct tpm_command command = {"TPM2_Create", TPM2_CC_Create,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    static const TPM2B_SENSITIVE_CREATE no_secret = {0};
    static const TPM2B_DATA no_data = {0};
    static const TPML_PCR_SELECTION no_pcrs = {0};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TPM2B_CREATION_DATA creation = {0};
    TPM2B_DIGEST hash = {0};
    TPMT_TK_CREATION ticket = {0};
    *ret_public = (TPM2B_PUBLIC){0};
    *ret_private = (TPM2B_PRIVATE){0};
    TSS2_RC rc = Tss2_Sys_Create_Prepare(sys, parent, &no_secret, template, &no_data, &no_pcrs);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute(session, &command, name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Create_Complete(sys, ret_private, ret_public, &creation, &hash, &ticket);
    }
    return rc;
}

TSS2_RC tpm_command_load(struct tpm_session *session, TPM2_HANDLE parent,
                         const struct tpm_name *name, const TPM2B_PUBLIC *public,
                         const TPM2B_PRIVATE *private, TPM2_HANDLE *ret_handle)
{
    static const struct tpm_command command = {"TPM2_Load", TPM2_CC_Load,
                                               TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TPM2B_NAME loaded = {0};
    TPM2_HANDLE handle = 0;
    TSS2_RC rc = Tss2_Sys_Load_Prepare(sys, parent, private, public);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute(session, &command, name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Load_Complete(sys, &handle, &loaded);
    }
    return take_handle(rc, handle, ret_handle);
}

TSS2_RC tpm_command_sign(struct tpm_session *session, TPM2_HANDLE key, const struct tpm_name *name,
                         const TPM2B_DIGEST *digest, const TPMT_SIG_SCHEME *scheme,
                         TPMT_SIGNATURE *ret_signature)
{
    /* The answer's signature is not sized, so it is authentic but not encrypted. */
    static const struct tpm_command command = {"TPM2_Sign", TPM2_CC_Sign, TPMA_SESSION_DECRYPT};
    static const TPMT_TK_HASHCHECK no_ticket = {.tag = TPM2_ST_HASHCHECK,
                                                .hierarchy = TPM2_RH_NULL};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TSS2_RC rc = Tss2_Sys_Sign_Prepare(sys, key, digest, scheme, &no_ticket);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute(session, &command, name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_Sign_Complete(sys, ret_signature);
    }
    return rc;
}
