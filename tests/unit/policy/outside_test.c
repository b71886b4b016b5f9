#include "agent/policy/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "tests/unit/policy/http_server.h"

#define OK "HTTP/1.1 200 OK\r\n"
#define LENGTH(bytes) "Content-Length: " #bytes "\r\n\r\n"
#define HEADER "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
#define TRUE_ANSWER OK LENGTH(15) "{\"result\":true}"
#define FALSE_ANSWER OK LENGTH(16) "{\"result\":false}"

static const struct audit_process process = {.pid = 42, .start_time = 7, .executable = "/bin/x"};
static const char *const spiffe_id = "spiffe://example.org/payments/api";

/* An agent's loop with an outside policy at a server. */
struct fixture {
    uv_loop_t loop;
    char folder[64];
    struct http_server *server;
    struct outside_config config;
    struct outside *outside;
};

/* Somebody who asks. */
struct asker {
    struct outside_wait wait;
    unsigned told;
    bool is_allowed;
    char reason[1024];
    uint64_t until_ms;
};

static void told(struct outside_wait *wait, bool is_allowed, const char *reason, uint64_t until_ms)
{
    struct asker *asker = container_of(wait, struct asker, wait);
    asker->told++;
    asker->is_allowed = is_allowed;
    asker->until_ms = until_ms;
    (void)snprintf(asker->reason, sizeof(asker->reason), "%s", reason ? reason : "");
}

static void fixture_open(struct fixture *fixture, uint32_t timeout_ms, uint32_t cache_ms)
{
    struct error error;
    *fixture = (struct fixture){.folder = "/tmp/signet-outside.XXXXXX"};
    assert_non_null(mkdtemp(fixture->folder));
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    fixture->server = NEW(struct http_server);
    _cleanup_(free_cleanup) char *path = text_format("%s/opa.sock", fixture->folder);
    http_server_on_path(fixture->server, path);
    fixture->config = (struct outside_config){.url = text_format("unix://%s", path),
                                              .path = memory_copy_text("signet/allow"),
                                              .timeout_ms = timeout_ms,
                                              .cache_ms = cache_ms};
    text_list_add(&fixture->config.continue_for, "spiffe://example.org/vital/*");
    if (outside_new(&fixture->loop, &fixture->config, &fixture->outside, &error) < 0) {
        fail_msg("%s", error.text);
    }
}

static void fixture_close_outside(struct fixture *fixture)
{
    if (fixture->outside) {
        outside_free(take_ptr(fixture->outside));
        assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    }
}

static void fixture_close(struct fixture *fixture)
{
    fixture_close_outside(fixture);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    http_server_end(fixture->server);
    free(fixture->server);
    (void)unlink(fixture->config.url + strlen("unix://"));
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture->config.url);
    free(fixture->config.path);
    text_list_clear(&fixture->config.continue_for);
}

static void ask_as(struct fixture *fixture, struct asker *asker, const char *id, pid_t pid)
{
    struct audit_process who = process;
    who.pid = pid;
    const struct outside_question question = {
        .action = "use", .spiffe_id = id, .process = &who, .rule = "*"};
    *asker = (struct asker){.wait = {.done = told}};
    outside_ask(fixture->outside, &question, &asker->wait);
}

static void ask(struct fixture *fixture, struct asker *asker)
{
    ask_as(fixture, asker, spiffe_id, 42);
}

static void on_late(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("not told within 20 seconds");
}

