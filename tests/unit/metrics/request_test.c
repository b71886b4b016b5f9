#include "agent/metrics/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/metrics/metrics.h"

#define HOST "Host: x\r\n"

static const struct {
    const char *request;
    int status; /* 0: it goes on */
    bool is_head;
} cases[] = {
    {"GET /metrics HTTP/1.1\r\n" HOST "\r\n", 200, false},
    {"HEAD /metrics HTTP/1.1\r\n" HOST "\r\n", 200, true},
    {"GET /metrics HTTP/1.0\r\n\r\n", 200, false},
    {"GET /metrics?name=a HTTP/1.1\r\n" HOST "\r\n", 200, false},
    {"GET /metrics HTTP/1.1\r\nhost:x\r\nAccept: text/plain;q=0.5, */*\r\nX:\t \r\n\r\n", 200,
     false},
    {"GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 200, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "\r\nmore", 200, false},
    {"", 0, false},
    {"G", 0, false},
    {"GET /metrics HTTP/1.1", 0, false},
    {"GET /metrics HTTP/1.1\r", 0, false},
    {"GET /metrics HTTP/1.1\r\n", 0, false},
    {"GET /metrics HTTP/1.1\r\n" HOST, 0, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "\r", 0, false},
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET /metrics/ HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET /Metrics HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET //metrics HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET http://x/metrics HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET /%6detrics HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"GET ?/metrics HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"HEAD /x HTTP/1.1\r\n" HOST "\r\n", 404, true},
    {"POST /x HTTP/1.1\r\n" HOST "\r\n", 404, false},
    {"POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 405, false},
    {"OPTIONS /metrics HTTP/1.1\r\n" HOST "\r\n", 405, false},
    {"get /metrics HTTP/1.1\r\n" HOST "\r\n", 405, false},
    {"GETX /metrics HTTP/1.1\r\n" HOST "\r\n", 405, false},
    {"GET /metrics HTTP/1.1\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST HOST "\r\n", 400, false},
    {"GET /metrics HTTP/2.0\r\n\r\n", 400, false},
    {"GET /metrics HTTP/0.9\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1 \r\n", 400, false},
    {"GET /metrics http/1.1\r\n", 400, false},
    {"GET /metrics\r\n", 400, false},
    {"GET  /metrics HTTP/1.1\r\n", 400, false},
    {" GET /metrics HTTP/1.1\r\n", 400, false},
    {"GET /met\trics HTTP/1.1\r\n", 400, false},
    {"GET\r\n", 400, false},
    {"\r\n", 400, false},
    {"\r\nGET /metrics HTTP/1.1\r\n", 400, false},
    {"(GET) /metrics HTTP/1.1\r\n", 400, false},
    {"GET /metrics HTTP/1.1\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "\n", 400, false},
    {"GET /metrics HTTP/1.1\r\nHost: x\ry\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n: x\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST " folded\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "X: \x01\r\n\r\n", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 400, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, false},
    {"\x16\x03\x01\x02", 400, false}, /* TLS */
    {"\x7f", 400, false},
};

/* Each byte of it comes by itself: who has not sent all never gets an answer of the whole. */
static void bytewise(const char *request, int wanted)
{
    bool is_head = false;
    size_t size = strlen(request);
    int status = 0;
    for (size_t i = 0; i <= size && status == 0; i++) {
        status = (int)metrics_request_parse((struct bytes){(const uint8_t *)request, i}, &is_head);
    }
    if (status != wanted) {
        fail_msg("%s: %d, not %d when it comes bytewise", request, status, wanted);
    }
}

static void requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bool is_head = true;
        int status = (int)metrics_request_parse(bytes_of_text(cases[i].request), &is_head);
        if (status != cases[i].status ||
            (status != 0 && status != 400 && is_head != cases[i].is_head)) {
            fail_msg("%s: %d, not %d", cases[i].request, status, cases[i].status);
        }
        bytewise(cases[i].request, cases[i].status);
    }
}

static void too_large(void **state)
{
    (void)state;
    static const char *const beginnings[] = {"", "GET /", "GET /metrics HTTP/1.1\r\nX: "};
    for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++) {
        bool is_head = false;
        _cleanup_(buffer_clear) struct buffer text = {0};
        buffer_append_text(&text, beginnings[i]);
        while (text.size < METRICS_REQUEST_MAX_BYTES) {
            assert_int_equal(metrics_request_parse(buffer_bytes(&text), &is_head), 0);
            buffer_append_u8(&text, 'x');
        }
        assert_int_equal(metrics_request_parse(buffer_bytes(&text), &is_head), 431);
    }
}

static void nul(void **state)
{
    (void)state;
    static const char request[] = "GET /metrics\0 HTTP/1.1\r\n" HOST "\r\n";
    bool is_head = false;
    const struct bytes bytes = {(const uint8_t *)request, sizeof(request) - 1};
    assert_int_equal(metrics_request_parse(bytes, &is_head), 400);
    assert_int_equal(metrics_request_parse((struct bytes){0}, &is_head), 0);
}

static void responses(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer response = {0};
    metrics_response(&response, METRICS_STATUS_OK, false, bytes_of_text("a 1\n"));
    buffer_append_u8(&response, 0);
    assert_string_equal((char *)response.data,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; "
                        "charset=utf-8\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n");
    buffer_reset(&response);
    metrics_response(&response, METRICS_STATUS_OK, true, bytes_of_text("a 1\n"));
    buffer_append_u8(&response, 0);
    assert_non_null(strstr((char *)response.data, "Content-Length: 4\r\n"));
    assert_null(strstr((char *)response.data, "a 1"));
    buffer_reset(&response);
    metrics_response(&response, METRICS_STATUS_METHOD_NOT_ALLOWED, false, (struct bytes){0});
    buffer_append_u8(&response, 0);
    assert_string_equal((char *)response.data,
                        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"
                        "Content-Length: 0\r\nConnection: close\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(too_large),
        cmocka_unit_test(nul),
        cmocka_unit_test(responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
