#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/rpc/client_internal.h"
#include "lib/rpc/status.h"

enum { INPUT_BYTES = 65536 };

static struct client_call *call_of(struct rpc_client *client, int32_t stream_id)
{
    return stream_id > 0 && client->call.stream_id == stream_id ? &client->call : NULL;
}

static void on_status(struct client_call *call, struct bytes value)
{
    call->has_status = true;
    call->status = rpc_status_parse_code(value);
}

static void on_message(struct client_call *call, struct bytes value)
{
    buffer_reset(&call->status_text);
    value.size = MIN(value.size, (size_t)CLIENT_TEXT_LIMIT_BYTES);
    rpc_status_decode_text(value, &call->status_text);
}

/* nghttp2 has seen to it that these are three digits. */
static void on_http_status(struct client_call *call, struct bytes value)
{
    call->http_status = 0;
    for (size_t i = 0; i < value.size; i++) {
        call->http_status = call->http_status * 10 + (unsigned)(value.data[i] - '0');
    }
}

static void on_content_type(struct client_call *call, struct bytes value)
{
    static const char grpc[] = "application/grpc";
    call->is_grpc = value.size >= sizeof(grpc) - 1 &&
                    strncasecmp((const char *)value.data, grpc, sizeof(grpc) - 1) == 0;
}

static const struct {
    const char *name;
    void (*read)(struct client_call *call, struct bytes value);
} headers_read[] = {
    {"grpc-status", on_status},
    {"grpc-message", on_message},
    {":status", on_http_status},
    {"content-type", on_content_type},
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    struct client_call *call = call_of(user, frame->hd.stream_id);
    (void)session;
    (void)flags;
    for (size_t i = 0; call && i < ARRAY_SIZE(headers_read); i++) {
        if (bytes_is_equal((struct bytes){name, name_size}, bytes_of_text(headers_read[i].name))) {
            headers_read[i].read(call, (struct bytes){value, value_size});
        }
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *user)
{
    struct client_call *call = call_of(user, stream_id);
    (void)session;
    (void)flags;
    /* Of something else than gRPC only the HTTP status is looked at. */
    if (call && call->is_grpc && size > 0) {
        buffer_append(&call->body, data, size);
    }
    return 0;
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct rpc_client *client = user;
    (void)session;
    if (frame->hd.type == NGHTTP2_SETTINGS) {
        client->is_http2 = true;
    } else if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.opaque_data_len > 0) {
        buffer_reset(&client->goodbye);
        buffer_append(&client->goodbye, frame->goaway.opaque_data,
                      MIN(frame->goaway.opaque_data_len, (size_t)CLIENT_TEXT_LIMIT_BYTES));
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user)
{
    struct client_call *call = call_of(user, stream_id);
    (void)session;
    if (call) {
        call->is_ended = true;
        call->http2_error = error_code;
    }
    return 0;
}

static ssize_t read_request(nghttp2_session *session, int32_t stream_id, uint8_t *to,
                            size_t size_limit, uint32_t *flags, nghttp2_data_source *source,
                            void *user)
{
    struct client_call *call = call_of(user, stream_id);
    (void)session;
    (void)source;
    if (!call) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t size = MIN(size_limit, call->request.size - call->request_sent);
    memcpy(to, call->request.data + call->request_sent, size);
    call->request_sent += size;
    if (call->request_sent == call->request.size) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)size;
}

static int out_of_memory(const struct rpc_client *client, struct error *err)
{
    return error_set(err, ERROR_RESOURCE_EXHAUSTED, "preparing HTTP/2 for %s: out of memory",
                     client->path);
}

int client_session_open(struct rpc_client *client, struct error *err)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return out_of_memory(client, err);
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int code = nghttp2_session_client_new(&client->session, callbacks, client);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    if (code != 0 || nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings,
                                             ARRAY_SIZE(settings)) != 0) {
        return out_of_memory(client, err);
    }
    return 0;
}

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

int client_session_submit(struct rpc_client *client, bool has_deadline, struct error *err)
{
    enum { OWN_HEADERS = 8, TIMEOUT_LIMIT = 99999999 };
    size_t count = 0;
    char timeout[16];
    _cleanup_(free_cleanup) nghttp2_nv *headers =
        memory_new_array(OWN_HEADERS + client->keys.count, sizeof(*headers));
    headers[count++] = header(":method", "POST");
    headers[count++] = header(":scheme", "http");
    headers[count++] = header(":path", client->call.method);
    headers[count++] = header(":authority", "localhost");
    headers[count++] = header("content-type", "application/grpc");
    headers[count++] = header("te", "trailers");
    headers[count++] = header("user-agent", "signet/" SIGNET_VERSION);
    if (has_deadline && client->timeout_ms > 0 && client->timeout_ms <= TIMEOUT_LIMIT) {
        (void)snprintf(timeout, sizeof(timeout), "%um", (unsigned)client->timeout_ms);
        headers[count++] = header("grpc-timeout", timeout);
    }
    for (size_t i = 0; i < client->keys.count; i++) {
        headers[count++] = header(client->keys.items[i], client->values.items[i]);
    }
    const nghttp2_data_provider provider = {.read_callback = read_request};
    int32_t stream_id =
        nghttp2_submit_request(client->session, NULL, headers, count, &provider, NULL);
    if (stream_id < 0) {
        return error_set(err, ERROR_UNAVAILABLE, "calling %s on %s: %s", client->call.method,
                         client->path, nghttp2_strerror(stream_id));
    }
    client->call.stream_id = stream_id;
    return 0;
}

