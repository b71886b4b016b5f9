#include "pkcs11/tpm/tpm_nv_counter.h"

#include <tss2/tss2_mu.h>

enum { COUNTER_BYTES = 8 };

void tpm_nv_counter_template(TPM2_HANDLE index, TPMS_NV_PUBLIC *ret_public)
{
    *ret_public = (TPMS_NV_PUBLIC){
        .nvIndex = index,
        .nameAlg = TPM2_ALG_SHA256,
        .attributes = TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA |
                      TPMA_NV_WRITTEN | (TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT),
        .dataSize = COUNTER_BYTES,
    };
}

TSS2_RC tpm_nv_counter_name(const struct tpm_crypto *crypto, const TPMS_NV_PUBLIC *public,
                            struct tpm_name *ret_name)
{
    uint8_t area[sizeof(TPMS_NV_PUBLIC)];
    size_t size = 0;
    if (public->nameAlg != TPM2_ALG_SHA256 ||
        Tss2_MU_TPMS_NV_PUBLIC_Marshal(public, area, sizeof(area), &size) != TSS2_RC_SUCCESS) {
        return TPM_RC_BAD_ANSWER;
    }
    const struct bytes part = {area, size};
    *ret_name = (struct tpm_name){.data = {TPM2_ALG_SHA256 >> 8, TPM2_ALG_SHA256 & 0xff},
                                  .size = TPM_NAME_BYTES};
    return tpm_crypto_hash(crypto, &part, 1, ret_name->data + 2) ? TSS2_RC_SUCCESS : TPM_RC_CRYPTO;
}

/* The name of what has no public area is its handle. */
static const uint8_t owner_name[] = {0x40, 0x00, 0x00, 0x01};
_Static_assert(TPM2_RH_OWNER == 0x40000001, "the owner's name is its handle");

TSS2_RC tpm_command_nv_counter_define(struct tpm_session *session, const TPMS_NV_PUBLIC *public)
{
    static const struct tpm_command command = {"TPM2_NV_DefineSpace", TPM2_CC_NV_DefineSpace,
                                               TPMA_SESSION_DECRYPT};
    static const struct tpm_operand owner = {.name = {owner_name, sizeof(owner_name)}};
    static const TPM2B_AUTH no_auth = {0};
    TPM2B_NV_PUBLIC fresh = {.nvPublic = *public};
    fresh.nvPublic.attributes &= ~(TPMA_NV)TPMA_NV_WRITTEN;
    TSS2_RC rc =
        Tss2_Sys_NV_DefineSpace_Prepare(session->transport->sys, TPM2_RH_OWNER, &no_auth, &fresh);
    return rc == TSS2_RC_SUCCESS ? tpm_session_execute_on(session, &command, &owner, 1) : rc;
}

TSS2_RC tpm_command_nv_counter_step(struct tpm_session *session, TPM2_HANDLE index,
                                    const struct tpm_name *name)
{
    static const struct tpm_command command = {"TPM2_NV_Increment", TPM2_CC_NV_Increment, 0};
    const struct tpm_operand operands[] = {
        {.name = {owner_name, sizeof(owner_name)}},
        {.name = tpm_name_bytes(name), .authorization = TPM2_RH_NULL},
    };
    TSS2_RC rc = Tss2_Sys_NV_Increment_Prepare(session->transport->sys, TPM2_RH_OWNER, index);
    return rc == TSS2_RC_SUCCESS
               ? tpm_session_execute_on(session, &command, operands, ARRAY_SIZE(operands))
               : rc;
}

TSS2_RC tpm_command_nv_counter_read(struct tpm_session *session, TPM2_HANDLE index,
                                    const struct tpm_name *name, uint64_t *ret_value)
{
    static const struct tpm_command command = {"TPM2_NV_Read", TPM2_CC_NV_Read, 0};
    const struct tpm_operand operands[] = {
        {.name = tpm_name_bytes(name)},
        {.name = tpm_name_bytes(name), .authorization = TPM2_RH_NULL},
    };
    TPM2B_MAX_NV_BUFFER data = {0};
    TSS2_SYS_CONTEXT *sys = session->transport->sys;
    TSS2_RC rc = Tss2_Sys_NV_Read_Prepare(sys, index, index, COUNTER_BYTES, 0);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_session_execute_on(session, &command, operands, ARRAY_SIZE(operands));
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = Tss2_Sys_NV_Read_Complete(sys, &data);
    }
    if (rc != TSS2_RC_SUCCESS || data.size != COUNTER_BYTES) {
        return rc != TSS2_RC_SUCCESS ? rc : TPM_RC_BAD_ANSWER;
    }
    struct reader reader = reader_of((struct bytes){data.buffer, data.size});
    *ret_value = reader_u64(&reader);
    return TSS2_RC_SUCCESS;
}
