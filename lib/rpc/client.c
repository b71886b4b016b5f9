#include "lib/rpc/client_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/rpc/status.h"

uint64_t client_deadline_ms(const struct rpc_client *client)
{
    return client->timeout_ms ? clock_monotonic_ms() + client->timeout_ms : UINT64_MAX;
}

static int explain_connect(const char *path, int errno_value, struct error *err)
{
    static const struct {
        int errno_value;
        enum error_code code;
        const char *advice;
    } advices[] = {
        {ENOENT, ERROR_UNAVAILABLE,
         "there is no such socket: is signetd running, and is its run_dir the one that was given?"},
        {ECONNREFUSED, ERROR_UNAVAILABLE, "nobody listens there: is signetd running?"},
        {EACCES, ERROR_PERMISSION_DENIED,
         "this user may not: run it as root or as the user of signetd"},
        {EPERM, ERROR_PERMISSION_DENIED,
         "this user may not: run it as root or as the user of signetd"},
        {ENOTSOCK, ERROR_FAILED_PRECONDITION, "it is not a socket"},
        {EPROTOTYPE, ERROR_FAILED_PRECONDITION, "it is a socket of another type"},
        {EAGAIN, ERROR_DEADLINE_EXCEEDED, "signetd does not accept: is it overloaded or stopped?"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
        if (advices[i].errno_value == errno_value) {
            return error_set(err, advices[i].code, "connecting to %s: %s", path, advices[i].advice);
        }
    }
    return error_set_errno(err, errno_value, "connecting to %s", path);
}

static int connect_socket(struct rpc_client *client, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(client->path);
    if (size == 0 || size >= sizeof(address.sun_path)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "connecting to \"%s\": the path of a socket has 1 to %zu bytes",
                         client->path, sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, client->path, size + 1);
    client->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->descriptor < 0) {
        return error_set_errno(err, errno, "making a socket");
    }
    /* A unix socket's connect waits for room in the listener's queue, and for nothing else. */
    const struct timeval timeout = {(time_t)(client->timeout_ms / 1000),
                                    (suseconds_t)(client->timeout_ms % 1000 * 1000)};
    (void)setsockopt(client->descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    int result;
    do {
        result = connect(client->descriptor, (const struct sockaddr *)&address, sizeof(address));
    } while (result < 0 && errno == EINTR);
    return result < 0 ? explain_connect(client->path, errno, err) : 0;
}

int rpc_client_connect(const char *path, uint64_t timeout_ms, struct rpc_client **ret_client,
                       struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NEW(struct rpc_client);
    client->path = memory_copy_text(path);
    client->timeout_ms = timeout_ms;
    client->descriptor = -1;
    TRY(connect_socket(client, err));
    TRY(client_session_open(client, err));
    *ret_client = take_ptr(client);
    return 0;
}

void rpc_client_free(struct rpc_client *client)
{
    if (!client) {
        return;
    }
    client_session_drop_call(client);
    nghttp2_session_del(client->session);
    file_close_cleanup(&client->descriptor);
    text_list_clear(&client->keys);
    text_list_clear(&client->values);
    buffer_clear(&client->goodbye);
    buffer_clear(&client->unsent);
    free(client->path);
    free(client);
}

void rpc_client_set_metadata(struct rpc_client *client, const char *key, const char *value)
{
    for (size_t i = 0; i < client->keys.count; i++) {
        if (strcmp(client->keys.items[i], key) == 0) {
            free(client->values.items[i]);
            client->values.items[i] = memory_copy_text(value);
            return;
        }
    }
    text_list_add(&client->keys, key);
    text_list_add(&client->values, value);
}

static int begin(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                 bool has_deadline, struct error *err)
{
    client_session_drop_call(client);
    struct client_call *call = &client->call;
    call->method = memory_copy_text(method);
    size_t size = protobuf_c_message_get_packed_size(request);
    if (size > CLIENT_MESSAGE_LIMIT_BYTES) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "calling %s: the request has %zu bytes",
                         method, size);
    }
    uint8_t *to = buffer_extend(&call->request, RPC_FRAMING_PREFIX_BYTES + size);
    rpc_framing_write_prefix(to, (uint32_t)size);
    (void)protobuf_c_message_pack(request, to + RPC_FRAMING_PREFIX_BYTES);
    return client_session_submit(client, has_deadline, err);
}

