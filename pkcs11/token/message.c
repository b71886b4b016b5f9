#include "pkcs11/token/message_attribute.h"

#include <string.h>

/* How the wire says that an array is NULL. */
static const uint32_t no_array = 0xffffffff;

static enum message_frame_state read_long(struct reader *reader, uint64_t options_size,
                                          uint64_t payload_size, struct message_frame *ret_frame)
{
    if (options_size > MESSAGE_LONG_OPTIONS_MAX || payload_size < MESSAGE_LONG_START_BYTES) {
        return MESSAGE_FRAME_REFUSED;
    }
    (void)reader_bytes(reader, options_size);
    if (reader->is_bad || reader->rest.size < MESSAGE_LONG_START_BYTES) {
        return MESSAGE_FRAME_PARTIAL;
    }
    ret_frame->payload = reader->rest;
    return MESSAGE_FRAME_LONG;
}

enum message_frame_state message_read_frame(struct bytes input, struct message_frame *ret_frame)
{
    struct reader reader = reader_of(input);
    uint32_t code = reader_u32(&reader);
    uint64_t options_size = reader_u32(&reader);
    uint64_t payload_size = reader_u32(&reader);
    if (reader.is_bad) {
        return MESSAGE_FRAME_PARTIAL;
    }
    *ret_frame = (struct message_frame){.code = code,
                                        .size = MESSAGE_HEADER_BYTES + options_size + payload_size};
    if (options_size + payload_size > MESSAGE_BODY_MAX) {
        return read_long(&reader, options_size, payload_size, ret_frame);
    }
    (void)reader_bytes(&reader, options_size);
    ret_frame->payload = reader_bytes(&reader, payload_size);
    return reader.is_bad ? MESSAGE_FRAME_PARTIAL : MESSAGE_FRAME_COMPLETE;
}

bool message_read_call(struct reader *payload, uint32_t *ret_id, struct bytes *ret_signature)
{
    *ret_id = reader_u32(payload);
    *ret_signature = reader_bytes(payload, reader_u32(payload));
    return !payload->is_bad;
}

struct bytes message_read_sized(struct reader *reader)
{
    uint32_t size = reader_u32(reader);
    return size == no_array ? (struct bytes){0} : reader_bytes(reader, size);
}

/* A byte says whether there is an array, or only its size. */
static void read_array(struct reader *reader, struct message_arguments *arguments)
{
    struct bytes *array = &arguments->arrays[arguments->array_count++];
    *array = (struct bytes){0};
    if (reader_u8(reader) != 0) {
        *array = message_read_sized(reader);
    } else if (reader_u32(reader) != 0) {
        arguments->rv = CKR_ARGUMENTS_BAD;
    }
}

/* The mechanism of uMu is all that stands before the last number. */
static void read_mechanism(struct reader *reader, struct message_arguments *arguments)
{
    if (reader->is_bad || reader->rest.size < sizeof(uint32_t) + sizeof(uint64_t)) {
        reader->is_bad = true;
        return;
    }
    struct bytes encoded = reader_bytes(reader, reader->rest.size - sizeof(uint64_t));
    arguments->rv = mechanism_read(encoded, &arguments->mechanism);
}

static void read_number(struct reader *reader, struct message_arguments *arguments)
{
    arguments->numbers[arguments->number_count++] = reader_u64(reader);
}

static void read_byte(struct reader *reader, struct message_arguments *arguments)
{
    arguments->numbers[arguments->number_count++] = reader_u8(reader);
}

static void read_room_for_numbers(struct reader *reader, struct message_arguments *arguments)
{
    arguments->room = reader_u32(reader);
    arguments->has_buffer = arguments->room != 0;
}

/* From p11-kit 0.25 on a client that has a buffer of no bytes says so by the largest number; a
 * buffer that is really so large does not exist. */
static void read_room_for_bytes(struct reader *reader, struct message_arguments *arguments)
{
    read_room_for_numbers(reader, arguments);
    arguments->room = arguments->room == no_array ? 0 : arguments->room;
}

