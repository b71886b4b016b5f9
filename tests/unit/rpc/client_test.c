#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "lib/base/text.h"
#include "lib/rpc/client.h"
#include "tests/unit/rpc/raw_http2.h"

enum { TIMEOUT_MS = 10000 };

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" has no \"%s\"", text, part);
    }
}

static struct rpc_client *connect_to(const char *path, uint64_t timeout_ms)
{
    struct rpc_client *client;
    struct error err;
    if (rpc_client_connect(path, timeout_ms, &client, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return client;
}

static int call(struct rpc_client *client, const char *method, const char *service,
                const ProtobufCMessageDescriptor *response, struct error *err)
{
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    ProtobufCMessage *message;
    request.service = (char *)service;
    TRY(rpc_client_call(client, method, &request.base, response, &message, err));
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

static int check(struct rpc_client *client, struct error *err)
{
    return call(client, "/toy.Toy/Check", "", &health__health_check_response__descriptor, err);
}

static void test_calls(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    struct error err;
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(check(client, &err), 0);
    }
    assert_int_equal(call(client, "/toy.Toy/Fail", "5 f\xc3\xbcr 100%",
                          &health__health_check_response__descriptor, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_string_equal(err.text, "f\xc3\xbcr 100%");
    assert_int_equal(
        call(client, "/toy.Toy/Nothing", "", &health__health_check_response__descriptor, &err), -1);
    assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
    assert_int_equal(check(client, &err), 0);
}

static void test_metadata(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    struct error err;
    rpc_client_set_metadata(client, "x-other", "other");
    rpc_client_set_metadata(client, "x-refuse", "first");
    rpc_client_set_metadata(client, "x-refuse", "second");
    assert_int_equal(check(client, &err), -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_string_equal(err.text, "refused: second");
}

static void test_stream(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 10, 70000, 300000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
        toy->big_bytes = sizes[i];
        toy->big_count = 20;
        toy_start_thread(toy);
        _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
            connect_to(toy->path, TIMEOUT_MS);
        Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        ProtobufCMessage *message;
        struct error err;
        size_t count = 0;
        int more;
        assert_int_equal(rpc_client_stream(client, "/toy.Toy/Big", &request.base, &err), 0);
        while ((more = rpc_client_next(client, &workload__x509_bundles_response__descriptor,
                                       &message, &err)) == 1) {
            const Workload__X509BundlesResponse *response =
                (const Workload__X509BundlesResponse *)message;
            assert_int_equal(response->n_crl, 1);
            assert_int_equal(response->crl[0].len, sizes[i]);
            if (sizes[i] > 0) {
                assert_int_equal(response->crl[0].data[sizes[i] - 1], 'a' + count % 26);
            }
            protobuf_c_message_free_unpacked(message, NULL);
            count++;
        }
        assert_int_equal(more, 0);
        assert_int_equal(count, 20);
        assert_int_equal(check(client, &err), 0);
    }
}

/* A new call takes the place of a stream that goes on; the server sees it cancelled. */
static void test_a_call_cancels_the_stream(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy_start_thread(toy);
    struct rpc_client *client = connect_to(toy->path, TIMEOUT_MS);
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    struct error err;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(rpc_client_stream(client, "/toy.Toy/Hold", &request.base, &err), 0);
        assert_int_equal(check(client, &err), 0);
    }
    assert_int_equal(rpc_client_stream(client, "/toy.Toy/Hold", &request.base, &err), 0);
    rpc_client_free(client);
}

static void test_timeout(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = connect_to(toy->path, 50);
    Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
    ProtobufCMessage *message;
    struct error err;
    assert_int_equal(
        call(client, "/toy.Toy/Hold", "", &health__health_check_response__descriptor, &err), -1);
    assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
    assert_int_equal(rpc_client_stream(client, "/toy.Toy/Hold", &request.base, &err), 0);
    assert_int_equal(
        rpc_client_next(client, &health__health_check_response__descriptor, &message, &err), -1);
    assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
    assert_has(err.text, "50 ms");
}

static void test_wrong_answer(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy->big_bytes = 3;
    toy->big_count = 2;
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    struct error err;
    assert_int_equal(
        call(client, "/toy.Toy/Big", "", &workload__x509_bundles_response__descriptor, &err), -1);
    assert_has(err.text, "more than one message");
    assert_int_equal(
        call(client, "/toy.Toy/Secret", "", &health__health_check_response__descriptor, &err), -1);
    assert_has(err.text, "not a valid grpc.health.v1.HealthCheckResponse");
    assert_int_equal(
        call(client, "/toy.Toy/Secret", "", &workload__jwtsvidresponse__descriptor, &err), 0);
}

static void test_server_stops(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    struct error err;
    assert_int_equal(
        call(client, "/toy.Toy/Stop", "", &health__health_check_response__descriptor, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_string_equal(err.text, "stopped from inside");
    assert_int_equal(check(client, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_has(err.text, "stopped from inside");
}

static void test_refused(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    toy->refuses_peers = true;
    toy_start_thread(toy);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    struct error err;
    assert_int_equal(check(client, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_has(err.text, "too many connections of uid 7");
}

static void test_connect_errors(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(free_cleanup) char *missing = text_format("%s/missing.sock", toy->folder);
    _cleanup_(free_cleanup) char *dead = text_format("%s/dead.sock", toy->folder);
    _cleanup_(free_cleanup) char *not_a_socket = text_format("%s/file", toy->folder);
    char too_long[200];
    memset(too_long, 'x', sizeof(too_long));
    too_long[sizeof(too_long) - 1] = '\0';
    assert_int_equal(close(toy_listen(dead)), 0);
    FILE *file = fopen(not_a_socket, "w");
    assert_non_null(file);
    (void)fclose(file);
    const struct {
        const char *path;
        enum error_code code;
        const char *part;
    } rows[] = {
        {missing, ERROR_UNAVAILABLE, "is signetd running"},
        {dead, ERROR_UNAVAILABLE, "is signetd running"},
        {not_a_socket, ERROR_UNAVAILABLE, "is signetd running"},
        {too_long, ERROR_INVALID_ARGUMENT, "107 bytes"},
        {"", ERROR_INVALID_ARGUMENT, "1 to"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rpc_client *client;
        struct error err;
        assert_int_equal(rpc_client_connect(rows[i].path, TIMEOUT_MS, &client, &err), -1);
        assert_int_equal(err.code, rows[i].code);
        assert_has(err.text, rows[i].part);
        assert_has(err.text, rows[i].path);
    }
    (void)unlink(dead);
    (void)unlink(not_a_socket);
}

static void test_no_permission(void **state)
{
    (void)state;
    struct rpc_client *client;
    struct error err;
    if (geteuid() != 0) {
        skip();
    }
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    assert_int_equal(chmod(toy->folder, 0755), 0);
    assert_int_equal(chmod(toy->path, 0600), 0);
    assert_int_equal(seteuid(65534), 0);
    int result = rpc_client_connect(toy->path, TIMEOUT_MS, &client, &err);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_has(err.text, "as root");
}

/* A server that answers whatever comes with the same bytes, once, and closes. */
struct fake {
    int listener;
    const struct buffer *answer;
    bool stays; /* open until the client closes */
};

static void fake_serve(void *user)
{
    struct fake *fake = user;
    char input[4096];
    int descriptor = accept(fake->listener, NULL, NULL);
    (void)recv(descriptor, input, sizeof(input), 0);
    (void)send(descriptor, fake->answer->data, fake->answer->size, MSG_NOSIGNAL);
    while (fake->stays && recv(descriptor, input, sizeof(input), 0) > 0) {
    }
    (void)close(descriptor);
}

static void answer_nothing(struct buffer *to)
{
    buffer_reset(to);
}

static void answer_http1(struct buffer *to)
{
    buffer_append_text(to, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static void answer_short(struct buffer *to)
{
    raw_frame(to, FRAME_SETTINGS, 0, 0, NULL, 0);
}

static void answer_with(struct buffer *to, const struct raw_field *fields, const char *body,
                        size_t size)
{
    _cleanup_(buffer_clear) struct buffer block = {0};
    raw_frame(to, FRAME_SETTINGS, 0, 0, NULL, 0);
    for (const struct raw_field *field = fields; field->name; field++) {
        raw_header(&block, field->name, field->value);
    }
    raw_frame(to, FRAME_HEADERS, FLAG_END_HEADERS | (size ? 0 : FLAG_END_STREAM), 1, block.data,
              block.size);
    if (size > 0) {
        raw_frame(to, FRAME_DATA, FLAG_END_STREAM, 1, body, size);
    }
}

static void answer_web_page(struct buffer *to)
{
    const struct raw_field fields[] = {
        {":status", "200"}, {"content-type", "text/html"}, {NULL, NULL}};
    answer_with(to, fields, "\0\0\0\0\0<html>", 11);
}

static void answer_404(struct buffer *to)
{
    const struct raw_field fields[] = {{":status", "404"}, {NULL, NULL}};
    answer_with(to, fields, NULL, 0);
}

static void answer_no_status(struct buffer *to)
{
    const struct raw_field fields[] = {
        {":status", "200"}, {"content-type", "application/grpc"}, {NULL, NULL}};
    answer_with(to, fields, "\0\0\0\0\0", 5);
}

static void answer_no_message(struct buffer *to)
{
    const struct raw_field fields[] = {{":status", "200"},
                                       {"content-type", "application/grpc"},
                                       {"grpc-status", "0"},
                                       {NULL, NULL}};
    answer_with(to, fields, NULL, 0);
}

static void answer_odd_status(struct buffer *to)
{
    const struct raw_field fields[] = {{":status", "200"},
                                       {"content-type", "application/grpc"},
                                       {"grpc-status", "77"},
                                       {"grpc-message", "a%0Ab%1B[31m"},
                                       {NULL, NULL}};
    answer_with(to, fields, NULL, 0);
}

static void answer_too_large(struct buffer *to)
{
    const struct raw_field fields[] = {
        {":status", "200"}, {"content-type", "application/grpc"}, {NULL, NULL}};
    answer_with(to, fields, "\0\x7f\0\0\0x", 6);
}

static void answer_compressed(struct buffer *to)
{
    const struct raw_field fields[] = {
        {":status", "200"}, {"content-type", "application/grpc"}, {NULL, NULL}};
    answer_with(to, fields, "\1\0\0\0\0", 5);
}

static void answer_not_protobuf(struct buffer *to)
{
    const struct raw_field fields[] = {
        {":status", "200"}, {"content-type", "application/grpc"}, {NULL, NULL}};
    answer_with(to, fields, "\0\0\0\0\2\xff\xff", 7);
}

static void answer_reset(struct buffer *to)
{
    raw_frame(to, FRAME_SETTINGS, 0, 0, NULL, 0);
    raw_frame(to, FRAME_RST_STREAM, 0, 1, "\0\0\0\7", 4);
}

static const struct {
    void (*make)(struct buffer *to);
    enum error_code code;
    const char *part;
} answers[] = {
    {answer_nothing, ERROR_UNAVAILABLE, "does not speak gRPC"},
    {answer_http1, ERROR_UNAVAILABLE, "does not speak gRPC"},
    {answer_short, ERROR_UNAVAILABLE, "closed"},
    {answer_web_page, ERROR_UNKNOWN, "HTTP status 200"},
    {answer_404, ERROR_UNIMPLEMENTED, "HTTP status 404"},
    {answer_no_status, ERROR_INTERNAL, "without a status"},
    {answer_no_message, ERROR_INTERNAL, "no message"},
    {answer_odd_status, ERROR_UNKNOWN, "a?b?[31m"},
    {answer_too_large, ERROR_RESOURCE_EXHAUSTED, "2130706432"},
    {answer_compressed, ERROR_UNIMPLEMENTED, "compressed"},
    {answer_not_protobuf, ERROR_INTERNAL, "not a valid"},
    {answer_reset, ERROR_UNAVAILABLE, "REFUSED_STREAM"},
};

static void test_servers_that_are_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(answers); i++) {
        char folder[] = "/tmp/signet-rpc-XXXXXX";
        assert_non_null(mkdtemp(folder));
        _cleanup_(free_cleanup) char *path = text_format("%s/fake.sock", folder);
        _cleanup_(buffer_clear) struct buffer answer = {0};
        struct fake fake = {toy_listen(path), &answer, i % 2 == 1};
        uv_thread_t thread;
        struct error err;
        answers[i / 2].make(&answer);
        bool is_whole =
            answers[i / 2].make != answer_nothing && answers[i / 2].make != answer_short;
        fake.stays = fake.stays && is_whole;
        assert_int_equal(uv_thread_create(&thread, fake_serve, &fake), 0);
        struct rpc_client *client = connect_to(path, TIMEOUT_MS);
        assert_int_equal(check(client, &err), -1);
        assert_int_equal(err.code, answers[i / 2].code);
        assert_has(err.text, answers[i / 2].part);
        rpc_client_free(client);
        assert_int_equal(uv_thread_join(&thread), 0);
        (void)close(fake.listener);
        (void)unlink(path);
        (void)rmdir(folder);
    }
}

static void test_next_without_a_call(void **state)
{
    (void)state;
    _cleanup_(toy_free_cleanup) struct toy *toy = toy_new(NULL);
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client =
        connect_to(toy->path, TIMEOUT_MS);
    ProtobufCMessage *message;
    struct error err;
    assert_int_equal(
        rpc_client_next(client, &health__health_check_response__descriptor, &message, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

static int setup(void **state)
{
    (void)state;
    return secret_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_a_call_cancels_the_stream),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_wrong_answer),
        cmocka_unit_test(test_server_stops),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_errors),
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_servers_that_are_none),
        cmocka_unit_test(test_next_without_a_call),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
