#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/child_begin.h"
#include "tests/unit/rpc/raw_http2.h"

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" has no \"%s\"", text, part);
    }
}

/* What gRPC libraries send over unix sockets (NULL: nothing at all), and worse. */
static const char *const authorities[] = {
    "localhost",
    NULL,
    "",
    "%2Ftmp%2Fx.sock",
    "tmp%2Fx.sock",
    "/run/signet/api.sock",
    "unix:/run/signet/api.sock",
    "unix:///run/signet/api.sock",
    "unix-abstract:name",
    "passthrough:///unix:///run/x.sock",
    "localhost:80",
    "[::1]:80",
    "dummy virtual host",
    "a@b?c#d\\e^f`{|}\"<>",
    "f\xc3\xbcr",
};

static void test_any_authority(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(authorities); i++) {
        _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        const struct raw_field fields[] = {{":authority", authorities[i]}, {NULL, NULL}};
        raw_preface(&bytes);
        raw_request(&bytes, 1, "/toy.Toy/Check", "", fields);
        assert_true(raw_write(raw, &bytes));
        assert_true(raw_wait_status(raw));
        assert_string_equal(raw->status, "0");
    }
}

/* As some clients do: both, or host alone. */
static void test_host_header(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    const struct raw_field alone[] = {{":authority", NULL}, {"host", "/x y"}, {NULL, NULL}};
    const struct raw_field both[] = {{"host", ""}, {NULL, NULL}};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", alone);
    raw_request(&bytes, 3, "/toy.Toy/Check", "", both);
    assert_true(raw_write(raw, &bytes));
    while (raw->ended_stream != 3 && raw_wait_status(raw)) {
    }
    assert_int_equal(toy->handled_count, 2);
}

/* Requests with one DATA frame of body that is judged by its headers. */
static const struct {
    const char *path;
    struct raw_field field; /* one header that differs; no name: none */
    const char *http_status;
    const char *status;
    const char *part; /* of grpc-message */
} by_headers[] = {
    {"/toy.Toy/Check", {NULL, NULL}, "200", "0", ""},
    {"/toy.Toy/Check", {"content-type", "application/grpc+proto"}, "200", "0", ""},
    {"/toy.Toy/Check", {"content-type", "application/grpc;charset=utf-8"}, "200", "0", ""},
    {"/toy.Toy/Check", {"content-type", "Application/GRPC"}, "200", "0", ""},
    {"/toy.Toy/Check", {"te", NULL}, "200", "0", ""},
    {"/toy.Toy/Check", {":scheme", "https"}, "200", "0", ""},
    {"/toy.Toy/Check", {"grpc-encoding", "identity"}, "200", "0", ""},
    {"/toy.Toy/Check", {"grpc-accept-encoding", "gzip, deflate"}, "200", "0", ""},
    {"/toy.Toy/Check", {"grpc-timeout", "99999999H"}, "200", "0", ""},
    {"/toy.Toy/Check", {"grpc-timeout", "1000m"}, "200", "0", ""},
    {"/toy.Toy/Check", {"content-type", "application/json"}, "415", "3", "application/json"},
    {"/toy.Toy/Check", {"content-type", "application/grpc-web"}, "415", "3", "grpc-web"},
    {"/toy.Toy/Check", {"content-type", NULL}, "415", "3", "content-type"},
    {"/toy.Toy/Check", {"content-type", "application/grpc+json"}, "200", "12", "json"},
    {"/toy.Toy/Check", {":method", "GET"}, "405", "13", "GET"},
    {"/toy.Toy/Check", {"te", "gzip"}, "200", "13", "te"},
    {"/toy.Toy/Check", {"grpc-encoding", "gzip"}, "200", "12", "compressed"},
    {"/toy.Toy/Check", {"grpc-timeout", "1"}, "200", "13", "grpc-timeout"},
    {"/toy.Toy/Check", {"grpc-timeout", "S"}, "200", "13", "grpc-timeout"},
    {"/toy.Toy/Check", {"grpc-timeout", "100000000S"}, "200", "13", "grpc-timeout"},
    {"/toy.Toy/Check", {"grpc-timeout", "-1S"}, "200", "13", "grpc-timeout"},
    {"/toy.Toy/Check", {"x-refuse", "you"}, "200", "7", "refused: you"},
    {"/toy.Toy/Nothing", {NULL, NULL}, "200", "12", "no such method"},
    {"/toy.Toy/Known", {NULL, NULL}, "200", "12", "not offered"},
    {"/toy.Toys/Check", {NULL, NULL}, "200", "12", "no such service"},
    {"/toy.Toy/Check/", {NULL, NULL}, "200", "12", ""},
    {"/toy.Toy", {NULL, NULL}, "200", "12", ""},
    {"//", {NULL, NULL}, "200", "12", ""},
    {"/", {NULL, NULL}, "200", "12", ""},
    {"*", {NULL, NULL}, "200", "12", ""},
    {"/toy.Toy/Check%20%25", {NULL, NULL}, "200", "12", "%2520%2525"},
};

