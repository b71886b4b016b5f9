/* HTTP/2 by hand, so that the tests can say what no library would: frames are written byte by byte
 * and read back one by one. */
#pragma once

#include <errno.h>
#include <nghttp2/nghttp2.h>

#include "lib/base/bytes.h"
#include "tests/unit/rpc/toy.h"

enum {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_PRIORITY = 2,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
    FRAME_CONTINUATION = 9,
    FLAG_END_STREAM = 1,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
};

struct raw_frame {
    uint8_t type;
    uint8_t flags;
    uint32_t stream_id;
    struct bytes payload;
};

/* A connection of the test to the toy. */
struct raw {
    struct toy *toy;
    int descriptor;
    bool is_eof;
    struct buffer received;
    size_t parsed;
    nghttp2_hd_inflater *inflater;
    /* What was seen so far. */
    size_t frame_counts[256];
    char status[8];        /* the last grpc-status */
    char http_status[8];   /* the last :status */
    char message[2048];    /* the last grpc-message, as it is on the wire */
    char encoding[64];     /* the last grpc-accept-encoding */
    size_t status_count;   /* of grpc-status */
    uint32_t ended_stream; /* the last that ended */
    uint32_t reset_stream;
    uint32_t reset_code;
    uint32_t goaway_code;
    char goaway_text[512];
    size_t data_bytes;
    struct buffer data; /* of all DATA frames */
};

static inline void raw_frame(struct buffer *to, uint8_t type, uint8_t flags, uint32_t stream_id,
                             const void *payload, size_t size)
{
    buffer_append_u8(to, (uint8_t)(size >> 16));
    buffer_append_u16(to, (uint16_t)size);
    buffer_append_u8(to, type);
    buffer_append_u8(to, flags);
    buffer_append_u32(to, stream_id);
    if (size > 0) {
        buffer_append(to, payload, size);
    }
}

static inline void raw_preface(struct buffer *to)
{
    buffer_append_text(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw_frame(to, FRAME_SETTINGS, 0, 0, NULL, 0);
}

/* RFC 7541 5.1 with a prefix of seven bits, not Huffman. */
static inline void raw_text(struct buffer *to, const char *text, size_t size)
{
    if (size < 127) {
        buffer_append_u8(to, (uint8_t)size);
    } else {
        size_t rest = size - 127;
        buffer_append_u8(to, 127);
        while (rest >= 128) {
            buffer_append_u8(to, (uint8_t)(rest % 128 + 128));
            rest /= 128;
        }
        buffer_append_u8(to, (uint8_t)rest);
    }
    buffer_append(to, text, size);
}

/* A literal header field without indexing (RFC 7541 6.2.2). */
static inline void raw_header(struct buffer *to, const char *name, const char *value)
{
    buffer_append_u8(to, 0);
    raw_text(to, name, strlen(name));
    raw_text(to, value, strlen(value));
}

struct raw_field {
    const char *name;
    const char *value;
};

/* A header block as a client would send it; each of the fields replaces the one of that name
 * (value NULL: leaves it out) or is added. The list ends with a name of NULL. */
static inline void raw_block(struct buffer *to, const char *path, const struct raw_field *fields)
{
    const struct raw_field usual[] = {
        {":method", "POST"},         {":scheme", "http"}, {":path", path},
        {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        const char *value = usual[i].value;
        for (const struct raw_field *field = fields; field && field->name; field++) {
            value = strcmp(field->name, usual[i].name) == 0 ? field->value : value;
        }
        if (value) {
            raw_header(to, usual[i].name, value);
        }
    }
    for (const struct raw_field *field = fields; field && field->name; field++) {
        bool is_usual = false;
        for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
            is_usual |= strcmp(field->name, usual[i].name) == 0;
        }
        if (!is_usual) {
            raw_header(to, field->name, field->value);
        }
    }
}

static inline void raw_headers(struct buffer *to, uint32_t stream_id, uint8_t flags,
                               const char *path, const struct raw_field *fields)
{
    _cleanup_(buffer_clear) struct buffer block = {0};
    raw_block(&block, path, fields);
    raw_frame(to, FRAME_HEADERS, flags | FLAG_END_HEADERS, stream_id, block.data, block.size);
}

/* A gRPC message with HealthCheckRequest.service = text. */
static inline void raw_message(struct buffer *to, const char *text)
{
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)text;
    size_t size = health__health_check_request__get_packed_size(&request);
    buffer_append_u8(to, 0);
    buffer_append_u32(to, (uint32_t)size);
    (void)health__health_check_request__pack(&request, buffer_extend(to, size));
}

static inline void raw_request(struct buffer *to, uint32_t stream_id, const char *path,
                               const char *text, const struct raw_field *fields)
{
    _cleanup_(buffer_clear) struct buffer message = {0};
    raw_message(&message, text);
    raw_headers(to, stream_id, 0, path, fields);
    raw_frame(to, FRAME_DATA, FLAG_END_STREAM, stream_id, message.data, message.size);
}

static inline struct raw *raw_open(struct toy *toy)
{
    struct raw *raw = NEW(struct raw);
    raw->toy = toy;
    raw->descriptor = toy_connect(toy);
    if (nghttp2_hd_inflate_new(&raw->inflater) != 0) {
        abort();
    }
    return raw;
}