static const struct {
    const char *part; /* of a signature */
    void (*read)(struct reader *reader, struct message_arguments *arguments);
} readers[] = {
    {"u", read_number},
    {"y", read_byte},
    {"ay", read_array},
    {"fy", read_room_for_bytes},
    {"fu", read_room_for_numbers},
    {"fA", message_read_attribute_rooms},
    {"aA", message_read_attributes},
    {"M", read_mechanism},
};

/* Reads one argument; returns the signature behind it, NULL where it is none of the above. */
static const char *read_argument(struct reader *reader, const char *signature,
                                 struct message_arguments *arguments)
{
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        size_t size = strlen(readers[i].part);
        if (strncmp(signature, readers[i].part, size) == 0) {
            readers[i].read(reader, arguments);
            return signature + size;
        }
    }
    return NULL;
}

bool message_read_arguments(struct reader *payload, const char *signature,
                            struct message_arguments *ret_arguments)
{
    ret_arguments->number_count = 0;
    ret_arguments->array_count = 0;
    ret_arguments->attribute_count = 0;
    ret_arguments->rv = CKR_OK;
    while (signature && *signature && ret_arguments->rv == CKR_OK) {
        signature = read_argument(payload, signature, ret_arguments);
    }
    bool is_read = ret_arguments->rv == CKR_OK ? reader_is_done(payload) : !payload->is_bad;
    return signature && is_read;
}

struct message_reply message_begin_reply(struct buffer *buffer, uint32_t code, uint32_t id,
                                         const char *signature)
{
    struct message_reply reply = {.buffer = buffer, .start = buffer->size};
    buffer_append_u32(buffer, code);
    buffer_append_u32(buffer, 0);
    buffer_append_u32(buffer, 0);
    buffer_append_u32(buffer, id);
    buffer_append_u32(buffer, (uint32_t)strlen(signature));
    buffer_append_text(buffer, signature);
    return reply;
}

void message_end_reply(const struct message_reply *reply)
{
    size_t size = reply->buffer->size;
    size_t payload_size = size - reply->start - MESSAGE_HEADER_BYTES;
    reply->buffer->size = reply->start + MESSAGE_HEADER_BYTES - sizeof(uint32_t);
    buffer_append_u32(reply->buffer, (uint32_t)payload_size);
    reply->buffer->size = size;
}

void message_reply_error(const struct message_reply *reply, uint32_t code, CK_RV rv)
{
    reply->buffer->size = reply->start;
    struct message_reply error = message_begin_reply(reply->buffer, code, MESSAGE_CALL_ERROR, "u");
    message_write_number(&error, rv);
    message_end_reply(&error);
}

size_t message_reply_room(const struct message_reply *reply)
{
    size_t used = reply->buffer->size - reply->start;
    return used < MESSAGE_FRAME_MAX ? MESSAGE_FRAME_MAX - used : 0;
}

void message_write_number(struct message_reply *reply, CK_ULONG value)
{
    buffer_append_u64(reply->buffer, value);
}

void message_write_version(struct message_reply *reply, const CK_VERSION *version)
{
    buffer_append_u8(reply->buffer, version->major);
    buffer_append_u8(reply->buffer, version->minor);
}

void message_write_padded(struct message_reply *reply, const CK_UTF8CHAR *text, size_t size)
{
    buffer_append_u32(reply->buffer, (uint32_t)size);
    buffer_append(reply->buffer, text, size);
}

uint8_t *message_write_room(struct message_reply *reply, size_t size)
{
    buffer_append_u8(reply->buffer, 1);
    buffer_append_u32(reply->buffer, (uint32_t)size);
    return buffer_extend(reply->buffer, size);
}

void message_write_bytes(struct message_reply *reply, struct bytes bytes)
{
    uint8_t *room = message_write_room(reply, bytes.size);
    if (bytes.size > 0) {
        memcpy(room, bytes.data, bytes.size);
    }
}

void message_write_numbers(struct message_reply *reply, const CK_ULONG *numbers, size_t count)
{
    buffer_append_u8(reply->buffer, 1);
    buffer_append_u32(reply->buffer, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        buffer_append_u64(reply->buffer, numbers[i]);
    }
}

void message_write_size(struct message_reply *reply, size_t size)
{
    buffer_append_u8(reply->buffer, 0);
    buffer_append_u32(reply->buffer, (uint32_t)size);
}
