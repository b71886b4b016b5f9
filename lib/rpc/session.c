#include "lib/rpc/server_internal.h"

/* Frames that carry no request: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA;
 * and each read, since nghttp2 skips frames that it does not know without a word. Clients measure
 * the round trip with a few of them for each answer, which earns them. */
static const struct budget_rate frame_rate = {4096, 256};
enum { FRAMES_EARNED = 8 };

/* Streams that end by a reset, whoever caused it: each may leave work behind that was in vain
 * (CVE-2023-44487, CVE-2025-8671). */
static const struct budget_rate reset_rate = {1000, 33};

/* No table for compressed headers is kept: streams live for days after one request. */
enum { HEADER_TABLE_BYTES = 0, SETTINGS_AND_PING_REPLIES_WAITING = 256, HEADER_FRAMES = 64 };

static uint64_t now_of(const struct rpc_connection *connection)
{
    return uv_now(connection->server->loop);
}

static struct rpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return stream_id > 0 ? nghttp2_session_get_stream_user_data(session, stream_id) : NULL;
}

void session_spend_frame(struct rpc_connection *connection)
{
    if (!budget_spend(&connection->frames, &frame_rate, now_of(connection))) {
        connection_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames without a request");
    }
}

static void spend_reset(struct rpc_connection *connection)
{
    if (!budget_spend(&connection->resets, &reset_rate, now_of(connection))) {
        connection_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too many calls are cancelled");
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *header, void *user)
{
    struct rpc_connection *connection = user;
    (void)session;
    bool is_useful = header->type == NGHTTP2_HEADERS || header->type == NGHTTP2_CONTINUATION ||
                     (header->type == NGHTTP2_DATA &&
                      (header->length > 0 || (header->flags & NGHTTP2_FLAG_END_STREAM)));
    if (!is_useful) {
        session_spend_frame(connection);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct rpc_connection *connection = user;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        session_spend_frame(connection);
    } else if (!connection->is_ending) {
        struct rpc_call *call = call_new(connection, frame->hd.stream_id);
        (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
        budget_earn(&connection->frames, &frame_rate, FRAMES_EARNED);
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    struct rpc_call *call = call_of(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    /* Trailers of a request mean nothing in gRPC. */
    if (call && call->request && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        request_add_header(call->request, (struct bytes){name, name_size},
                           (struct bytes){value, value_size});
    }
    return 0;
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct rpc_call *call = call_of(session, frame->hd.stream_id);
    (void)user;
    if (!call || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) {
        return 0;
    }
    call->is_request_ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        call_on_headers(call);
    }
    if (call->is_request_ended) {
        call_on_request_end(call);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *user)
{
    struct rpc_call *call = call_of(session, stream_id);
    (void)flags;
    (void)user;
    if (call) {
        call_on_body(call, (struct bytes){data, size});
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user)
{
    struct rpc_connection *connection = user;
    struct rpc_call *call = call_of(session, stream_id);
    if (!call) {
        return 0;
    }
    call_on_stream_closed(call);
    if (error_code != NGHTTP2_NO_ERROR) {
        spend_reset(connection);
    }
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct rpc_connection *connection = user;
    struct rpc_call *call = call_of(session, frame->hd.stream_id);
    /* A stream that was refused before it was a call. */
    if (!call && frame->hd.type == NGHTTP2_RST_STREAM) {
        spend_reset(connection);
    }
    /* An answer that ends before the request does: the peer may stop sending it (RFC 9113 8.1). */
    if (call && frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        !call->is_request_ended) {
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_NO_ERROR);
    }
    return 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_header,
                     size_t size, nghttp2_data_source *source, void *user)
{
    struct rpc_connection *connection = user;
    (void)session;
    (void)frame;
    connection->has_progress = true;
    budget_earn(&connection->frames, &frame_rate, FRAMES_EARNED);
    return response_on_send_data(source->ptr, &connection->server->gather, frame_header, size);
}

int session_setup(struct rpc_server *server, struct error *err)
{
    session_memory_init(&server->session_memory);
    if (nghttp2_session_callbacks_new(&server->callbacks) != 0 ||
        nghttp2_option_new(&server->options) != 0) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "preparing HTTP/2: out of memory");
    }
    nghttp2_session_callbacks *callbacks = server->callbacks;
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);

    nghttp2_option *options = server->options;
    /* gRPC libraries send as :authority over a unix socket what RFC 9113 8.3.1 forbids and nghttp2
     * would refuse: nothing (grpc-go), the socket's path (java), its path in %XX (C++, Python). The
     * rules that matter here are kept in request.c. */
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, HEADER_TABLE_BYTES);
    nghttp2_option_set_max_outbound_ack(options, SETTINGS_AND_PING_REPLIES_WAITING);
#ifdef SIGNET_HAS_MAX_CONTINUATIONS
    /* More than the usual 8, so that oversized headers cost the call and not the connection. */
    nghttp2_option_set_max_continuations(options, HEADER_FRAMES);
#endif
    return 0;
}

int session_open(struct rpc_connection *connection, struct error *err)
{
    struct rpc_server *server = connection->server;
    budget_init(&connection->frames, &frame_rate, now_of(connection));
    budget_init(&connection->resets, &reset_rate, now_of(connection));
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, HEADER_TABLE_BYTES},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
         (uint32_t)server->config.limits.calls_per_connection},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    int code = session_memory_open(&server->session_memory, server->callbacks, server->options,
                                   connection, &connection->session);
    if (code == 0) {
        code = nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings,
                                       ARRAY_SIZE(settings));
    }
    if (code != 0) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "opening an HTTP/2 connection: %s",
                         nghttp2_strerror(code));
    }
    return 0;
}