static inline void raw_close(struct raw *raw)
{
    if (raw->descriptor >= 0) {
        (void)close(raw->descriptor);
    }
    nghttp2_hd_inflate_del(raw->inflater);
    buffer_clear(&raw->received);
    buffer_clear(&raw->data);
    free(raw);
}
DEFINE_CLEANUP(struct raw, raw_close, raw_close);

/* Writes all of it, running the loop while the socket is full; false when the server closed. */
static inline bool raw_write(struct raw *raw, const struct buffer *bytes)
{
    size_t sent = 0;
    uint64_t end_ms = clock_monotonic_ms() + TOY_WAIT_MS;
    while (sent < bytes->size && clock_monotonic_ms() < end_ms) {
        ssize_t count = send(raw->descriptor, bytes->data + sent, bytes->size - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) {
            sent += (size_t)count;
        } else if (errno != EAGAIN) {
            return false;
        }
        (void)uv_run(&raw->toy->loop, UV_RUN_NOWAIT);
    }
    return sent == bytes->size;
}

static inline void raw_note_field(struct raw *raw, const nghttp2_nv *field)
{
    const struct {
        const char *name;
        char *to;
        size_t size;
    } kept[] = {
        {"grpc-status", raw->status, sizeof(raw->status)},
        {":status", raw->http_status, sizeof(raw->http_status)},
        {"grpc-message", raw->message, sizeof(raw->message)},
        {"grpc-accept-encoding", raw->encoding, sizeof(raw->encoding)},
    };
    struct bytes name = {field->name, field->namelen};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        if (bytes_is_equal(name, bytes_of_text(kept[i].name))) {
            (void)snprintf(kept[i].to, kept[i].size, "%.*s", (int)field->valuelen,
                           (const char *)field->value);
            raw->status_count += i == 0;
        }
    }
}

static inline void raw_note_headers(struct raw *raw, struct bytes block)
{
    while (block.size > 0) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used =
            nghttp2_hd_inflate_hd2(raw->inflater, &field, &flags, block.data, block.size, 1);
        if (used < 0) {
            abort();
        }
        block.data += used;
        block.size -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            raw_note_field(raw, &field);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            (void)nghttp2_hd_inflate_end_headers(raw->inflater);
            break;
        }
    }
}

static inline void raw_note_frame(struct raw *raw, const struct raw_frame *frame)
{
    struct reader reader = reader_of(frame->payload);
    raw->frame_counts[frame->type]++;
    if (frame->type == FRAME_HEADERS) {
        raw_note_headers(raw, frame->payload);
    } else if (frame->type == FRAME_DATA && frame->payload.size > 0) {
        buffer_append(&raw->data, frame->payload.data, frame->payload.size);
    } else if (frame->type == FRAME_RST_STREAM) {
        raw->reset_stream = frame->stream_id;
        raw->reset_code = reader_u32(&reader);
    } else if (frame->type == FRAME_GOAWAY) {
        (void)reader_u32(&reader);
        raw->goaway_code = reader_u32(&reader);
        (void)snprintf(raw->goaway_text, sizeof(raw->goaway_text), "%.*s", (int)reader.rest.size,
                       (const char *)reader.rest.data);
    }
    if (frame->type <= FRAME_HEADERS && (frame->flags & FLAG_END_STREAM)) {
        raw->ended_stream = frame->stream_id;
    }
}

/* Reads what is there and notes the frames that are complete. */
static inline void raw_read(struct raw *raw)
{
    uint8_t input[65536];
    ssize_t count = recv(raw->descriptor, input, sizeof(input), MSG_DONTWAIT);
    if (count > 0) {
        buffer_append(&raw->received, input, (size_t)count);
    } else if (count == 0 || errno != EAGAIN) {
        raw->is_eof = true;
    }
    for (;;) {
        struct reader reader = reader_of(buffer_bytes(&raw->received));
        uint32_t size = (uint32_t)reader_u8(&reader) << 16;
        size |= reader_u16(&reader);
        struct raw_frame frame = {.type = reader_u8(&reader), .flags = reader_u8(&reader)};
        frame.stream_id = reader_u32(&reader);
        frame.payload = reader_bytes(&reader, size);
        if (reader.is_bad) {
            break;
        }
        raw_note_frame(raw, &frame);
        buffer_consume(&raw->received, 9 + size);
    }
}

static inline bool raw_is_closed(void *state)
{
    struct raw *raw = state;
    raw_read(raw);
    return raw->is_eof;
}

static inline bool raw_has_status(void *state)
{
    struct raw *raw = state;
    raw_read(raw);
    return raw->is_eof || raw->status_count > 0;
}

/* Runs the loop until the server closes the connection. */
static inline bool raw_wait_closed(struct raw *raw)
{
    return toy_run_until(raw->toy, raw_is_closed, raw);
}

/* Runs the loop until a status comes (true), or the connection ends. */
static inline bool raw_wait_status(struct raw *raw)
{
    raw->status_count = 0;
    return toy_run_until(raw->toy, raw_has_status, raw) && raw->status_count > 0;
}

/* What nothing that a peer does may end: another connection is served. */
static inline void assert_serves_others(struct toy *toy)
{
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}
