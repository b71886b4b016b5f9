/* p11-kit's RPC from the client's side: requests put together byte by byte, as its client library
 * does it, and replies taken apart. */
#pragma once

#include <p11-kit/pkcs11.h>
#include <string.h>

#include "lib/base/bytes.h"

enum rpc_id {
    RPC_ERROR = 0,
    RPC_INITIALIZE = 1,
    RPC_FINALIZE = 2,
    RPC_GET_INFO = 3,
    RPC_GET_SLOT_LIST = 4,
    RPC_GET_SLOT_INFO = 5,
    RPC_GET_TOKEN_INFO = 6,
    RPC_GET_MECHANISM_LIST = 7,
    RPC_GET_MECHANISM_INFO = 8,
    RPC_OPEN_SESSION = 10,
    RPC_CLOSE_SESSION = 11,
    RPC_CLOSE_ALL_SESSIONS = 12,
    RPC_GET_SESSION_INFO = 13,
    RPC_LOGIN = 18,
    RPC_LOGOUT = 19,
    RPC_GET_ATTRIBUTE_VALUE = 24,
    RPC_SET_ATTRIBUTE_VALUE = 25,
    RPC_FIND_OBJECTS_INIT = 26,
    RPC_FIND_OBJECTS = 27,
    RPC_FIND_OBJECTS_FINAL = 28,
    RPC_DIGEST_INIT = 37,
    RPC_SIGN_INIT = 42,
    RPC_SIGN = 43,
    RPC_SIGN_UPDATE = 44,
    RPC_SIGN_FINAL = 45,
    RPC_SEED_RANDOM = 63,
    RPC_GENERATE_RANDOM = 64,
    RPC_WAIT_FOR_SLOT_EVENT = 65,
    RPC_IDS = 90,
};

enum { RPC_HEADER_BYTES = 12, RPC_OPTIONS_BYTES = 6, RPC_CODE = 16 };

/* What p11-kit's library sends as options. */
#define RPC_OPTIONS "client"

#define RPC_HANDSHAKE "PRIVATE-GNOME-KEYRING-PKCS11-PROTOCOL-V-1"

/* Starts a frame at the end of the buffer; the sizes come with rpc_end. */
static inline size_t rpc_begin(struct buffer *buffer, uint32_t code, uint32_t id,
                               const char *signature)
{
    size_t start = buffer->size;
    buffer_append_u32(buffer, code);
    buffer_append_u32(buffer, RPC_OPTIONS_BYTES);
    buffer_append_u32(buffer, 0);
    buffer_append_text(buffer, RPC_OPTIONS);
    buffer_append_u32(buffer, id);
    buffer_append_u32(buffer, (uint32_t)strlen(signature));
    buffer_append_text(buffer, signature);
    return start;
}

static inline void rpc_set_u32(struct buffer *buffer, size_t at, uint32_t value)
{
    size_t size = buffer->size;
    buffer->size = at;
    buffer_append_u32(buffer, value);
    buffer->size = size;
}

static inline void rpc_end(struct buffer *buffer, size_t start)
{
    rpc_set_u32(buffer, start + 8,
                (uint32_t)(buffer->size - start - RPC_HEADER_BYTES - RPC_OPTIONS_BYTES));
}

static inline void rpc_array(struct buffer *buffer, const void *data, size_t size)
{
    buffer_append_u8(buffer, 1);
    buffer_append_u32(buffer, (uint32_t)size);
    buffer_append(buffer, data, size);
}

/* The arguments of a call, one letter each, from a list: u a number, y a byte, f room, a an array
 * of bytes from (size, pointer), r bytes as they are, from (size, pointer). */
static inline void rpc_add(struct buffer *buffer, const char *kinds, va_list arguments)
{
    for (; *kinds; kinds++) {
        if (*kinds == 'u') {
            buffer_append_u64(buffer, va_arg(arguments, CK_ULONG));
        } else if (*kinds == 'y') {
            buffer_append_u8(buffer, (uint8_t)va_arg(arguments, int));
        } else if (*kinds == 'f') {
            buffer_append_u32(buffer, va_arg(arguments, uint32_t));
        } else {
            size_t size = va_arg(arguments, size_t);
            const void *data = va_arg(arguments, const void *);
            if (*kinds == 'a') {
                rpc_array(buffer, data, size);
            } else {
                buffer_append(buffer, data, size);
            }
        }
    }
}

static inline void rpc_request_of(struct buffer *buffer, uint32_t id, const char *signature,
                                  const char *kinds, va_list arguments)
{
    size_t start = rpc_begin(buffer, RPC_CODE + id, id, signature);
    rpc_add(buffer, kinds, arguments);
    rpc_end(buffer, start);
}

/* Appends a whole request. */
static inline void rpc_request(struct buffer *buffer, uint32_t id, const char *signature,
                               const char *kinds, ...)
{
    va_list arguments;
    va_start(arguments, kinds);
    rpc_request_of(buffer, id, signature, kinds, arguments);
    va_end(arguments);
}

static inline void rpc_request_initialize(struct buffer *buffer)
{
    rpc_request(buffer, RPC_INITIALIZE, "ayyay", "aya", strlen(RPC_HANDSHAKE), RPC_HANDSHAKE, 0,
                (size_t)1, "");
}

/* A reply as it was received. */
struct rpc_reply {
    uint32_t code, id;
    CK_RV rv; /* of an error */
    struct reader values;
    size_t size;
};

/* False where it is not all there. */
static inline bool rpc_read_reply(struct bytes input, struct rpc_reply *ret_reply)
{
    struct reader reader = reader_of(input);
    *ret_reply = (struct rpc_reply){.code = reader_u32(&reader)};
    uint32_t options = reader_u32(&reader);
    uint32_t payload_size = reader_u32(&reader);
    (void)reader_bytes(&reader, options);
    struct reader payload = reader_of(reader_bytes(&reader, payload_size));
    if (reader.is_bad) {
        return false;
    }
    ret_reply->size = input.size - reader.rest.size;
    ret_reply->id = reader_u32(&payload);
    (void)reader_bytes(&payload, reader_u32(&payload));
    ret_reply->rv = ret_reply->id == RPC_ERROR ? reader_u64(&payload) : CKR_OK;
    ret_reply->values = payload;
    return !payload.is_bad;
}
