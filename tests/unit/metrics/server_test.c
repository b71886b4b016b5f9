#include "agent/metrics/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { LARGE_BYTES = 8 << 20, PATIENCE_MS = 20000 };

struct fixture {
    uv_loop_t loop;
    char folder[64];
    char *path, *listen;
    struct metrics_server *server;
    unsigned collected;
    bool is_large, is_stopped;
};

static void collect(void *user, struct buffer *ret_text)
{
    struct fixture *fixture = user;
    fixture->collected++;
    metric_sample(ret_text, "up", "", NULL, 1);
    while (fixture->is_large && ret_text->size < LARGE_BYTES) {
        metric_sample(ret_text, "up", "", NULL, 1);
    }
}

static void stopped(void *user)
{
    ((struct fixture *)user)->is_stopped = true;
}

static void fixture_open(struct fixture *fixture)
{
    struct error error;
    *fixture = (struct fixture){.folder = "/tmp/signet-metrics.XXXXXX"};
    assert_non_null(mkdtemp(fixture->folder));
    fixture->path = text_format("%s/metrics.sock", fixture->folder);
    fixture->listen = text_format("unix:%s", fixture->path);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    if (metrics_server_new(&fixture->loop, fixture->listen, collect, fixture, &fixture->server,
                           &error) < 0) {
        fail_msg("%s", error.text);
    }
}

static void fixture_close(struct fixture *fixture)
{
    metrics_server_stop(fixture->server, stopped, fixture);
    assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    assert_true(fixture->is_stopped);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture->path);
    free(fixture->listen);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(descriptor, F_SETFL, O_NONBLOCK), 0);
    return descriptor;
}

/* Lets the server run, and reads what it answers until it closes; closes too. */
static char *read_answer(struct fixture *fixture, int descriptor)
{
    struct buffer answer = {0};
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    for (;;) {
        char chunk[65536];
        struct pollfd ready = {.fd = descriptor, .events = POLLIN};
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        (void)poll(&ready, 1, 1);
        ssize_t count = recv(descriptor, chunk, sizeof(chunk), 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) {
            break;
        }
        if (count > 0) {
            buffer_append(&answer, chunk, (size_t)count);
        }
        if (clock_monotonic_ms() > end_ms) {
            fail_msg("the server did not end the connection");
        }
    }
    (void)close(descriptor);
    buffer_append_u8(&answer, 0);
    return (char *)answer.data;
}