static void test_requests_judged_by_headers(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(by_headers); i++) {
        _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        const struct raw_field fields[] = {by_headers[i].field, {NULL, NULL}};
        raw_preface(&bytes);
        raw_request(&bytes, 1, by_headers[i].path, "", fields);
        assert_true(raw_write(raw, &bytes));
        assert_true(raw_wait_status(raw));
        assert_string_equal(raw->status, by_headers[i].status);
        assert_string_equal(raw->http_status, by_headers[i].http_status);
        assert_string_equal(raw->encoding, "identity");
        assert_has(raw->message, by_headers[i].part);
        /* Errors are one frame: headers and status together. */
        assert_int_equal(raw->frame_counts[FRAME_HEADERS], by_headers[i].status[0] == '0' ? 2 : 1);
    }
}

/* Not HTTP/2: the stream is reset, the connection lives. */
static const struct raw_field malformed[] = {
    {"Upper-Case", "x"}, {":unknown", "x"},   {"connection", "close"},
    {"bad name", "x"},   {"x-bad", "a\nb"},   {"", "x"},
    {"upgrade", "h2c"},  {":path", "/again"}, {"transfer-encoding", "chunked"},
};

static void test_malformed_headers(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(malformed); i++) {
        _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
        _cleanup_(buffer_clear) struct buffer bytes = {0};
        _cleanup_(buffer_clear) struct buffer block = {0};
        raw_preface(&bytes);
        raw_block(&block, "/toy.Toy/Check", NULL);
        raw_header(&block, malformed[i].name, malformed[i].value);
        raw_frame(&bytes, FRAME_HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, 1, block.data,
                  block.size);
        raw_request(&bytes, 3, "/toy.Toy/Check", "", NULL);
        assert_true(raw_write(raw, &bytes));
        assert_true(raw_wait_status(raw));
        assert_string_equal(raw->status, "0");
        assert_int_equal(raw->reset_stream, 1);
        assert_int_equal(raw->reset_code, NGHTTP2_PROTOCOL_ERROR);
    }
    assert_int_equal(toy->handled_count, ARRAY_SIZE(malformed));
}

/* Bodies, each in one DATA frame with the end of the stream. */
static const struct {
    const char *body;
    size_t size;
    const char *status;
    const char *part;
} by_body[] = {
    {"\0\0\0\0\0", 5, "0", ""},
    {"\0\0\0\0\2\x0a\0", 7, "0", ""},
    {"", 0, "12", "no message"},
    {"\0\0\0", 3, "13", "middle"},
    {"\0\0\0\0\5abc", 8, "13", "middle"},
    {"\1\0\0\0\0", 5, "12", "compressed"},
    {"\0\0\0\0\2\xff\xff", 7, "13", "grpc.health.v1.HealthCheckRequest"},
    {"\0\0\0\0\0\0\0\0\0\0", 10, "12", "more than one"},
    {"\0\0\0\0\0x", 6, "12", "more than one"},
    {"\0\0\x20\0\0", 5, "8", "2097152"},
    {"\0\xff\xff\xff\xff", 5, "8", "4294967295"},
};

static void test_requests_judged_by_body(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(by_body); i++) {
        for (size_t piece = 1; piece <= 16; piece += 15) {
            _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
            _cleanup_(buffer_clear) struct buffer bytes = {0};
            raw_preface(&bytes);
            raw_headers(&bytes, 1, 0, "/toy.Toy/Check", NULL);
            for (size_t at = 0; at < by_body[i].size; at += piece) {
                raw_frame(&bytes, FRAME_DATA, 0, 1, by_body[i].body + at,
                          MIN(piece, by_body[i].size - at));
            }
            raw_frame(&bytes, FRAME_DATA, FLAG_END_STREAM, 1, NULL, 0);
            assert_true(raw_write(raw, &bytes));
            assert_true(raw_wait_status(raw));
            assert_string_equal(raw->status, by_body[i].status);
            assert_has(raw->message, by_body[i].part);
        }
    }
}

/* A request whose end is in its headers, or in trailers of its own. */
static void test_ends_without_data(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(buffer_clear) struct buffer block = {0};
    raw_preface(&bytes);
    raw_headers(&bytes, 1, FLAG_END_STREAM, "/toy.Toy/Check", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "12");

    buffer_reset(&bytes);
    raw_headers(&bytes, 3, 0, "/toy.Toy/Check", NULL);
    raw_frame(&bytes, FRAME_DATA, 0, 3, "\0\0\0\0\0", 5);
    raw_header(&block, "x-trailer", "value");
    raw_frame(&bytes, FRAME_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS, 3, block.data, block.size);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}

