/* The one kind of HTTP request that metrics know (RFC 9112). Pure; every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

enum metrics_status {
    METRICS_STATUS_MORE = 0, /* the request goes on */
    METRICS_STATUS_OK = 200,
    METRICS_STATUS_BAD_REQUEST = 400,
    METRICS_STATUS_NOT_FOUND = 404,
    METRICS_STATUS_METHOD_NOT_ALLOWED = 405,
    METRICS_STATUS_TIMEOUT = 408,
    METRICS_STATUS_TOO_LARGE = 431,
};

/* What answer belongs to what has come so far. ret_is_head: without a body; set unless MORE. */
enum metrics_status metrics_request_parse(struct bytes received, bool *ret_is_head);

/* Appends head and body; with is_head the head alone, which is that of the body. */
void metrics_response(struct buffer *response, enum metrics_status status, bool is_head,
                      struct bytes body);