/* The status of a call whose stream is closed: 0 for OK. */
static int final_status(const struct rpc_client *client, struct error *err)
{
    static const struct {
        uint32_t http2_error;
        enum error_code code;
    } codes[] = {
        {NGHTTP2_REFUSED_STREAM, ERROR_UNAVAILABLE},
        {NGHTTP2_CANCEL, ERROR_CANCELLED},
        {NGHTTP2_ENHANCE_YOUR_CALM, ERROR_RESOURCE_EXHAUSTED},
        {NGHTTP2_INADEQUATE_SECURITY, ERROR_PERMISSION_DENIED},
    };
    const struct client_call *call = &client->call;
    if (call->has_status && call->status == ERROR_OK) {
        return 0;
    }
    if (call->has_status) {
        return error_set(err, call->status, "%.*s", (int)call->status_text.size,
                         call->status_text.size ? (const char *)call->status_text.data : "");
    }
    if (call->http_status && (call->http_status != 200 || !call->is_grpc)) {
        return error_set(err, rpc_status_of_http(call->http_status),
                         "calling %s on %s: it answered with HTTP status %u and no gRPC status: is "
                         "this signetd's socket?",
                         call->method, client->path, call->http_status);
    }
    if (client->goodbye.size > 0) {
        return error_set(err, ERROR_UNAVAILABLE, "calling %s on %s: the server ended it: %.*s",
                         call->method, client->path, (int)client->goodbye.size,
                         (const char *)client->goodbye.data);
    }
    enum error_code code = ERROR_INTERNAL;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        if (codes[i].http2_error == call->http2_error) {
            code = codes[i].code;
        }
    }
    return error_set(err, code, "calling %s on %s: the server ended the call without a status (%s)",
                     call->method, client->path, nghttp2_http2_strerror(call->http2_error));
}

static int unpack(struct rpc_client *client, const ProtobufCMessageDescriptor *response,
                  ProtobufCMessage **ret_response, struct error *err)
{
    struct bytes packed = buffer_bytes(&client->call.framing.message);
    ProtobufCMessage *message = protobuf_c_message_unpack(response, NULL, packed.size, packed.data);
    rpc_framing_clear(&client->call.framing);
    if (!message) {
        return error_set(err, ERROR_INTERNAL,
                         "calling %s on %s: the answer is not a valid %s: do signet and signetd "
                         "have the same version?",
                         client->call.method, client->path, response->name);
    }
    *ret_response = message;
    return 0;
}

/* 1: a message is complete in the call's framing; 0: more has to come. */
static int read_body(struct client_call *call, struct error *err)
{
    struct reader reader = reader_of(buffer_bytes(&call->body));
    (void)reader_bytes(&reader, call->body_read);
    struct bytes rest = reader.rest;
    int complete = rpc_framing_feed(&call->framing, &rest, CLIENT_MESSAGE_LIMIT_BYTES, err);
    TRY(complete);
    call->body_read = call->body.size - rest.size;
    if (rest.size == 0) {
        buffer_clear(&call->body);
        call->body_read = 0;
    }
    return complete;
}

static int next_message(struct rpc_client *client, uint64_t deadline_ms,
                        const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret_response,
                        struct error *err)
{
    struct client_call *call = &client->call;
    if (!call->method) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "reading from %s: no call is in progress",
                         client->path);
    }
    for (;;) {
        int complete = read_body(call, err);
        TRY(complete);
        if (complete) {
            TRY(unpack(client, response, ret_response, err));
            return 1;
        }
        if (call->is_ended) {
            return final_status(client, err);
        }
        TRY(client_session_step(client, deadline_ms, err));
    }
}

static void free_response(ProtobufCMessage **message)
{
    if (*message) {
        protobuf_c_message_free_unpacked(*message, NULL);
    }
}

/* One message and then OK: what a unary call answers with. */
static int receive_one(struct rpc_client *client, const ProtobufCMessageDescriptor *response,
                       ProtobufCMessage **ret_response, struct error *err)
{
    _cleanup_(free_response) ProtobufCMessage *message = NULL;
    _cleanup_(free_response) ProtobufCMessage *second = NULL;
    uint64_t deadline_ms = client_deadline_ms(client);
    int count = next_message(client, deadline_ms, response, &message, err);
    TRY(count);
    int more = count ? next_message(client, deadline_ms, response, &second, err) : 0;
    TRY(more);
    if (count == 0 || more > 0) {
        return error_set(err, ERROR_INTERNAL, "calling %s on %s: it answered with %s",
                         client->call.method, client->path,
                         count == 0 ? "no message" : "more than one message");
    }
    *ret_response = take_ptr(message);
    return 0;
}

int rpc_client_call(struct rpc_client *client, const char *method, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret_response,
                    struct error *err)
{
    TRY(begin(client, method, request, true, err));
    int result = receive_one(client, response, ret_response, err);
    client_session_drop_call(client);
    return result;
}

int rpc_client_stream(struct rpc_client *client, const char *method,
                      const ProtobufCMessage *request, struct error *err)
{
    return begin(client, method, request, false, err);
}

int rpc_client_next(struct rpc_client *client, const ProtobufCMessageDescriptor *response,
                    ProtobufCMessage **ret_response, struct error *err)
{
    return next_message(client, client_deadline_ms(client), response, ret_response, err);
}
