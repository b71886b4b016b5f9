#include <stdio.h>
#include <string.h>

#include "lib/rpc/server_internal.h"

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

enum { RESPONSE_HEADERS = 3, STATUS_HEADERS = 2 };

static void response_headers(nghttp2_nv *to, const char *http_status)
{
    to[0] = header(":status", http_status);
    to[1] = header("content-type", "application/grpc");
    to[2] = header("grpc-accept-encoding", "identity");
}

static size_t status_headers(const struct rpc_call *call, char code[4], nghttp2_nv *to)
{
    (void)snprintf(code, 4, "%u", call->status_code);
    to[0] = header("grpc-status", code);
    if (!call->status_text) {
        return 1;
    }
    to[1] = header("grpc-message", call->status_text);
    return 2;
}

static int submit_trailers(struct rpc_call *call)
{
    char code[4];
    nghttp2_nv headers[STATUS_HEADERS];
    size_t count = status_headers(call, code, headers);
    return nghttp2_submit_trailer(call->connection->session, call->stream_id, headers, count);
}

/* nghttp2 asks how much can be sent now; the bytes themselves go by reference, in
 * response_on_send_data. */
static ssize_t read_data(nghttp2_session *session, int32_t stream_id, uint8_t *buffer,
                         size_t size_limit, uint32_t *flags, nghttp2_data_source *source,
                         void *user)
{
    struct rpc_call *call = source->ptr;
    const struct outgoing *outgoing = TAILQ_FIRST(&call->outgoing);
    size_t size = 0;
    (void)session;
    (void)stream_id;
    (void)buffer;
    (void)user;
    if (!outgoing && !call->is_concluded) {
        call->is_waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    bool is_last = true;
    if (outgoing) {
        size_t rest = message_framed(outgoing->message).size - outgoing->offset;
        size = MIN(size_limit, rest);
        is_last = size == rest && !TAILQ_NEXT(outgoing, link);
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    }
    if (is_last && call->is_concluded) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (submit_trailers(call) != 0) {
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)size;
}

int response_on_send_data(struct rpc_call *call, struct gather *gather, const uint8_t *frame_header,
                          size_t size)
{
    enum { FRAME_HEADER_BYTES = 9 };
    const struct outgoing *outgoing = TAILQ_FIRST(&call->outgoing);
    gather_add_bytes(gather, frame_header, FRAME_HEADER_BYTES);
    gather_add_message(gather, outgoing->message, outgoing->offset, size);
    call_outgoing_sent(call, size);
    return gather_is_full(gather) ? NGHTTP2_ERR_PAUSE : 0;
}

static void check(struct rpc_call *call, int code)
{
    if (code != 0) {
        connection_end(call->connection, NGHTTP2_INTERNAL_ERROR, nghttp2_strerror(code));
    }
}

void response_begin(struct rpc_call *call)
{
    nghttp2_nv headers[RESPONSE_HEADERS];
    const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_data};
    response_headers(headers, "200");
    call->has_response = true;
    check(call, nghttp2_submit_response(call->connection->session, call->stream_id, headers,
                                        RESPONSE_HEADERS, &provider));
}

void response_resume(struct rpc_call *call)
{
    if (call->is_waiting) {
        call->is_waiting = false;
        check(call, nghttp2_session_resume_data(call->connection->session, call->stream_id));
    }
}

void response_only_status(struct rpc_call *call, unsigned http_status)
{
    char http_code[4];
    char code[4];
    nghttp2_nv headers[RESPONSE_HEADERS + STATUS_HEADERS];
    (void)snprintf(http_code, sizeof(http_code), "%u", http_status % 1000);
    response_headers(headers, http_code);
    size_t count = RESPONSE_HEADERS + status_headers(call, code, headers + RESPONSE_HEADERS);
    call->has_response = true;
    check(call, nghttp2_submit_response(call->connection->session, call->stream_id, headers, count,
                                        NULL));
}
