/* Requests for metrics. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/metrics/metrics.h"
#include "agent/metrics/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool is_head = false;
    size = MIN(size, METRICS_REQUEST_MAX_BYTES);
    enum metrics_status status = metrics_request_parse((struct bytes){data, size}, &is_head);
    /* As much as a connection takes is never too little to be answered. */
    if ((status == METRICS_STATUS_MORE && size == METRICS_REQUEST_MAX_BYTES) ||
        (status == METRICS_STATUS_OK && memcmp(data, is_head ? "HEAD" : "GET ", 4) != 0)) {
        abort();
    }
    _cleanup_(buffer_clear) struct buffer response = {0};
    if (status != METRICS_STATUS_MORE) {
        metrics_response(&response, status, is_head, (struct bytes){data, size});
    }
    return 0;
}
