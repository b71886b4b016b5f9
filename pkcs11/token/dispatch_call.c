#include "pkcs11/token/dispatch_call.h"

#include <errno.h>
#include <sys/random.h>

#include "pkcs11/token/message_attribute.h"

enum {
    /* All that a search gives: some clients take fewer than they asked for as the end. */
    FIND_OBJECTS_AT_ONCE = TOKEN_FIND_RESULTS_MAX,
    RANDOM_MAX = 60 * 1024, /* one reply; nobody asks for more than a seed */
};

/* What p11-kit's clients say first. */
static const char handshake[] = "PRIVATE-GNOME-KEYRING-PKCS11-PROTOCOL-V-1";

CK_RV dispatch_initialize(struct dispatch_call *call)
{
    if (!bytes_is_equal(call->arguments->arrays[0], bytes_of_text(handshake))) {
        return CKR_GENERAL_ERROR;
    }
    if (call->dispatch->is_initialized) {
        return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    }
    call->dispatch->is_initialized = true;
    return CKR_OK;
}

CK_RV dispatch_finalize(struct dispatch_call *call)
{
    (void)token_close_all_sessions(call->dispatch->caller, TOKEN_SLOT_ID);
    dispatch_count_sessions(call->dispatch);
    call->dispatch->is_initialized = false;
    return CKR_OK;
}

CK_RV dispatch_get_info(struct dispatch_call *call)
{
    CK_INFO info = {0};
    CK_RV rv = token_get_info(&info);
    message_write_version(call->reply, &info.cryptokiVersion);
    message_write_padded(call->reply, info.manufacturerID, sizeof(info.manufacturerID));
    message_write_number(call->reply, info.flags);
    message_write_padded(call->reply, info.libraryDescription, sizeof(info.libraryDescription));
    message_write_version(call->reply, &info.libraryVersion);
    return rv;
}

/* A list of numbers, or how long it is where the client only asks or has too little room. */
static void write_list(struct dispatch_call *call, const CK_ULONG *numbers, size_t count)
{
    if (call->arguments->has_buffer && call->arguments->room >= count) {
        message_write_numbers(call->reply, numbers, count);
    } else {
        message_write_size(call->reply, count);
    }
}

CK_RV dispatch_get_slot_list(struct dispatch_call *call)
{
    const CK_ULONG slot = TOKEN_SLOT_ID;
    write_list(call, &slot, 1);
    return CKR_OK;
}

CK_RV dispatch_get_slot_info(struct dispatch_call *call)
{
    CK_SLOT_INFO info = {0};
    CK_RV rv = token_get_slot_info(call->arguments->numbers[0], &info);
    message_write_padded(call->reply, info.slotDescription, sizeof(info.slotDescription));
    message_write_padded(call->reply, info.manufacturerID, sizeof(info.manufacturerID));
    message_write_number(call->reply, info.flags);
    message_write_version(call->reply, &info.hardwareVersion);
    message_write_version(call->reply, &info.firmwareVersion);
    return rv;
}

CK_RV dispatch_get_token_info(struct dispatch_call *call)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = token_get_token_info(call->dispatch->caller, call->arguments->numbers[0], &info);
    message_write_padded(call->reply, info.label, sizeof(info.label));
    message_write_padded(call->reply, info.manufacturerID, sizeof(info.manufacturerID));
    message_write_padded(call->reply, info.model, sizeof(info.model));
    message_write_padded(call->reply, info.serialNumber, sizeof(info.serialNumber));
    const CK_ULONG numbers[] = {
        info.flags,
        info.ulMaxSessionCount,
        info.ulSessionCount,
        info.ulMaxRwSessionCount,
        info.ulRwSessionCount,
        info.ulMaxPinLen,
        info.ulMinPinLen,
        info.ulTotalPublicMemory,
        info.ulFreePublicMemory,
        info.ulTotalPrivateMemory,
        info.ulFreePrivateMemory,
    };
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        message_write_number(call->reply, numbers[i]);
    }
    message_write_version(call->reply, &info.hardwareVersion);
    message_write_version(call->reply, &info.firmwareVersion);
    message_write_padded(call->reply, info.utcTime, sizeof(info.utcTime));
    return rv;
}

