#include <string.h>
#include <strings.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "lib/rpc/server_internal.h"

/* What HTTP/2 counts for a header besides its bytes (RFC 9113 10.5.1). */
enum { HEADER_OVERHEAD_BYTES = 32 };
/* Messages in progress on one connection, in units of the limit of one. */
enum { MESSAGES_IN_PROGRESS = 4 };

struct request *request_new(struct rpc_call *call)
{
    struct rpc_server *server = call->connection->server;
    struct request *request = NEW(struct request);
    request->call = call;
    request->begun_ms = uv_now(server->loop);
    TAILQ_INSERT_TAIL(&server->partial, request, link);
    return request;
}

static void leave_partial(struct request *request)
{
    if (request->status != REQUEST_IS_WHOLE) {
        request->status = REQUEST_IS_WHOLE;
        TAILQ_REMOVE(&request->call->connection->server->partial, request, link);
    }
}

void request_free(struct request *request)
{
    leave_partial(request);
    request->call->connection->request_bytes -= request->framing.message.size;
    rpc_framing_clear(&request->framing);
    buffer_clear(&request->metadata);
    free(request->path);
    free(request->content_type);
    free(request->http_method);
    free(request->timeout);
    free(request);
}

static char *copy_of(struct bytes value)
{
    return text_format("%.*s", (int)value.size, (const char *)value.data);
}

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_is_equal(bytes, bytes_of_text(text));
}

static void set_once(struct request *request, char **field, struct bytes value)
{
    if (*field) {
        request->is_malformed = true;
    } else {
        *field = copy_of(value);
    }
}

static void set_method(struct request *request, struct bytes value)
{
    set_once(request, &request->http_method, value);
}

static void set_path(struct request *request, struct bytes value)
{
    set_once(request, &request->path, value);
}

static void ignore(struct request *request, struct bytes value)
{
    (void)request;
    (void)value;
}

static void set_content_type(struct request *request, struct bytes value)
{
    set_once(request, &request->content_type, value);
}

static void set_timeout(struct request *request, struct bytes value)
{
    set_once(request, &request->timeout, value);
}

static void check_encoding(struct request *request, struct bytes value)
{
    request->is_compressed = !is_text(value, "identity");
}

static void check_te(struct request *request, struct bytes value)
{
    request->has_bad_te = !is_text(value, "trailers");
}

static void refuse(struct request *request, struct bytes value)
{
    (void)value;
    request->is_malformed = true;
}

/* Headers that mean something here; what is left goes into the metadata. */
static const struct {
    const char *name;
    void (*set)(struct request *request, struct bytes value);
} known_headers[] = {
    {":method", set_method},
    {":path", set_path},
    {":scheme", ignore},
    {":authority", ignore},
    {"content-type", set_content_type},
    {"te", check_te},
    {"grpc-encoding", check_encoding},
    {"grpc-timeout", set_timeout},
    {"grpc-accept-encoding", ignore},
    /* Of HTTP/1 (RFC 9113 8.2.2). */
    {"connection", refuse},
    {"keep-alive", refuse},
    {"proxy-connection", refuse},
    {"transfer-encoding", refuse},
    {"upgrade", refuse},
};

static bool is_well_formed(const struct request *request, struct bytes name, struct bytes value)
{
    bool is_pseudo = name.size > 0 && name.data[0] == ':';
    struct bytes plain_name = name;
    if (is_pseudo) {
        struct reader reader = reader_of(name);
        (void)reader_u8(&reader);
        plain_name = reader.rest;
    }
    return nghttp2_check_header_name(plain_name.data, plain_name.size) &&
           nghttp2_check_header_value(value.data, value.size) &&
           !(is_pseudo && request->has_regular_header);
}

