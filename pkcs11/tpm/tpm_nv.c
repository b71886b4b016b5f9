#include "pkcs11/tpm/tpm_nv.h"

#include "pkcs11/tpm/tpm_command.h"

/* Every TPM passes as many at once; it is asked how many more. */
enum { PART_MIN_BYTES = 64 };

TSS2_RC tpm_command_nv_read_public(struct tpm_transport *transport, TPM2_HANDLE index,
                                   TPMS_NV_PUBLIC *ret_public)
{
    TPM2B_NV_PUBLIC public = {0};
    TPM2B_NAME name = {0};
    TSS2_RC rc = Tss2_Sys_NV_ReadPublic_Prepare(transport->sys, index);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, "TPM2_NV_ReadPublic");
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_NV_ReadPublic_Complete(transport->sys, &public, &name);
    }
    if (rc == TSS2_RC_SUCCESS) {
        *ret_public = public.nvPublic;
    }
    return rc;
}

TSS2_RC tpm_command_nv_read(struct tpm_transport *transport, TPM2_HANDLE authorizer,
                            TPM2_HANDLE index, uint16_t size, uint16_t offset,
                            struct buffer *ret_contents)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TSS2_SYS_CONTEXT *sys = transport->sys;
    TPM2B_MAX_NV_BUFFER data = {0};
    TSS2_RC rc = Tss2_Sys_NV_Read_Prepare(sys, authorizer, index, size, offset);
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_SetCmdAuths(sys, &empty_password);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_transport_execute(transport, "TPM2_NV_Read");
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_NV_Read_Complete(sys, &data);
    }
    if (rc == TSS2_RC_SUCCESS && data.size != size) {
        rc = TPM_RC_BAD_ANSWER;
    }
    if (rc == TSS2_RC_SUCCESS) {
        buffer_append(ret_contents, data.buffer, data.size);
    }
    return rc;
}

/* The index's own authorization where it may be used: that of the owner may be set. */
static TPM2_HANDLE authorizer_of(const TPMS_NV_PUBLIC *public)
{
    return public->attributes & TPMA_NV_AUTHREAD ? public->nvIndex : TPM2_RH_OWNER;
}

TSS2_RC tpm_nv_read_all(struct tpm_transport *transport, TPM2_HANDLE index, size_t limit_bytes,
                        struct buffer *ret_contents)
{
    TPMS_NV_PUBLIC public = {0};
    uint32_t part_bytes = 0;
    TSS2_RC rc = tpm_command_nv_read_public(transport, index, &public);
    if (rc == TSS2_RC_SUCCESS && (public.nvIndex != index || public.dataSize > limit_bytes)) {
        rc = TPM_RC_BAD_ANSWER;
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_property(transport, TPM2_PT_NV_BUFFER_MAX, &part_bytes);
    }
    part_bytes = MIN(MAX(part_bytes, PART_MIN_BYTES), TPM2_MAX_NV_BUFFER_SIZE);
    uint32_t offset = 0;
    while (rc == TSS2_RC_SUCCESS && offset < public.dataSize) {
        uint32_t size = MIN(part_bytes, public.dataSize - offset);
        rc = tpm_command_nv_read(transport, authorizer_of(&public), index, (uint16_t)size,
                                 (uint16_t)offset, ret_contents);
        offset += size;
    }
    return rc;
}