static void wait_for(struct fixture *fixture, const struct asker *askers, size_t count)
{
    uv_timer_t timer;
    (void)uv_timer_init(&fixture->loop, &timer);
    (void)uv_timer_start(&timer, on_late, 20000, 0);
    for (size_t i = 0; i < count; i++) {
        while (askers[i].told == 0) {
            (void)uv_run(&fixture->loop, UV_RUN_ONCE);
        }
        assert_int_equal(askers[i].told, 1);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
}

static void ask_and_wait(struct fixture *fixture, struct asker *asker)
{
    ask(fixture, asker);
    wait_for(fixture, asker, 1);
}

static void expect_reason(const struct asker *asker, const char *part)
{
    if (!strstr(asker->reason, part)) {
        fail_msg("the reason is '%s', and says nothing of '%s'", asker->reason, part);
    }
}

static void answers(void **state)
{
    (void)state;
    static const struct {
        enum http_manner manner;
        const char *text;
        bool is_allowed;
        const char *reason;
    } cases[] = {
        {HTTP_ANSWERS, TRUE_ANSWER, true, ""},
        {HTTP_ENDS, TRUE_ANSWER, true, ""},
        {HTTP_ANSWERS, FALSE_ANSWER, false, "the outside policy signet/allow says no"},
        {HTTP_ANSWERS, OK LENGTH(43) "{\"result\":{\"allow\":true,\"reason\":\"friend\"}}", true,
         "friend"},
        {HTTP_ANSWERS, OK LENGTH(46) "{\"result\":{\"allow\":false,\"reason\":\"a\\tb c\"}}  ",
         false, "signet/allow says no: a?b c"},
        {HTTP_ENDS, OK "\r\n{\"result\":true}", true, ""},
        {HTTP_ANSWERS,
         OK "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"res\r\nA\r\nult\":true}\r\n0\r\n\r\n", true,
         ""},
        {HTTP_ANSWERS, "HTTP/1.1 100 Continue\r\n\r\n" TRUE_ANSWER, true, ""},
    };
    struct fixture fixture;
    struct asker asker;
    fixture_open(&fixture, 5000, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        http_server_set(fixture.server, cases[i].manner, cases[i].text);
        ask_and_wait(&fixture, &asker);
        if (asker.is_allowed != cases[i].is_allowed) {
            fail_msg("%s: %d %s", cases[i].text, asker.is_allowed, asker.reason);
        }
        expect_reason(&asker, cases[i].reason);
    }
    struct outside_status status;
    outside_status(fixture.outside, &status);
    assert_string_equal(status.failure, "");
    assert_int_equal(status.asked, ARRAY_SIZE(cases));
    assert_int_equal(status.allowed, 6);
    assert_int_equal(status.denied, 2);
    fixture_close(&fixture);
}

/* What is no answer is a deny that says what is wrong, and for the vital no deny. */
static void no_answers(void **state)
{
    (void)state;
    static const struct {
        enum http_manner manner;
        const char *text, *reason;
    } cases[] = {
        {HTTP_WAITS, "", "no answer within 1000 ms"},
        {HTTP_WAITS, OK LENGTH(100) "{\"result\"", "no answer within 1000 ms"},
        {HTTP_DRIPS, OK HEADER HEADER, "no answer within 1000 ms"},
        {HTTP_RESETS, "", "at unix://"},
        {HTTP_ENDS, "", "at unix://"},
        {HTTP_ENDS, "HTTP/1.1 200", "at unix://"},
        {HTTP_ENDS, OK, "at unix://"},
        {HTTP_ENDS, OK LENGTH(15) "{\"result\":", "at unix://"},
        {HTTP_ENDS, OK LENGTH(9999) "{\"result\":true}", "at unix://"},
        {HTTP_ANSWERS, OK LENGTH(3) "{\"result\":true}", "not JSON"},
        {HTTP_ENDS, OK "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"res\r\n", "at unix://"},
        {HTTP_ENDS, OK "Transfer-Encoding: chunked\r\n\r\nZZ\r\n", "at unix://"},
        {HTTP_ENDS, OK "Content-Length: -1\r\n\r\n{\"result\":true}", "at unix://"},
        {HTTP_REPEATS, OK "\r\n{\"result\":true}                                         ",
         "more than 65536 bytes"},
        {HTTP_REPEATS, OK HEADER, "at unix://"},
        {HTTP_REPEATS, "HTTP/1.1 100 Continue\r\n\r\n", "at unix://"},
        {HTTP_ENDS, "SSH-2.0-OpenSSH_9.2\r\n", "at unix://"},
        {HTTP_ANSWERS, OK LENGTH(0), "not JSON"},
        {HTTP_ANSWERS, OK LENGTH(2) "{}", "has no result"},
        {HTTP_ANSWERS, OK LENGTH(15) "{\"result\":null}", "neither true or false"},
        {HTTP_ANSWERS, OK LENGTH(15) "garbage garbage", "not JSON"},
        {HTTP_ANSWERS, "HTTP/1.1 500 Oh\r\n" LENGTH(15) "{\"result\":true}", "status 500"},
        {HTTP_ANSWERS, "HTTP/1.1 404 No\r\n" LENGTH(15) "{\"result\":true}", "status 404"},
        {HTTP_ANSWERS, "HTTP/1.1 204 No\r\n\r\n", "status 204"},
        {HTTP_ANSWERS, "HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n" LENGTH(0),
         "status 302"},
        {HTTP_ANSWERS, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n" LENGTH(0), "status 401"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture fixture;
        struct asker askers[2];
        struct outside_status status;
        /* What is not about the time gets so much of it that a busy machine is in time too. */
        bool is_late = strstr(cases[i].reason, "no answer within") != NULL;
        fixture_open(&fixture, is_late ? 1000 : 5000, 60000);
        http_server_set(fixture.server, cases[i].manner, cases[i].text);
        uint64_t begin_ms = clock_monotonic_ms();
        ask(&fixture, &askers[0]);
        ask_as(&fixture, &askers[1], "spiffe://example.org/vital/one", 1);
        wait_for(&fixture, askers, ARRAY_SIZE(askers));
        assert_false(askers[0].is_allowed);
        expect_reason(&askers[0], "asking the outside policy signet/allow at unix:///tmp/");
        expect_reason(&askers[0], cases[i].reason);
        assert_true(askers[0].until_ms >= begin_ms + OUTSIDE_RETRY_MS);
        assert_true(askers[1].is_allowed);
        expect_reason(&askers[1], cases[i].reason);
        outside_status(fixture.outside, &status);
        assert_int_equal(status.failed, 2);
        assert_non_null(strstr(status.failure, cases[i].reason));

        /* A failure is not kept, and leaves nothing behind that harms the next question. */
        http_server_set(fixture.server, HTTP_ANSWERS, FALSE_ANSWER);
        ask_and_wait(&fixture, &askers[0]);
        expect_reason(&askers[0], "says no");
        http_server_set(fixture.server, HTTP_ANSWERS, TRUE_ANSWER);
        ask_as(&fixture, &askers[0], spiffe_id, 43);
        wait_for(&fixture, askers, 1);
        assert_true(askers[0].is_allowed);
        outside_status(fixture.outside, &status);
        assert_string_equal(status.failure, "");
        fixture_close(&fixture);
    }
}

/* What comes after an answer is not the next question's. */
static void answer_too_many(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker asker;
    fixture_open(&fixture, 5000, 0);
    for (int i = 0; i < 10; i++) {
        http_server_set(fixture.server, HTTP_ANSWERS, FALSE_ANSWER TRUE_ANSWER);
        ask_and_wait(&fixture, &asker);
        assert_false(asker.is_allowed);
        expect_reason(&asker, "says no");
    }
    fixture_close(&fixture);
}

static void gone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker asker;
    fixture_open(&fixture, 5000, 60000);
    http_server_set(fixture.server, HTTP_ENDS, TRUE_ANSWER);
    (void)unlink(fixture.config.url + strlen("unix://"));
    ask_and_wait(&fixture, &asker);
    assert_false(asker.is_allowed);
    expect_reason(&asker, "opa.sock: connecting: No such file");
    /* A server that ended without cleaning up: its socket refuses. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                   fixture.config.url + strlen("unix://"));
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)close(dead);
    ask_and_wait(&fixture, &asker);
    assert_false(asker.is_allowed);
    expect_reason(&asker, "opa.sock: connecting: Connection refused");
    fixture_close(&fixture);
}

static void what_is_sent(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker asker;
    fixture_open(&fixture, 5000, 0);
    http_server_set(fixture.server, HTTP_ANSWERS, TRUE_ANSWER);
    ask_and_wait(&fixture, &asker);
    (void)pthread_mutex_lock(&fixture.server->lock);
    _cleanup_(free_cleanup) char *request = memory_copy_text(fixture.server->request);
    (void)pthread_mutex_unlock(&fixture.server->lock);
    assert_int_equal(strncmp(request, "POST /v1/data/signet/allow HTTP/1.1\r\n", 37), 0);
    assert_non_null(strstr(request, "Content-Type: application/json\r\n"));
    assert_null(strcasestr(request, "expect:"));
    assert_null(strcasestr(request, "accept-encoding:"));
    assert_non_null(strstr(request, "\r\n\r\n{\"input\":{\"action\":\"use\",\"spiffe_id\":"));
    fixture_close(&fixture);
}

static void kept_answers(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker asker;
    struct outside_status status;
    fixture_open(&fixture, 5000, 200);
    http_server_set(fixture.server, HTTP_ANSWERS, FALSE_ANSWER);
    ask_and_wait(&fixture, &asker);
    uint64_t until_ms = asker.until_ms;
    http_server_set(fixture.server, HTTP_ANSWERS, TRUE_ANSWER);
    ask(&fixture, &asker);
    if (clock_monotonic_ms() < until_ms) {
        assert_int_equal(asker.told, 1);
        assert_false(asker.is_allowed);
        expect_reason(&asker, "says no");
        assert_int_equal(asker.until_ms, until_ms);
        assert_int_equal(atomic_load(&fixture.server->requests), 1);
        outside_status(fixture.outside, &status);
        assert_int_equal(status.cached, 1);
        assert_int_equal(status.denied, 2);
    } else {
        wait_for(&fixture, &asker, 1);
    }
    while (clock_monotonic_ms() < until_ms) {
        (void)usleep(1000);
    }
    ask_and_wait(&fixture, &asker);
    assert_true(asker.is_allowed);
    assert_int_equal(atomic_load(&fixture.server->requests), 2);
    fixture_close(&fixture);
}

static void same_question_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker askers[50];
    fixture_open(&fixture, 5000, 60000);
    http_server_set(fixture.server, HTTP_WAITS_SHORTLY, TRUE_ANSWER);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        ask(&fixture, &askers[i]);
    }
    wait_for(&fixture, askers, ARRAY_SIZE(askers));
    assert_int_equal(atomic_load(&fixture.server->requests), 1);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        assert_true(askers[i].is_allowed);
    }
    fixture_close(&fixture);
}

/* More answers than are kept, too. */
static void many_at_once(void **state)
{
    (void)state;
    enum { COUNT = 6000, BATCH = 500 };
    struct fixture fixture;
    struct asker *askers = memory_new_array(COUNT, sizeof(*askers));
    fixture_open(&fixture, 20000, 600000);
    http_server_set(fixture.server, HTTP_WAITS_SHORTLY, TRUE_ANSWER);
    for (size_t i = 0; i < 100; i++) {
        ask_as(&fixture, &askers[i], spiffe_id, (pid_t)i + 1);
    }
    wait_for(&fixture, askers, 100);
    assert_in_range(atomic_load(&fixture.server->most_at_once), 2, OUTSIDE_AT_ONCE_MAX);
    assert_in_range(atomic_load(&fixture.server->connections), 2, OUTSIDE_AT_ONCE_MAX);
    http_server_set(fixture.server, HTTP_ANSWERS, TRUE_ANSWER);
    for (size_t i = 100; i < COUNT; i++) {
        ask_as(&fixture, &askers[i], spiffe_id, (pid_t)i + 1);
        if (i % BATCH == 0 || i + 1 == COUNT) {
            wait_for(&fixture, askers, i + 1);
        }
    }
    assert_int_equal(atomic_load(&fixture.server->requests), COUNT);
    /* The newest is kept, the oldest is not. */
    ask_as(&fixture, &askers[0], spiffe_id, COUNT);
    assert_int_equal(askers[0].told, 1);
    ask_as(&fixture, &askers[0], spiffe_id, 1);
    assert_int_equal(askers[0].told, 0);
    wait_for(&fixture, askers, 1);
    fixture_close(&fixture);
    free(askers);
}

static void too_many(void **state)
{
    (void)state;
    enum { FULL = OUTSIDE_WAITING_MAX + OUTSIDE_AT_ONCE_MAX, COUNT = FULL + 2 };
    struct fixture fixture;
    struct asker *askers = memory_new_array(COUNT, sizeof(*askers));
    fixture_open(&fixture, 500, 600000);
    http_server_set(fixture.server, HTTP_WAITS, "");
    uint64_t begin_ms = clock_monotonic_ms();
    for (size_t i = 0; i < FULL; i++) {
        ask_as(&fixture, &askers[i], spiffe_id, (pid_t)i + 1);
        assert_int_equal(askers[i].told, 0);
    }
    ask_as(&fixture, &askers[FULL], spiffe_id, COUNT);
    assert_int_equal(askers[FULL].told, 1);
    assert_false(askers[FULL].is_allowed);
    expect_reason(&askers[FULL], "1024 questions wait for it already");
    ask_as(&fixture, &askers[FULL + 1], "spiffe://example.org/vital/one", COUNT);
    assert_int_equal(askers[FULL + 1].told, 1);
    assert_true(askers[FULL + 1].is_allowed);
    wait_for(&fixture, askers, COUNT);
    /* All of them in one timeout, not one timeout after the other. */
    assert_true(clock_monotonic_ms() - begin_ms < 5000);
    for (size_t i = 0; i < FULL; i++) {
        assert_false(askers[i].is_allowed);
    }
    fixture_close(&fixture);
    free(askers);
}

static void cancelled(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker *gone_asker = NEW(struct asker);
    struct asker askers[3];
    fixture_open(&fixture, 5000, 60000);
    http_server_set(fixture.server, HTTP_WAITS_SHORTLY, TRUE_ANSWER);
    ask(&fixture, &askers[0]);
    ask(&fixture, gone_asker);
    ask(&fixture, &askers[1]);
    ask_as(&fixture, &askers[2], spiffe_id, 43);
    outside_wait_cancel(&gone_asker->wait);
    outside_wait_cancel(&askers[2].wait);
    outside_wait_cancel(&askers[2].wait);
    free(gone_asker);
    wait_for(&fixture, askers, 2);
    outside_wait_cancel(&askers[0].wait);
    assert_int_equal(askers[2].told, 0);
    fixture_close(&fixture);
    assert_int_equal(askers[2].told, 0);
}

/* Who is told may cancel who would be told next. */
struct canceller {
    struct outside_wait wait;
    struct canceller *other;
    unsigned told;
};

static void cancel_other(struct outside_wait *wait, bool is_allowed, const char *reason,
                         uint64_t until_ms)
{
    (void)is_allowed;
    (void)reason;
    (void)until_ms;
    struct canceller *canceller = container_of(wait, struct canceller, wait);
    canceller->told++;
    outside_wait_cancel(&canceller->other->wait);
}

static void cancelled_while_told(void **state)
{
    (void)state;
    const struct outside_question question = {.action = "use", .spiffe_id = spiffe_id};
    for (int is_failing = 0; is_failing < 2; is_failing++) {
        struct fixture fixture;
        struct canceller a = {.wait = {.done = cancel_other}};
        struct canceller b = {.wait = {.done = cancel_other}, .other = &a};
        a.other = &b;
        fixture_open(&fixture, 5000, 60000);
        http_server_set(fixture.server, is_failing ? HTTP_ENDS : HTTP_ANSWERS,
                        is_failing ? "" : TRUE_ANSWER);
        outside_ask(fixture.outside, &question, &a.wait);
        outside_ask(fixture.outside, &question, &b.wait);
        while (a.told + b.told == 0) {
            (void)uv_run(&fixture.loop, UV_RUN_ONCE);
        }
        fixture_close(&fixture);
        assert_int_equal(a.told + b.told, 1);
    }
}

/* Who is told asks again at once, also while all of it is taken down. */
struct insister {
    struct outside_wait wait;
    struct fixture *fixture;
    unsigned told, left;
};

static void insist(struct outside_wait *wait, bool is_allowed, const char *reason,
                   uint64_t until_ms)
{
    (void)is_allowed;
    (void)reason;
    (void)until_ms;
    struct insister *insister = container_of(wait, struct insister, wait);
    insister->told++;
    if (insister->left > 0) {
        insister->left--;
        struct audit_process who = process;
        who.pid = (pid_t)insister->left;
        const struct outside_question question = {
            .action = "use", .spiffe_id = spiffe_id, .process = &who};
        outside_ask(insister->fixture->outside, &question, wait);
    }
}

static void asks_again_when_told(void **state)
{
    (void)state;
    for (int is_waiting = 0; is_waiting < 2; is_waiting++) {
        struct fixture fixture;
        struct insister insister = {.wait = {.done = insist}, .fixture = &fixture, .left = 5};
        fixture_open(&fixture, 5000, 60000);
        http_server_set(fixture.server, is_waiting ? HTTP_WAITS : HTTP_ANSWERS,
                        is_waiting ? "" : TRUE_ANSWER);
        const struct outside_question question = {.action = "use", .spiffe_id = spiffe_id};
        outside_ask(fixture.outside, &question, &insister.wait);
        while (!is_waiting && insister.told < 6) {
            (void)uv_run(&fixture.loop, UV_RUN_ONCE);
        }
        if (is_waiting) {
            struct outside *outside = fixture.outside;
            outside_free(outside);
            fixture.outside = NULL;
            (void)uv_run(&fixture.loop, UV_RUN_DEFAULT);
        }
        assert_int_equal(insister.told, 6);
        fixture_close(&fixture);
    }
}

/* It neither hangs nor loses anybody, whatever the server does at that moment. */
static void free_while_asking(void **state)
{
    (void)state;
    static const enum http_manner manners[] = {HTTP_WAITS, HTTP_DRIPS, HTTP_ANSWERS,
                                               HTTP_WAITS_SHORTLY};
    for (size_t round = 0; round < 40; round++) {
        enum { COUNT = 100 };
        struct fixture fixture;
        struct asker askers[COUNT];
        fixture_open(&fixture, 60000, 60000);
        http_server_set(fixture.server, manners[round % ARRAY_SIZE(manners)], TRUE_ANSWER);
        for (size_t i = 0; i < COUNT; i++) {
            ask_as(&fixture, &askers[i], i % 2 ? spiffe_id : "spiffe://example.org/vital/one",
                   (pid_t)i + 1);
        }
        if (round % 3 == 0) {
            while (atomic_load(&fixture.server->requests) < 1) {
                (void)usleep(100);
            }
        }
        if (round % 3 == 1) {
            (void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
        }
        uint64_t begin_ms = clock_monotonic_ms();
        fixture_close_outside(&fixture);
        assert_true(clock_monotonic_ms() - begin_ms < 5000);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(askers[i].told, 1);
        }
        fixture_close(&fixture);
    }
}

/* A loopback port, past a proxy that the environment names. */
static void loopback_port(void **state)
{
    (void)state;
    struct fixture fixture;
    struct asker asker;
    struct error error;
    struct http_server *server = NEW(struct http_server);
    int port = http_server_on_loopback(server);
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("all_proxy", "http://127.0.0.1:1", 1);
    fixture_open(&fixture, 5000, 0);
    fixture_close_outside(&fixture);
    free(fixture.config.url);
    fixture.config.url = text_format("http://127.0.0.1:%d", port);
    assert_int_equal(outside_new(&fixture.loop, &fixture.config, &fixture.outside, &error), 0);
    http_server_set(server, HTTP_ANSWERS, TRUE_ANSWER);
    ask_and_wait(&fixture, &asker);
    assert_true(asker.is_allowed);
    assert_int_equal(atomic_load(&server->requests), 1);
    fixture_close_outside(&fixture);
    http_server_end(server);
    free(server);
    free(fixture.config.url);
    fixture.config.url = text_format("unix://%s/opa.sock", fixture.folder);
    fixture_close(&fixture);
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
}

static void checks(void **state)
{
    (void)state;
    static const struct {
        const char *url, *path;
        uint32_t timeout_ms;
        const char *error; /* NULL: fine */
    } cases[] = {
        {"unix:///run/opa.sock", "signet/allow", 1, NULL},
        {"http://127.0.0.1:8181", "a", 1, NULL},
        {"http://[::1]:65535", "a_b/c-d/e.1", 1, NULL},
        {"unix://run/opa.sock", "a", 1, "address"},
        {"unix:///", "a", 1, "address"},
        {"unix:/run/opa.sock", "a", 1, "address"},
        {"", "a", 1, "address"},
        {"http://127.0.0.1", "a", 1, "address"},
        {"http://127.0.0.1:", "a", 1, "address"},
        {"http://127.0.0.1:0", "a", 1, "address"},
        {"http://127.0.0.1:65536", "a", 1, "address"},
        {"http://127.0.0.1:80/", "a", 1, "address"},
        {"http://127.0.0.1:80@evil:80", "a", 1, "address"},
        {"http://localhost:8181", "a", 1, "address"},
        {"https://127.0.0.1:8181", "a", 1, "address"},
        {"http://10.0.0.1:8181", "a", 1, "address"},
        {"unix:///"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxx",
         "a", 1, "address"},
        {"unix:///a", "", 1, "path"},
        {"unix:///a", "/a", 1, "path"},
        {"unix:///a", "a/", 1, "path"},
        {"unix:///a", "a//b", 1, "path"},
        {"unix:///a", "a/../b", 1, "path"},
        {"unix:///a", "a/.", 1, "path"},
        {"unix:///a", "a?pretty", 1, "path"},
        {"unix:///a", "a b", 1, "path"},
        {"unix:///a", "a\r\nX: y", 1, "path"},
        {"unix:///a", "a%2f", 1, "path"},
        {"unix:///a", "a", 0, "timeout"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        const struct outside_config config = {.url = (char *)cases[i].url,
                                              .path = (char *)cases[i].path,
                                              .timeout_ms = cases[i].timeout_ms};
        int result = outside_check(&config, &error);
        if ((result == 0) != !cases[i].error ||
            (cases[i].error && !strstr(error.text, cases[i].error))) {
            fail_msg("%s %s: %d %s", cases[i].url, cases[i].path, result, error.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(no_answers),
        cmocka_unit_test(answer_too_many),
        cmocka_unit_test(gone),
        cmocka_unit_test(what_is_sent),
        cmocka_unit_test(kept_answers),
        cmocka_unit_test(same_question_once),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(too_many),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(cancelled_while_told),
        cmocka_unit_test(asks_again_when_told),
        cmocka_unit_test(free_while_asking),
        cmocka_unit_test(loopback_port),
        cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