void request_add_header(struct request *request, struct bytes name, struct bytes value)
{
    size_t limit_bytes = request->call->connection->server->config.limits.header_bytes;
    request->header_bytes += name.size + value.size + HEADER_OVERHEAD_BYTES;
    if (request->header_bytes > limit_bytes || request->is_malformed) {
        return;
    }
    bool is_pseudo = name.size > 0 && name.data[0] == ':';
    if (!is_well_formed(request, name, value)) {
        request->is_malformed = true;
        return;
    }
    request->has_regular_header |= !is_pseudo;
    for (size_t i = 0; i < ARRAY_SIZE(known_headers); i++) {
        if (is_text(name, known_headers[i].name)) {
            known_headers[i].set(request, value);
            return;
        }
    }
    if (is_pseudo) {
        request->is_malformed = true;
        return;
    }
    buffer_append(&request->metadata, name.data, name.size);
    buffer_append_u8(&request->metadata, 0);
    if (value.size > 0) {
        buffer_append(&request->metadata, value.data, value.size);
    }
    buffer_append_u8(&request->metadata, 0);
}

/* "application/grpc" alone or with "+proto" or parameters. 1: it is; 0: gRPC of another encoding;
 * -1: not gRPC. */
static int judge_content_type(const char *content_type)
{
    static const char grpc[] = "application/grpc";
    if (!content_type || strncasecmp(content_type, grpc, sizeof(grpc) - 1) != 0) {
        return -1;
    }
    const char *rest = content_type + sizeof(grpc) - 1;
    if (*rest == '\0' || *rest == ';' || *rest == ' ') {
        return 1;
    }
    if (*rest != '+') {
        return -1;
    }
    size_t subtype = strcspn(rest + 1, "; ");
    return subtype == 5 && strncasecmp(rest + 1, "proto", subtype) == 0 ? 1 : 0;
}

/* PROTOCOL-HTTP2.md, Timeout: at most eight digits and a unit. Rounded up to milliseconds. */
static int parse_timeout(const char *text, uint64_t *ret_ms, struct error *err)
{
    static const struct {
        char unit;
        uint64_t nanoseconds;
    } units[] = {
        {'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000},
        {'m', 1000000},       {'u', 1000},        {'n', 1},
    };
    enum { DIGITS_LIMIT = 8, NANOSECONDS_PER_MILLISECOND = 1000000 };
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (digits >= 1 && digits <= DIGITS_LIMIT && text[digits] == units[i].unit &&
            text[digits + 1] == '\0') {
            /* At most 1e8 hours: 3.6e20 nanoseconds, which 64 bits do not hold. */
            __uint128_t nanoseconds = (__uint128_t)strtoull(text, NULL, 10) * units[i].nanoseconds;
            *ret_ms = (uint64_t)((nanoseconds + NANOSECONDS_PER_MILLISECOND - 1) /
                                 NANOSECONDS_PER_MILLISECOND);
            return 0;
        }
    }
    return error_set(err, ERROR_INTERNAL,
                     "reading grpc-timeout: \"%s\" is not one to eight digits and one of HMSmun",
                     text);
}

static bool is_named(const char *name, const char *text, size_t size)
{
    return strlen(name) == size && memcmp(name, text, size) == 0;
}

/* Path → "/" Service-Name "/" {method name} */
static int find_method(struct request *request, struct error *err)
{
    const struct rpc_server_config *config = &request->call->connection->server->config;
    const char *path = request->path;
    const char *slash = path && path[0] == '/' ? strrchr(path + 1, '/') : NULL;
    if (!slash) {
        return error_set(err, ERROR_UNIMPLEMENTED,
                         "calling \"%s\": a path of the form /service/method is expected",
                         path ? path : "");
    }
    for (size_t i = 0; i < config->service_count; i++) {
        if (is_named(config->services[i].name, path + 1, (size_t)(slash - path) - 1)) {
            request->service = &config->services[i];
        }
    }
    if (!request->service) {
        return error_set(err, ERROR_UNIMPLEMENTED, "calling %s: there is no such service here",
                         path);
    }
    for (size_t i = 0; i < request->service->method_count; i++) {
        if (strcmp(request->service->methods[i].name, slash + 1) == 0) {
            request->method = &request->service->methods[i];
        }
    }
    if (!request->method) {
        return error_set(err, ERROR_UNIMPLEMENTED, "calling %s: the service has no such method",
                         path);
    }
    if (!request->method->handle) {
        return error_set(err, ERROR_UNIMPLEMENTED, "calling %s: it is not offered here", path);
    }
    return 0;
}

