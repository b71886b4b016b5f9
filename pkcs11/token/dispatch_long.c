#include "pkcs11/token/dispatch_long.h"

#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/token/dispatch_call.h"

enum { ROOM_BYTES = 4 };

/* The calls of which the data is wanted: what takes it, what makes the answer of the arguments
 * behind it, and the size of these. */
static const struct kind {
    dispatch_act *act;
    CK_RV (*take)(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes part);
    dispatch_act *end;
    uint64_t tail_bytes;
} kinds[] = {
    {dispatch_sign, token_sign_part, dispatch_sign_parts, ROOM_BYTES},
    {dispatch_sign_update, token_sign_update, dispatch_nothing, 0},
};

struct dispatch_long {
    uint32_t code, id;
    uint64_t rest;           /* of the frame, that has not come */
    uint64_t data_rest;      /* of it, of the data */
    const struct kind *kind; /* NULL: any other call */
    CK_SESSION_HANDLE session;
    CK_RV rv; /* why it is refused */
    uint8_t tail[ROOM_BYTES];
    size_t tail_size;
};

static const struct kind *find_kind(const struct dispatch_entry *entry)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (entry->act == kinds[i].act) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* The session and the size of the data, which with the tail is all of the call. */
static bool read_start(struct dispatch_long *call, struct reader *payload)
{
    size_t before = payload->rest.size;
    call->session = reader_u64(payload);
    bool is_there = reader_u8(payload) != 0;
    call->data_rest = reader_u32(payload);
    call->rest -= before - payload->rest.size;
    return is_there && !payload->is_bad && call->rest == call->data_rest + call->kind->tail_bytes;
}

bool dispatch_long_begin(struct dispatch *dispatch, const struct message_frame *frame,
                         struct reader *input)
{
    struct reader payload = reader_of(frame->payload);
    struct bytes signature;
    struct dispatch_long call = {.code = frame->code};
    if (!message_read_call(&payload, &call.id, &signature)) {
        return false;
    }
    const struct dispatch_entry *entry = dispatch_find(call.id, signature);
    if (!entry) {
        return false;
    }
    call.kind = find_kind(entry);
    call.rest = frame->size - (size_t)(payload.rest.data - input->rest.data);
    call.rv = entry->act ? CKR_ARGUMENTS_BAD : entry->rv;
    if (call.kind) {
        call.rv = CKR_OK;
        if (!read_start(&call, &payload)) {
            return false;
        }
    }
    (void)reader_bytes(input, frame->size - call.rest);
    dispatch->long_call = NEW(struct dispatch_long);
    *dispatch->long_call = call;
    return true;
}

static void take_data(const struct dispatch *dispatch, struct bytes data)
{
    struct dispatch_long *call = dispatch->long_call;
    call->data_rest -= data.size;
    if (call->kind && call->rv == CKR_OK && data.size > 0) {
        call->rv = call->kind->take(dispatch->caller, call->session, data);
    }
}

static void take_tail(struct dispatch_long *call, struct bytes tail)
{
    if (call->kind && tail.size <= sizeof(call->tail) - call->tail_size) {
        memcpy(call->tail + call->tail_size, tail.data, tail.size);
        call->tail_size += tail.size;
    }
}

static enum dispatch_result answer(struct dispatch *dispatch, const struct dispatch_long *call,
                                   struct buffer *output)
{
    struct message_arguments arguments;
    struct reader tail = reader_of((struct bytes){call->tail, call->tail_size});
    (void)message_read_arguments(&tail, call->tail_size > 0 ? "fy" : "", &arguments);
    arguments.numbers[0] = call->session;
    arguments.number_count = 1;
    arguments.rv = call->rv;
    return dispatch_answer(dispatch, call->code, call->id, call->kind ? call->kind->end : NULL,
                           &arguments, output);
}

enum dispatch_result dispatch_long_go_on(struct dispatch *dispatch, struct reader *input,
                                         struct buffer *output)
{
    struct dispatch_long *call = dispatch->long_call;
    struct bytes data = reader_bytes(input, MIN(input->rest.size, call->data_rest));
    call->rest -= data.size;
    take_data(dispatch, data);
    struct bytes tail = reader_bytes(input, MIN(input->rest.size, call->rest - call->data_rest));
    call->rest -= tail.size;
    take_tail(call, tail);
    if (call->rest > 0) {
        return DISPATCH_NEEDS_BYTES;
    }
    struct dispatch_long done = *call;
    dispatch_long_end(dispatch);
    return answer(dispatch, &done, output);
}

void dispatch_long_end(struct dispatch *dispatch)
{
    free(take_ptr(dispatch->long_call));
}

void dispatch_long_save(struct dispatch *dispatch, struct buffer *ret_state)
{
    const struct dispatch_long *call = dispatch->long_call;
    if (call->kind && call->rv == CKR_OK) {
        (void)token_sign_init(dispatch->caller, call->session, NULL, 0);
    }
    buffer_append_u32(ret_state, call->code);
    buffer_append_u64(ret_state, call->rest);
}

void dispatch_long_restore(struct dispatch *dispatch, struct reader *state)
{
    dispatch->long_call = NEW(struct dispatch_long);
    dispatch->long_call->code = reader_u32(state);
    dispatch->long_call->rest = reader_u64(state);
    dispatch->long_call->rv = CKR_DEVICE_ERROR;
}