CK_RV dispatch_get_mechanism_list(struct dispatch_call *call)
{
    if (call->arguments->numbers[0] != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    size_t count;
    const CK_MECHANISM_TYPE *types = token_mechanisms(call->dispatch->is_modern, &count);
    write_list(call, types, count);
    return CKR_OK;
}

CK_RV dispatch_get_mechanism_info(struct dispatch_call *call)
{
    CK_MECHANISM_INFO info = {0};
    const CK_ULONG *numbers = call->arguments->numbers;
    CK_RV rv = token_get_mechanism_info(numbers[0], numbers[1], &info);
    message_write_number(call->reply, info.ulMinKeySize);
    message_write_number(call->reply, info.ulMaxKeySize);
    message_write_number(call->reply, info.flags);
    return rv;
}

CK_RV dispatch_open_session(struct dispatch_call *call)
{
    CK_SESSION_HANDLE session = 0;
    const CK_ULONG *numbers = call->arguments->numbers;
    CK_RV rv = token_open_session(call->dispatch->caller, numbers[0], numbers[1], &session);
    dispatch_count_sessions(call->dispatch);
    message_write_number(call->reply, session);
    return rv;
}

CK_RV dispatch_close_session(struct dispatch_call *call)
{
    CK_RV rv = token_close_session(call->dispatch->caller, call->arguments->numbers[0]);
    dispatch_count_sessions(call->dispatch);
    return rv;
}

CK_RV dispatch_close_all_sessions(struct dispatch_call *call)
{
    CK_RV rv = token_close_all_sessions(call->dispatch->caller, call->arguments->numbers[0]);
    dispatch_count_sessions(call->dispatch);
    return rv;
}

CK_RV dispatch_get_session_info(struct dispatch_call *call)
{
    CK_SESSION_INFO info = {0};
    CK_RV rv = token_get_session_info(call->dispatch->caller, call->arguments->numbers[0], &info);
    message_write_number(call->reply, info.slotID);
    message_write_number(call->reply, info.state);
    message_write_number(call->reply, info.flags);
    message_write_number(call->reply, info.ulDeviceError);
    return rv;
}

/* Also C_LoginUser. The PIN is not looked at. */
CK_RV dispatch_login(struct dispatch_call *call)
{
    const CK_ULONG *numbers = call->arguments->numbers;
    return token_login(call->dispatch->caller, numbers[0], numbers[1]);
}

CK_RV dispatch_logout(struct dispatch_call *call)
{
    return token_logout(call->dispatch->caller, call->arguments->numbers[0]);
}

CK_RV dispatch_get_attribute_value(struct dispatch_call *call)
{
    const struct message_arguments *arguments = call->arguments;
    CK_ATTRIBUTE values[MESSAGE_ATTRIBUTES_MAX];
    for (size_t i = 0; i < arguments->attribute_count; i++) {
        values[i] = (CK_ATTRIBUTE){.type = arguments->attributes[i].type};
    }
    CK_RV rv = token_get_attributes(call->dispatch->caller, arguments->numbers[0],
                                    arguments->numbers[1], values, arguments->attribute_count);
    return message_write_attributes(call->reply, arguments->attributes, values,
                                    arguments->attribute_count, rv);
}

CK_RV dispatch_find_objects_init(struct dispatch_call *call)
{
    return token_find_init(call->dispatch->caller, call->arguments->numbers[0],
                           call->arguments->attributes, call->arguments->attribute_count);
}

CK_RV dispatch_find_objects(struct dispatch_call *call)
{
    CK_OBJECT_HANDLE objects[FIND_OBJECTS_AT_ONCE];
    size_t limit = MIN((size_t)call->arguments->room, ARRAY_SIZE(objects));
    size_t count = 0;
    CK_RV rv =
        token_find(call->dispatch->caller, call->arguments->numbers[0], objects, limit, &count);
    if (rv == CKR_OK) {
        message_write_numbers(call->reply, objects, count);
    }
    return rv;
}

CK_RV dispatch_find_objects_final(struct dispatch_call *call)
{
    return token_find_final(call->dispatch->caller, call->arguments->numbers[0]);
}

CK_RV dispatch_sign_init(struct dispatch_call *call)
{
    const struct message_arguments *arguments = call->arguments;
    const struct mechanism *mechanism = &arguments->mechanism;
    if (mechanism->encoding == MECHANISM_ENCODING_MODERN) {
        call->dispatch->is_modern = true;
    }
    return token_sign_init(call->dispatch->caller, arguments->numbers[0],
                           mechanism->is_null ? NULL : &mechanism->value, arguments->numbers[1]);
}

CK_RV dispatch_sign_update(struct dispatch_call *call)
{
    return token_sign_update(call->dispatch->caller, call->arguments->numbers[0],
                             call->arguments->arrays[0]);
}

/* Without a buffer that is certainly large enough, the size comes first: asking for it, or having
 * too little room, does not end the operation. */
static CK_RV sign(struct dispatch_call *call, struct bytes data, bool is_final)
{
    struct dispatch *dispatch = call->dispatch;
    const struct message_arguments *arguments = call->arguments;
    if (arguments->room < SIGNATURE_MAX_BYTES) {
        CK_ULONG size;
        CK_RV rv = token_signature_size(dispatch->caller, arguments->numbers[0], &size);
        if (rv != CKR_OK) {
            return rv;
        }
        if (arguments->room < size) {
            message_write_size(call->reply, size);
            return CKR_OK;
        }
    }
    CK_RV rv = token_sign(dispatch->caller, arguments->numbers[0], data, is_final,
                          dispatch->is_signed, dispatch->user);
    call->is_waiting = rv == CKR_OK;
    return rv;
}

CK_RV dispatch_sign(struct dispatch_call *call)
{
    return sign(call, call->arguments->arrays[0], false);
}

CK_RV dispatch_sign_final(struct dispatch_call *call)
{
    return sign(call, (struct bytes){0}, true);
}

/* Who only asked for the size gives the data once more. */
CK_RV dispatch_sign_parts(struct dispatch_call *call)
{
    CK_RV rv = dispatch_sign_final(call);
    if (rv == CKR_OK && !call->is_waiting) {
        token_sign_forget_parts(call->dispatch->caller, call->arguments->numbers[0]);
    }
    return rv;
}

CK_RV dispatch_nothing(struct dispatch_call *call)
{
    (void)call;
    return CKR_OK;
}

static bool fill_with_random(uint8_t *room, size_t size)
{
    while (size > 0) {
        ssize_t count = getrandom(room, size, 0);
        if (count < 0 && errno != EINTR) {
            return false;
        }
        room += MAX(count, 0);
        size -= (size_t)MAX(count, 0);
    }
    return true;
}

CK_RV dispatch_generate_random(struct dispatch_call *call)
{
    CK_SESSION_INFO ignored;
    size_t size = call->arguments->room;
    CK_RV rv =
        token_get_session_info(call->dispatch->caller, call->arguments->numbers[0], &ignored);
    if (rv != CKR_OK) {
        return rv;
    }
    if (size > RANDOM_MAX) {
        return CKR_ARGUMENTS_BAD;
    }
    bool is_filled = fill_with_random(message_write_room(call->reply, size), size);
    return is_filled ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* Nothing ever happens to the slot; waiting for it would hold up the client's other threads. */
CK_RV dispatch_wait_for_slot_event(struct dispatch_call *call)
{
    bool may_wait = (call->arguments->numbers[0] & CKF_DONT_BLOCK) == 0;
    return may_wait ? CKR_FUNCTION_NOT_SUPPORTED : CKR_NO_EVENT;
}
