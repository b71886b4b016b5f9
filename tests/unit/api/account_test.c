#include "tests/unit/cmocka_all.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/api/account.h"
#include "lib/base/file.h"

struct fixture {
    struct accounts accounts;
    int sockets[2];
    unsigned idle_calls;
};

static void count_idle(void *user)
{
    ((struct fixture *)user)->idle_calls++;
}

static void fixture_open(struct fixture *fixture, size_t connections_per_uid)
{
    *fixture = (struct fixture){0};
    fixture->accounts.connections_per_uid = connections_per_uid;
    fixture->accounts.idle = count_idle;
    fixture->accounts.user = fixture;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fixture->sockets), 0);
}

static void fixture_close(struct fixture *fixture)
{
    file_close_cleanup(&fixture->sockets[0]);
    file_close_cleanup(&fixture->sockets[1]);
    assert_null(fixture->accounts.by_uid); /* nothing is kept of who is gone */
}

static void connections_of_a_uid_are_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct caller *callers[3] = {NULL};
    fixture_open(&fixture, 2);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[0], &error), 0);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[1], &error), 0);
    assert_int_equal(callers[0]->peer->uid, getuid());
    assert_ptr_equal(callers[0]->account, callers[1]->account);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[2], &error), -1);
    assert_int_equal(error.code, ERROR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(error.text, "connections_per_uid"));
    caller_close(&fixture.accounts, callers[0]);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[2], &error), 0);
    caller_close(&fixture.accounts, callers[1]);
    caller_close(&fixture.accounts, callers[2]);
    fixture_close(&fixture);
}

static void work_outlives_its_connection_and_is_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct caller *caller = NULL;
    fixture_open(&fixture, 1);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &caller, &error), 0);
    struct account *account = caller->account;
    for (size_t i = 0; i < ACCOUNT_WORK_LIMIT; i++) {
        assert_int_equal(account_work_begin(&fixture.accounts, account, &error), 0);
    }
    assert_int_equal(account_work_begin(&fixture.accounts, account, &error), -1);
    assert_int_equal(error.code, ERROR_RESOURCE_EXHAUSTED);
    caller_close(&fixture.accounts, caller);
    for (size_t i = 0; i < ACCOUNT_WORK_LIMIT; i++) {
        assert_int_equal(fixture.idle_calls, 0);
        account_work_end(&fixture.accounts, account);
    }
    assert_int_equal(fixture.idle_calls, 1);
    fixture_close(&fixture);
}

static void the_gate_passes_a_burst_and_counts_the_rest(void **state)
{
    (void)state;
    struct log_gate gate = {0};
    uint64_t unlogged = 0;
    unsigned passed = 0;
    for (unsigned i = 0; i < 10000; i++) {
        passed += log_gate_opens(&gate, &unlogged) ? 1 : 0;
    }
    assert_in_range(passed, 100, 5000);
    assert_int_equal(gate.unlogged + passed, 10000);
    gate.emptied_ms = 0; /* as after a quiet time */
    assert_true(log_gate_opens(&gate, &unlogged));
    assert_int_equal(unlogged + passed, 10000);
    assert_int_equal(gate.unlogged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_of_a_uid_are_bounded),
        cmocka_unit_test(work_outlives_its_connection_and_is_bounded),
        cmocka_unit_test(the_gate_passes_a_burst_and_counts_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