static int judge_http(const struct request *request, unsigned *ret_http_status, struct error *err)
{
    if (!request->http_method || strcmp(request->http_method, "POST") != 0) {
        *ret_http_status = 405;
        return error_set(err, ERROR_INTERNAL, "calling %s with HTTP method %s: gRPC uses POST",
                         request->path ? request->path : "nothing",
                         request->http_method ? request->http_method : "none");
    }
    int content_type = judge_content_type(request->content_type);
    if (content_type < 0) {
        *ret_http_status = 415;
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading the request: its content-type is \"%s\"; application/grpc is "
                         "expected",
                         request->content_type ? request->content_type : "");
    }
    *ret_http_status = 200;
    if (content_type == 0) {
        return error_set(err, ERROR_UNIMPLEMENTED,
                         "reading the request: its content-type is \"%s\"; only "
                         "application/grpc+proto is supported",
                         request->content_type);
    }
    return 0;
}

int request_judge(struct request *request, uint64_t *ret_timeout_ms, unsigned *ret_http_status,
                  struct error *err)
{
    size_t limit_bytes = request->call->connection->server->config.limits.header_bytes;
    request->status = REQUEST_IS_BODY;
    *ret_http_status = 200;
    if (request->header_bytes > limit_bytes) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "reading the request: its headers have %zu bytes; at most %zu are allowed",
                         request->header_bytes, limit_bytes);
    }
    TRY(judge_http(request, ret_http_status, err));
    if (request->has_bad_te) {
        return error_set(err, ERROR_INTERNAL,
                         "reading the request: te is not \"trailers\"; a proxy that drops trailers "
                         "is in between?");
    }
    TRY(find_method(request, err));
    if (request->is_compressed) {
        return error_set(err, ERROR_UNIMPLEMENTED,
                         "reading the request: it is compressed; only grpc-encoding identity is "
                         "supported");
    }
    *ret_timeout_ms = UINT64_MAX;
    return request->timeout ? parse_timeout(request->timeout, ret_timeout_ms, err) : 0;
}

int request_add_body(struct request *request, struct bytes body, struct error *err)
{
    struct rpc_connection *connection = request->call->connection;
    size_t limit_bytes = connection->server->config.limits.message_bytes;
    size_t before = request->framing.message.size;
    if (!request->has_message) {
        int complete = rpc_framing_feed(&request->framing, &body, limit_bytes, err);
        TRY(complete);
        connection->request_bytes += request->framing.message.size - before;
        request->has_message = complete > 0;
    }
    if (body.size > 0) {
        return error_set(err, ERROR_UNIMPLEMENTED,
                         "reading the request: it has more than one message; the method takes one");
    }
    if (connection->request_bytes > MESSAGES_IN_PROGRESS * limit_bytes) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "reading the request: too much is sent at once on this connection");
    }
    return 0;
}

int request_unpack(struct request *request, ProtobufCMessage **ret_message, struct error *err)
{
    leave_partial(request);
    if (!request->has_message) {
        return rpc_framing_is_partial(&request->framing)
                   ? error_set(err, ERROR_INTERNAL,
                               "reading the request: it ends in the middle of its message")
                   : error_set(err, ERROR_UNIMPLEMENTED,
                               "reading the request: it has no message; the method takes one");
    }
    struct bytes packed = buffer_bytes(&request->framing.message);
    ProtobufCMessage *message =
        protobuf_c_message_unpack(request->method->request, NULL, packed.size, packed.data);
    if (!message) {
        return error_set(err, ERROR_INTERNAL, "reading the request: it is not a valid %s",
                         request->method->request->name);
    }
    *ret_message = message;
    return 0;
}

const char *request_metadata(const struct request *request, const char *key, size_t n)
{
    struct reader reader = reader_of(buffer_bytes(&request->metadata));
    while (!reader_is_done(&reader)) {
        struct bytes name = reader_until(&reader, 0);
        struct bytes value = reader_until(&reader, 0);
        if (is_text(name, key) && n-- == 0) {
            return (const char *)value.data;
        }
    }
    return NULL;
}
