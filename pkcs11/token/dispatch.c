#include "pkcs11/token/dispatch.h"

#include <string.h>

#include "pkcs11/token/dispatch_call.h"
#include "pkcs11/token/dispatch_long.h"

/* Every call that p11-kit knows; the place in the table is its id. Without an act the answer is
 * always the same code and the arguments are not looked at. */
static const struct dispatch_entry entries[] = {
    {"ERROR", NULL, "u", NULL, 0},
    {"C_Initialize", "ayyay", "", dispatch_initialize, 0},
    {"C_Finalize", "", "", dispatch_finalize, 0},
    {"C_GetInfo", "", "vsusv", dispatch_get_info, 0},
    {"C_GetSlotList", "yfu", "au", dispatch_get_slot_list, 0},
    {"C_GetSlotInfo", "u", "ssuvv", dispatch_get_slot_info, 0},
    {"C_GetTokenInfo", "u", "ssssuuuuuuuuuuuvvs", dispatch_get_token_info, 0},
    {"C_GetMechanismList", "ufu", "au", dispatch_get_mechanism_list, 0},
    {"C_GetMechanismInfo", "uu", "uuu", dispatch_get_mechanism_info, 0},
    {"C_InitToken", "uayz", "", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_OpenSession", "uu", "u", dispatch_open_session, 0},
    {"C_CloseSession", "u", "", dispatch_close_session, 0},
    {"C_CloseAllSessions", "u", "", dispatch_close_all_sessions, 0},
    {"C_GetSessionInfo", "u", "uuuu", dispatch_get_session_info, 0},
    {"C_InitPIN", "uay", "", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_SetPIN", "uayay", "", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_GetOperationState", "ufy", "ay", NULL, CKR_STATE_UNSAVEABLE},
    {"C_SetOperationState", "uayuu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_Login", "uuay", "", dispatch_login, 0},
    {"C_Logout", "u", "", dispatch_logout, 0},
    {"C_CreateObject", "uaA", "u", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_CopyObject", "uuaA", "u", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_DestroyObject", "uu", "", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_GetObjectSize", "uu", "u", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_GetAttributeValue", "uufA", "aAu", dispatch_get_attribute_value, 0},
    {"C_SetAttributeValue", "uuaA", "", NULL, CKR_ATTRIBUTE_READ_ONLY},
    {"C_FindObjectsInit", "uaA", "", dispatch_find_objects_init, 0},
    {"C_FindObjects", "ufu", "au", dispatch_find_objects, 0},
    {"C_FindObjectsFinal", "u", "", dispatch_find_objects_final, 0},
    {"C_EncryptInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_Encrypt", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_EncryptUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_EncryptFinal", "ufy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_Decrypt", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptFinal", "ufy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DigestInit", "uM", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_Digest", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DigestUpdate", "uay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DigestKey", "uu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DigestFinal", "ufy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignInit", "uMu", "", dispatch_sign_init, 0},
    {"C_Sign", "uayfy", "ay", dispatch_sign, 0},
    {"C_SignUpdate", "uay", "", dispatch_sign_update, 0},
    {"C_SignFinal", "ufy", "ay", dispatch_sign_final, 0},
    {"C_SignRecoverInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignRecover", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_Verify", "uayay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyUpdate", "uay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyFinal", "uay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyRecoverInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyRecover", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DigestEncryptUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptDigestUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignEncryptUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptVerifyUpdate", "uayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_GenerateKey", "uMaA", "u", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_GenerateKeyPair", "uMaAaA", "uu", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_WrapKey", "uMuufy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_UnwrapKey", "uMuayaA", "u", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DeriveKey", "uMuaA", "u", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SeedRandom", "uay", "", NULL, CKR_RANDOM_SEED_NOT_SUPPORTED},
    {"C_GenerateRandom", "ufy", "ay", dispatch_generate_random, 0},
    {"C_WaitForSlotEvent", "u", "u", dispatch_wait_for_slot_event, 0},
    {"C_LoginUser", "uuayay", "", dispatch_login, 0},
    {"C_SessionCancel", "uu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageEncryptInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_EncryptMessage", "uayayayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_EncryptMessageBegin", "uayay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_EncryptMessageNext", "uayayfyu", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageEncryptFinal", "u", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageDecryptInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptMessage", "uayayayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptMessageBegin", "uayay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_DecryptMessageNext", "uayayfyu", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageDecryptFinal", "u", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageSignInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignMessage", "uayayfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignMessageBegin", "uay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_SignMessageNext", "uayayyfy", "ay", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageSignFinal", "u", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageVerifyInit", "uMu", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyMessage", "uayayay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyMessageBegin", "uay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_VerifyMessageNext", "uayayay", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_MessageVerifyFinal", "u", "", NULL, CKR_FUNCTION_NOT_SUPPORTED},
    {"C_InitToken2", "uays", "", NULL, CKR_TOKEN_WRITE_PROTECTED},
    {"C_DeriveKey2", "uMuaA", "uPu", NULL, CKR_FUNCTION_NOT_SUPPORTED},
};

/* As many as p11-kit 0.26 has. */
_Static_assert(ARRAY_SIZE(entries) == 90, "a call is missing from the table");

const struct dispatch_entry *dispatch_find(uint32_t id, struct bytes signature)
{
    if (id >= ARRAY_SIZE(entries) || !entries[id].request) {
        return NULL;
    }
    bool is_known = bytes_is_equal(signature, bytes_of_text(entries[id].request));
    return is_known ? &entries[id] : NULL;
}

static CK_RV run(dispatch_act *act, struct dispatch_call *call)
{
    if (!call->dispatch->is_initialized && act != dispatch_initialize) {
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    }
    return call->arguments->rv == CKR_OK && act ? act(call) : call->arguments->rv;
}

static void end_reply(struct dispatch *dispatch, const struct message_reply *reply, uint32_t code,
                      CK_RV rv)
{
    if (rv == CKR_OK) {
        message_end_reply(reply);
        return;
    }
    if (rv == CKR_KEY_FUNCTION_NOT_PERMITTED) {
        (void)atomic_fetch_add_explicit(&dispatch->counters->refusals, 1, memory_order_relaxed);
    }
    message_reply_error(reply, code, rv);
}

enum dispatch_result dispatch_answer(struct dispatch *dispatch, uint32_t code, uint32_t id,
                                     dispatch_act *act, const struct message_arguments *arguments,
                                     struct buffer *output)
{
    (void)atomic_fetch_add_explicit(&dispatch->counters->calls, 1, memory_order_relaxed);
    struct message_reply reply = message_begin_reply(output, code, id, entries[id].response);
    struct dispatch_call call = {dispatch, arguments, &reply, false};
    CK_RV rv = run(act, &call);
    if (call.is_waiting) {
        output->size = reply.start;
        dispatch->waiting_code = code;
        dispatch->waiting_id = id;
        return DISPATCH_WAITS;
    }
    end_reply(dispatch, &reply, code, rv);
    return DISPATCH_REPLIED;
}

static enum dispatch_result run_whole(struct dispatch *dispatch,
                                      const struct message_frame *request, struct buffer *output)
{
    struct reader payload = reader_of(request->payload);
    struct bytes signature;
    uint32_t id;
    if (!message_read_call(&payload, &id, &signature)) {
        return DISPATCH_MALFORMED;
    }
    const struct dispatch_entry *entry = dispatch_find(id, signature);
    if (!entry) {
        return DISPATCH_MALFORMED;
    }
    struct message_arguments arguments;
    arguments.rv = entry->rv;
    if (entry->act && !message_read_arguments(&payload, entry->request, &arguments)) {
        return DISPATCH_MALFORMED;
    }
    return dispatch_answer(dispatch, request->code, id, entry->act, &arguments, output);
}

enum dispatch_result dispatch_next(struct dispatch *dispatch, struct reader *input,
                                   struct buffer *output)
{
    struct message_frame frame;
    if (dispatch->long_call) {
        return dispatch_long_go_on(dispatch, input, output);
    }
    switch (message_read_frame(input->rest, &frame)) {
    case MESSAGE_FRAME_PARTIAL:
        return DISPATCH_NEEDS_BYTES;
    case MESSAGE_FRAME_LONG:
        return dispatch_long_begin(dispatch, &frame, input)
                   ? dispatch_long_go_on(dispatch, input, output)
                   : DISPATCH_MALFORMED;
    case MESSAGE_FRAME_COMPLETE:
        (void)reader_bytes(input, frame.size);
        return run_whole(dispatch, &frame, output);
    case MESSAGE_FRAME_REFUSED:
        break;
    }
    return DISPATCH_MALFORMED;
}

void dispatch_finish(struct dispatch *dispatch, CK_RV rv, struct bytes signature,
                     struct buffer *output)
{
    uint32_t id = dispatch->waiting_id;
    struct message_reply reply =
        message_begin_reply(output, dispatch->waiting_code, id, entries[id].response);
    if (rv == CKR_OK) {
        (void)atomic_fetch_add_explicit(&dispatch->counters->signatures, 1, memory_order_relaxed);
        message_write_bytes(&reply, signature);
    }
    end_reply(dispatch, &reply, dispatch->waiting_code, rv);
}

void dispatch_count_sessions(struct dispatch *dispatch)
{
    CK_TOKEN_INFO info = {0};
    if (token_get_token_info(dispatch->caller, TOKEN_SLOT_ID, &info) == CKR_OK) {
        dispatch->sessions = info.ulSessionCount;
    }
}