void client_session_drop_call(struct rpc_client *client)
{
    struct client_call *call = &client->call;
    if (call->stream_id > 0 && !call->is_ended) {
        (void)nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, call->stream_id,
                                        NGHTTP2_CANCEL);
    }
    free(call->method);
    buffer_clear(&call->request);
    buffer_clear(&call->body);
    buffer_clear(&call->status_text);
    rpc_framing_clear(&call->framing);
    *call = (struct client_call){0};
}

static int connection_lost(const struct rpc_client *client, const char *reason, struct error *err)
{
    if (!client->is_http2) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "calling %s on %s: it does not speak gRPC (%s): is this signetd's socket "
                         "for this command?",
                         client->call.method, client->path, reason);
    }
    if (client->goodbye.size > 0) {
        return error_set(err, ERROR_UNAVAILABLE, "calling %s on %s: the server ends it: %.*s",
                         client->call.method, client->path, (int)client->goodbye.size,
                         (const char *)client->goodbye.data);
    }
    return error_set(err, ERROR_UNAVAILABLE,
                     "calling %s on %s: %s: has signetd been stopped? its log says why",
                     client->call.method, client->path, reason);
}

/* All frames that are ready go into one write. */
static int collect_frames(struct rpc_client *client, struct error *err)
{
    while (client->unsent.size < INPUT_BYTES) {
        const uint8_t *data;
        ssize_t size = nghttp2_session_mem_send(client->session, &data);
        if (size < 0) {
            return connection_lost(client, nghttp2_strerror((int)size), err);
        }
        if (size == 0) {
            break;
        }
        buffer_append(&client->unsent, data, (size_t)size);
    }
    return 0;
}

/* Writes as much as the socket takes. */
static int write_some(struct rpc_client *client, struct error *err)
{
    for (;;) {
        TRY(collect_frames(client, err));
        if (client->unsent.size == 0) {
            return 0;
        }
        ssize_t sent = send(client->descriptor, client->unsent.data, client->unsent.size,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            buffer_consume(&client->unsent, (size_t)sent);
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            /* The server may have said why before it closed: reading will tell. */
            buffer_reset(&client->unsent);
            return 0;
        }
    }
}

static int wait_for_socket(struct rpc_client *client, uint64_t deadline_ms, struct error *err)
{
    short events = (short)(POLLIN | (client->unsent.size > 0 ? POLLOUT : 0));
    for (;;) {
        struct pollfd descriptor = {.fd = client->descriptor, .events = events};
        uint64_t now_ms = clock_monotonic_ms();
        uint64_t rest_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
        int timeout = deadline_ms == UINT64_MAX ? -1 : (int)MIN(rest_ms, (uint64_t)INT32_MAX);
        int count = poll(&descriptor, 1, timeout);
        if (count > 0) {
            return 0;
        }
        if (count == 0 && rest_ms <= (uint64_t)INT32_MAX) {
            return error_set(err, ERROR_DEADLINE_EXCEEDED,
                             "calling %s on %s: no answer came within %llu ms", client->call.method,
                             client->path, (unsigned long long)client->timeout_ms);
        }
        if (count < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "waiting for %s", client->path);
        }
    }
}

static int read_some(struct rpc_client *client, struct error *err)
{
    uint8_t input[INPUT_BYTES];
    ssize_t size = recv(client->descriptor, input, sizeof(input), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (size <= 0) {
        return connection_lost(client, "the connection was closed", err);
    }
    ssize_t taken = nghttp2_session_mem_recv(client->session, input, (size_t)size);
    if (taken < 0) {
        return connection_lost(client, nghttp2_strerror((int)taken), err);
    }
    return 0;
}

int client_session_step(struct rpc_client *client, uint64_t deadline_ms, struct error *err)
{
    TRY(write_some(client, err));
    if (!nghttp2_session_want_read(client->session)) {
        return connection_lost(client, "it does not follow HTTP/2", err);
    }
    TRY(wait_for_socket(client, deadline_ms, err));
    return read_some(client, err);
}
