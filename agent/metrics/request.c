#include "agent/metrics/request.h"

#include <stdio.h>
#include <string.h>

#include "agent/metrics/metrics.h"

static const char line_end[] = "\r\n";

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_is_equal(bytes, bytes_of_text(text));
}

/* RFC 9110 5.6.2. */
static bool is_token(struct bytes bytes)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] == 0 || !strchr(allowed, bytes.data[i])) {
            return false;
        }
    }
    return bytes.size > 0;
}

/* Without control characters; blanks where they may be. */
static bool is_visible(struct bytes bytes, const char *blanks)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        bool is_blank = byte == ' ' || byte == '\t';
        if (is_blank ? !strchr(blanks, byte) : byte < ' ' || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_name(struct bytes bytes, const char *name)
{
    return bytes.size == strlen(name) &&
           strncasecmp((const char *)bytes.data, name, bytes.size) == 0;
}

struct request {
    bool is_get, is_head, is_found, needs_host, has_host;
};

/* METHOD SP TARGET SP HTTP/1.x */
static bool read_request_line(struct bytes line, struct request *request)
{
    struct reader reader = reader_of(line);
    struct bytes method = reader_until(&reader, ' ');
    struct bytes target = reader_until(&reader, ' ');
    struct bytes version = reader.rest;
    struct reader path = reader_of(target);
    request->is_get = is_text(method, "GET");
    request->is_head = is_text(method, "HEAD");
    request->is_found = is_text(reader_until(&path, '?'), "/metrics");
    request->needs_host = is_text(version, "HTTP/1.1");
    return is_token(method) && target.size > 0 && is_visible(target, "") &&
           (request->needs_host || is_text(version, "HTTP/1.0"));
}

/* A request that has a body is one that this server does not know. */
static bool read_header(struct bytes line, struct request *request)
{
    struct reader reader = reader_of(line);
    struct bytes name = reader_until(&reader, ':');
    bool has_colon = name.size < line.size;
    bool is_host = is_name(name, "Host");
    bool has_body = is_name(name, "Transfer-Encoding") ||
                    (is_name(name, "Content-Length") && !is_text(reader.rest, " 0") &&
                     !is_text(reader.rest, "0"));
    bool is_second_host = is_host && request->has_host;
    request->has_host |= is_host;
    return has_colon && is_token(name) && is_visible(reader.rest, " \t") && !is_second_host &&
           (!has_body || !(request->is_get || request->is_head));
}

/* One line, without its end; false: it has not come whole. */
static bool next_line(struct bytes *rest, struct bytes *ret_line)
{
    const uint8_t *end = rest->size ? memmem(rest->data, rest->size, line_end, 2) : NULL;
    if (!end) {
        return false;
    }
    *ret_line = (struct bytes){rest->data, (size_t)(end - rest->data)};
    size_t used = ret_line->size + 2;
    *rest = (struct bytes){rest->data + used, rest->size - used};
    return true;
}

/* What has not come whole can be known to be bad: who sends lines that end otherwise, or no HTTP at
 * all, need not wait for the end. */
static enum metrics_status status_of_rest(struct bytes rest, size_t received)
{
    /* The first half of a line's end may be there already. */
    size_t size = rest.size > 0 && rest.data[rest.size - 1] == '\r' ? rest.size - 1 : rest.size;
    if (!is_visible((struct bytes){rest.data, size}, " \t")) {
        return METRICS_STATUS_BAD_REQUEST;
    }
    return received >= METRICS_REQUEST_MAX_BYTES ? METRICS_STATUS_TOO_LARGE : METRICS_STATUS_MORE;
}

static enum metrics_status status_of_request(const struct request *request)
{
    if (request->needs_host && !request->has_host) {
        return METRICS_STATUS_BAD_REQUEST;
    }
    if (!request->is_found) {
        return METRICS_STATUS_NOT_FOUND;
    }
    return request->is_get || request->is_head ? METRICS_STATUS_OK
                                               : METRICS_STATUS_METHOD_NOT_ALLOWED;
}

enum metrics_status metrics_request_parse(struct bytes received, bool *ret_is_head)
{
    struct request request = {0};
    struct bytes rest = received;
    struct bytes line = {0};
    *ret_is_head = false;
    if (!next_line(&rest, &line)) {
        return status_of_rest(rest, received.size);
    }
    if (!read_request_line(line, &request)) {
        return METRICS_STATUS_BAD_REQUEST;
    }
    *ret_is_head = request.is_head;
    while (next_line(&rest, &line)) {
        if (line.size == 0) {
            return status_of_request(&request);
        }
        if (!read_header(line, &request)) {
            return METRICS_STATUS_BAD_REQUEST;
        }
    }
    return status_of_rest(rest, received.size);
}

static const struct {
    enum metrics_status status;
    const char *reason, *header;
} responses[] = {
    {METRICS_STATUS_OK, "OK", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"},
    {METRICS_STATUS_BAD_REQUEST, "Bad Request", ""},
    {METRICS_STATUS_NOT_FOUND, "Not Found", ""},
    {METRICS_STATUS_METHOD_NOT_ALLOWED, "Method Not Allowed", "Allow: GET, HEAD\r\n"},
    {METRICS_STATUS_TIMEOUT, "Request Timeout", ""},
    {METRICS_STATUS_TOO_LARGE, "Request Header Fields Too Large", ""},
};

void metrics_response(struct buffer *response, enum metrics_status status, bool is_head,
                      struct bytes body)
{
    char head[256];
    size_t i = 0;
    while (i + 1 < ARRAY_SIZE(responses) && responses[i].status != status) {
        i++;
    }
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 %d %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n",
                   (int)status, responses[i].reason, responses[i].header, body.size);
    buffer_append_text(response, head);
    if (!is_head) {
        buffer_append(response, body.data, body.size);
    }
}