static char *ask(struct fixture *fixture, const char *request)
{
    int descriptor = connect_to(fixture->path);
    assert_int_equal(send(descriptor, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return read_answer(fixture, descriptor);
}

static void expect_begin(const char *answer, const char *begin)
{
    if (strncmp(answer, begin, strlen(begin)) != 0) {
        fail_msg("'%.200s' does not begin with '%s'", answer, begin);
    }
}

static const char get[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/* Lets the server run until it has closed the connection, however much of its answer is unread. */
static void wait_until_closed(struct fixture *fixture, int descriptor)
{
    struct pollfd ready = {.fd = descriptor};
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!(ready.revents & POLLHUP)) {
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        (void)poll(&ready, 1, 1);
        assert_true(clock_monotonic_ms() < end_ms);
    }
}

static void serves(void **state)
{
    (void)state;
    static const struct {
        const char *request, *begin;
        unsigned collected;
    } cases[] = {
        {get, "HTTP/1.1 200 OK\r\n", 1},
        {"HEAD /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", 2},
        {"GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", 2},
        {"PUT /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n",
         2},
        {"GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", 2},
        {"nonsense\r\n", "HTTP/1.1 400 Bad Request\r\n", 2},
    };
    struct fixture fixture;
    fixture_open(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *answer = ask(&fixture, cases[i].request);
        expect_begin(answer, cases[i].begin);
        assert_non_null(strstr(answer, "\r\nConnection: close\r\n\r\n"));
        assert_int_equal(fixture.collected, cases[i].collected);
    }
    _cleanup_(free_cleanup) char *answer = ask(&fixture, get);
    assert_non_null(strstr(answer, "\r\n\r\nup 1\n"));
    fixture_close(&fixture);
}

/* An answer reaches who sent more than was wanted, and only so much more is taken. */
static void too_large(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    _cleanup_(buffer_clear) struct buffer request = {0};
    buffer_append_text(&request, "GET /metrics HTTP/1.1\r\nX: ");
    while (request.size < METRICS_REQUEST_MAX_BYTES + 2000) {
        buffer_append_u8(&request, 'x');
    }
    buffer_append_u8(&request, 0);
    _cleanup_(free_cleanup) char *answer = ask(&fixture, (const char *)request.data);
    expect_begin(answer, "HTTP/1.1 431 ");
    fixture_close(&fixture);
}

static void large_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    fixture.is_large = true;
    _cleanup_(free_cleanup) char *answer = ask(&fixture, get);
    assert_in_range(strlen(answer), LARGE_BYTES, LARGE_BYTES + 1024);
    fixture_close(&fixture);
}

/* Who asks byte by byte, not at all, or does not take the answer, ends in time; more than there are
 * places wait for theirs; and the server serves on. */
static void slow_clients(void **state)
{
    (void)state;
    enum { SILENT = 5, HALF = 6, GREEDY = 5 };
    struct fixture fixture;
    int slow[METRICS_CONNECTIONS_MAX];
    fixture_open(&fixture);
    fixture.is_large = true;
    uint64_t begin_ms = clock_monotonic_ms();
    for (size_t i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
        slow[i] = connect_to(fixture.path);
        if (i >= SILENT) {
            const char *request = i < SILENT + HALF ? "GET /met" : get;
            assert_true(send(slow[i], request, strlen(request), MSG_NOSIGNAL) > 0);
        }
        (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
    }
    while (fixture.collected < GREEDY) {
        (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
    }
    fixture.is_large = false;
    _cleanup_(free_cleanup) char *answer = ask(&fixture, get);
    expect_begin(answer, "HTTP/1.1 200 OK\r\n");
    assert_in_range(clock_monotonic_ms() - begin_ms, METRICS_STALL_MS - 100,
                    METRICS_STALL_MS + 5000);
    for (size_t i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
        if (i >= SILENT + HALF) {
            wait_until_closed(&fixture, slow[i]);
        }
        _cleanup_(free_cleanup) char *late = read_answer(&fixture, slow[i]);
        expect_begin(late, i < SILENT          ? ""
                           : i < SILENT + HALF ? "HTTP/1.1 408 Request Timeout\r\n"
                                               : "HTTP/1.1 200 OK\r\n");
        assert_true(i >= SILENT || late[0] == '\0');
        assert_true(strlen(late) < LARGE_BYTES);
    }
    fixture_close(&fixture);
}

static void stops_while_asked(void **state)
{
    (void)state;
    struct fixture fixture;
    int descriptors[3 * METRICS_CONNECTIONS_MAX];
    fixture_open(&fixture);
    fixture.is_large = true;
    for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
        descriptors[i] = connect_to(fixture.path);
        if (i % 2) {
            assert_true(send(descriptors[i], get, strlen(get), MSG_NOSIGNAL) > 0);
        }
        if (i % 3) {
            (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
        }
    }
    fixture_close(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
        (void)close(descriptors[i]);
    }
}

static void abrupt_clients(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (size_t i = 0; i < 200; i++) {
        int descriptor = connect_to(fixture.path);
        (void)send(descriptor, get, i % sizeof(get), MSG_NOSIGNAL);
        if (i % 2) {
            (void)shutdown(descriptor, SHUT_WR);
            (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
        }
        (void)close(descriptor);
        (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
    }
    _cleanup_(free_cleanup) char *answer = ask(&fixture, get);
    expect_begin(answer, "HTTP/1.1 200 OK\r\n");
    fixture_close(&fixture);
}

static void places(void **state)
{
    (void)state;
    struct fixture fixture;
    struct stat status;
    struct error error;
    struct metrics_server *other = NULL;
    fixture_open(&fixture);
    assert_int_equal(stat(fixture.path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0660);
    /* One that is served is not taken over; one that a dead process left is. */
    assert_int_equal(
        metrics_server_new(&fixture.loop, fixture.listen, collect, &fixture, &other, &error), -1);
    assert_non_null(strstr(error.text, "already in use"));
    fixture_close(&fixture);

    fixture_open(&fixture);
    _cleanup_(free_cleanup) char *stale = text_format("%s.stale", fixture.path);
    assert_int_equal(rename(fixture.path, stale), 0);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture.path);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)close(dead);
    assert_int_equal(
        metrics_server_new(&fixture.loop, fixture.listen, collect, &fixture, &other, &error), 0);
    bool is_stopped_before = fixture.is_stopped;
    metrics_server_stop(other, stopped, &fixture);
    while (!fixture.is_stopped) {
        (void)uv_run(&fixture.loop, UV_RUN_ONCE);
    }
    fixture.is_stopped = is_stopped_before;
    assert_int_equal(unlink(stale), 0);
    fixture_close(&fixture);
}

static void loopback_port(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct metrics_server *other = NULL;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int held = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(held, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(held, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(held, 1), 0);
    _cleanup_(free_cleanup) char *port = text_format("127.0.0.1:%d", ntohs(address.sin_port));
    fixture_open(&fixture);
    assert_int_equal(metrics_server_new(&fixture.loop, port, collect, &fixture, &other, &error),
                     -1);
    assert_non_null(strstr(error.text, "in use"));
    (void)close(held);
    assert_int_equal(metrics_server_new(&fixture.loop, port, collect, &fixture, &other, &error), 0);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, size), 0);
    assert_int_equal(fcntl(descriptor, F_SETFL, O_NONBLOCK), 0);
    /* More than is read before the answer, whose end must not be lost to a reset. */
    _cleanup_(buffer_clear) struct buffer request = {0};
    buffer_append_text(&request, get);
    memset(buffer_extend(&request, 11000), 'x', 11000);
    fixture.is_large = true;
    assert_int_equal(send(descriptor, request.data, request.size, MSG_NOSIGNAL), request.size);
    _cleanup_(free_cleanup) char *answer = read_answer(&fixture, descriptor);
    assert_in_range(strlen(answer), LARGE_BYTES, LARGE_BYTES + 1024);
    metrics_server_stop(other, stopped, &fixture);
    while (!fixture.is_stopped) {
        (void)uv_run(&fixture.loop, UV_RUN_ONCE);
    }
    fixture.is_stopped = false;
    fixture_close(&fixture);
}

static void checks(void **state)
{
    (void)state;
    static const struct {
        const char *listen;
        bool is_fine;
    } cases[] = {
        {"unix:/run/signet/metrics.sock", true},
        {"127.0.0.1:9090", true},
        {"[::1]:9090", true},
        {"unix:metrics.sock", false},
        {"unix:/", false},
        {"unix:", false},
        {"", false},
        {"/run/x", false},
        {"127.0.0.1", false},
        {"127.0.0.1:", false},
        {"127.0.0.1:0", false},
        {"127.0.0.1:65536", false},
        {"127.0.0.1:90x", false},
        {"0.0.0.0:9090", false},
        {"localhost:9090", false},
        {":9090", false},
        {"9090", false},
        {"::1:9090", false},
        {"tcp:127.0.0.1:9090", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        int result = metrics_listen_check(cases[i].listen, &error);
        if ((result == 0) != cases[i].is_fine ||
            (result < 0 &&
             (error.code != ERROR_INVALID_ARGUMENT || !strstr(error.text, "expected")))) {
            fail_msg("%s: %d %s", cases[i].listen, result, error.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves),         cmocka_unit_test(too_large),
        cmocka_unit_test(large_answer),   cmocka_unit_test(slow_clients),
        cmocka_unit_test(abrupt_clients), cmocka_unit_test(stops_while_asked),
        cmocka_unit_test(places),         cmocka_unit_test(loopback_port),
        cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
