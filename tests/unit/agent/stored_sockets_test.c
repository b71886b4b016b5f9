#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stored_sockets.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static char peer[] = SERVICE_MANAGER_STORED "peer", other[] = SERVICE_MANAGER_STORED "state";
static size_t questions;

/* In no order, and 0 for every tenth, which is no socket. */
static uint64_t counted_cookie(int descriptor)
{
    questions++;
    return descriptor % 10 == 0 ? 0 : (uint64_t)descriptor * 7919 % 100003;
}

static uint64_t expected_cookie(size_t descriptor)
{
    return descriptor % 10 == 0 ? 0 : descriptor * 7919 % 100003;
}

/* A restart with thousands of connections takes one system call for each. */
static void each_is_asked_once(void **state)
{
    (void)state;
    enum { COUNT = 8000 };
    static struct stored_descriptor stored[COUNT];
    struct passed_descriptors passed = {.stored = stored, .stored_count = COUNT};
    for (int i = 0; i < COUNT; i++) {
        stored[i] = (struct stored_descriptor){i % 3 ? peer : other, i};
    }
    questions = 0;
    struct stored_sockets *sockets = stored_sockets_new(&passed, peer, counted_cookie);
    for (size_t i = COUNT; i > 0; i--) {
        bool is_there = (i - 1) % 3 && (i - 1) % 10;
        assert_ptr_equal(stored_sockets_find(sockets, expected_cookie(i - 1)),
                         is_there ? &stored[i - 1] : NULL);
    }
    assert_int_equal(questions, COUNT - (COUNT + 2) / 3);
    stored_sockets_free(sockets);
}

static void what_was_taken_is_gone(void **state)
{
    (void)state;
    struct stored_descriptor stored[] = {{peer, 1}, {peer, 2}};
    struct passed_descriptors passed = {.stored = stored, .stored_count = ARRAY_SIZE(stored)};
    struct stored_sockets *sockets = stored_sockets_new(&passed, peer, counted_cookie);
    assert_int_equal(file_take(&stored_sockets_find(sockets, expected_cookie(2))->descriptor), 2);
    assert_null(stored_sockets_find(sockets, expected_cookie(2)));
    assert_ptr_equal(stored_sockets_find(sockets, expected_cookie(1)), &stored[0]);
    assert_null(stored_sockets_find(sockets, expected_cookie(3)));
    stored_sockets_free(sockets);
    passed.stored_count = 0;
    sockets = stored_sockets_new(&passed, peer, counted_cookie);
    assert_null(stored_sockets_find(sockets, expected_cookie(1)));
    stored_sockets_free(sockets);
}

/* Two descriptors of one socket have one cookie, as that of the process before and ours have. */
static void cookies_of_sockets(void **state)
{
    (void)state;
    int pair[2], pipes[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe(pipes), 0);
    int again = dup(pair[0]);
    assert_true(socket_cookie(pair[0]) > 0);
    assert_int_equal(socket_cookie(pair[0]), socket_cookie(again));
    assert_int_not_equal(socket_cookie(pair[0]), socket_cookie(pair[1]));
    assert_int_equal(socket_cookie(pipes[0]), 0);
    assert_int_equal(socket_cookie(-1), 0);
    const int all[] = {pair[0], pair[1], pipes[0], pipes[1], again};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        assert_int_equal(close(all[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_asked_once),
        cmocka_unit_test(what_was_taken_is_gone),
        cmocka_unit_test(cookies_of_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
