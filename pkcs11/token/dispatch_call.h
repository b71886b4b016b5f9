/* The calls that do something, for dispatch.c's table. Each takes its arguments as its signature
 * says and writes its reply; with another result than CKR_OK the client gets that code instead. */
#pragma once

#include "pkcs11/token/dispatch.h"

struct dispatch_call {
    struct dispatch *dispatch;
    const struct message_arguments *arguments;
    struct message_reply *reply;
    bool is_waiting; /* there is no reply yet */
};

typedef CK_RV dispatch_act(struct dispatch_call *call);

dispatch_act dispatch_initialize, dispatch_finalize, dispatch_get_info, dispatch_get_slot_list,
    dispatch_get_slot_info, dispatch_get_token_info, dispatch_get_mechanism_list,
    dispatch_get_mechanism_info, dispatch_open_session, dispatch_close_session,
    dispatch_close_all_sessions, dispatch_get_session_info, dispatch_login, dispatch_logout,
    dispatch_get_attribute_value, dispatch_find_objects_init, dispatch_find_objects,
    dispatch_find_objects_final, dispatch_sign_init, dispatch_sign, dispatch_sign_update,
    dispatch_sign_final, dispatch_generate_random, dispatch_wait_for_slot_event;
/* The ends of long calls: C_Sign's, whose data was given to token_sign_part, and one without more
 * to do. */
dispatch_act dispatch_sign_parts, dispatch_nothing;

/* A call of the protocol. */
struct dispatch_entry {
    const char *name;
    const char *request, *response; /* signatures, see message.h */
    dispatch_act *act;
    CK_RV rv;
};

/* NULL: there is no such call with this signature of its request. */
const struct dispatch_entry *dispatch_find(uint32_t id, struct bytes signature);
/* Acts on a call of the table and replies. act: NULL where arguments->rv is the answer. */
enum dispatch_result dispatch_answer(struct dispatch *dispatch, uint32_t code, uint32_t id,
                                     dispatch_act *act, const struct message_arguments *arguments,
                                     struct buffer *output);