static void test_headers_too_large(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    _cleanup_(buffer_clear) struct buffer block = {0};
    _cleanup_(free_cleanup) char *value = memory_new(15001);
    memset(value, 'v', 15000);
    raw_preface(&bytes);
    raw_block(&block, "/toy.Toy/Check", NULL);
    raw_header(&block, "x-one", value);
    raw_frame(&bytes, FRAME_HEADERS, FLAG_END_HEADERS, 1, block.data, block.size);
    raw_frame(&bytes, FRAME_DATA, FLAG_END_STREAM, 1, "\0\0\0\0\0", 5);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");

    buffer_reset(&bytes);
    raw_frame(&bytes, FRAME_HEADERS, 0, 3, block.data, block.size);
    buffer_reset(&block);
    raw_header(&block, "x-two", value);
    raw_frame(&bytes, FRAME_CONTINUATION, FLAG_END_HEADERS, 3, block.data, block.size);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "8");
    assert_has(raw->message, "headers");

    /* The connection goes on. */
    buffer_reset(&bytes);
    raw_request(&bytes, 5, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "0");
}

/* An answer that does not wait for the request tells the client to stop sending. */
static void test_early_answer_resets(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_headers(&bytes, 1, 0, "/toy.Toy/Nothing", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "12");
    assert_int_equal(raw->reset_stream, 1);
    assert_int_equal(raw->reset_code, NGHTTP2_NO_ERROR);
    assert_int_equal(rpc_server_call_count(toy->server), 0);
}

static void test_metadata(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    const struct raw_field fields[] = {
        {"x-test-not", "a"}, {"x-test", "first"}, {"x-test", "second"}, {NULL, NULL}};
    const struct raw_field empty[] = {{"x-test", ""}, {NULL, NULL}};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", fields);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(toy->metadata, "first");
    buffer_reset(&bytes);
    raw_request(&bytes, 3, "/toy.Toy/Check", "", empty);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(toy->metadata, "");
}

/* A handler's status, with a text that has to be escaped. */
static void test_status_text(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Fail", "7 f\xc3\xbcr 100%", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    assert_string_equal(raw->status, "7");
    assert_string_equal(raw->message, "f%C3%BCr 100%25");
    assert_int_equal(raw->frame_counts[FRAME_HEADERS], 1);
}

/* Everything of a first answer is one write: one read gets it all. */
static void test_reply_is_one_write(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_int_equal(send(raw->descriptor, bytes.data, bytes.size, MSG_NOSIGNAL), bytes.size);
    (void)uv_run(&toy->loop, UV_RUN_ONCE);
    raw_read(raw);
    assert_int_equal(raw->frame_counts[FRAME_SETTINGS], 2);
    assert_int_equal(raw->frame_counts[FRAME_DATA], 1);
    assert_string_equal(raw->status, "0");
}

static void test_refused_peer_is_told_why(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    toy->refuses_peers = true;
    raw_preface(&bytes);
    (void)raw_write(raw, &bytes);
    assert_true(raw_wait_closed(raw));
    assert_int_equal(raw->frame_counts[FRAME_SETTINGS], 1);
    assert_string_equal(raw->goaway_text, "too many connections of uid 7");
    assert_int_equal(toy->gone_count, 0);
    assert_int_equal(rpc_server_connection_count(toy->server), 0);
}

static void test_connection_limit(void **state)
{
    (void)state;
    const struct rpc_limits limits = {.connections = 2};
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(&limits);
    _cleanup_(raw_close_cleanup) struct raw *first = raw_open(toy);
    _cleanup_(raw_close_cleanup) struct raw *second = raw_open(toy);
    _cleanup_(raw_close_cleanup) struct raw *third = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    assert_true(raw_wait_closed(third));
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(second, &bytes));
    assert_true(raw_wait_status(second));
    assert_false(raw_is_closed(first));
}

/* As while the agent starts a process: closing a socket does not take it out of an epoll instance.
 */
static void test_socket_that_a_child_has_too(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(raw_close_cleanup) struct raw *raw = raw_open(toy);
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    raw_preface(&bytes);
    raw_request(&bytes, 1, "/toy.Toy/Check", "", NULL);
    assert_true(raw_write(raw, &bytes));
    assert_true(raw_wait_status(raw));
    const pid_t child = fork();
    if (child == 0) {
        child_begin();
        (void)pause();
        _exit(0);
    }
    assert_int_equal(shutdown(raw->descriptor, SHUT_RDWR), 0);
    assert_serves_others(toy);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_authority),
        cmocka_unit_test(test_socket_that_a_child_has_too),
        cmocka_unit_test(test_host_header),
        cmocka_unit_test(test_requests_judged_by_headers),
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_requests_judged_by_body),
        cmocka_unit_test(test_ends_without_data),
        cmocka_unit_test(test_headers_too_large),
        cmocka_unit_test(test_early_answer_resets),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_status_text),
        cmocka_unit_test(test_reply_is_one_write),
        cmocka_unit_test(test_refused_peer_is_told_why),
        cmocka_unit_test(test_connection_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
