#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/access/account.h"
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
    fixture->accounts.descriptor_limit = 1000;
    fixture->accounts.idle = count_idle;
    fixture->accounts.user = fixture;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fixture->sockets), 0);
}

static void fixture_close(struct fixture *fixture)
{
    file_close_cleanup(&fixture->sockets[0]);
    file_close_cleanup(&fixture->sockets[1]);
    assert_null(fixture->accounts.by_uid); /* nothing is kept of who is gone */
    assert_int_equal(fixture->accounts.descriptors, 0);
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

static void connections_of_a_process_share_its_descriptors(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct caller *callers[2] = {NULL};
    fixture_open(&fixture, 10);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[0], &error), 0);
    assert_int_equal(fixture.accounts.descriptors, 3);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[1], &error), 0);
    assert_int_equal(fixture.accounts.descriptors, 4);
    assert_ptr_equal(callers[0]->peer, callers[1]->peer);
    caller_close(&fixture.accounts, callers[0]);
    assert_true(peer_is_alive(callers[1]->peer));
    caller_close(&fixture.accounts, callers[1]);
    fixture_close(&fixture);
}

/* A socket whose other end is of a process that has ended, or still runs. */
static pid_t socket_of_child(int *ret_socket, int *ret_end)
{
    int sockets[2];
    int ends[2];
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/signet-account-%d", getpid());
    assert_int_equal(pipe(ends), 0);
    sockets[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(sockets[0], (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(sockets[0], 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte = 0;
        (void)close(ends[1]);
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)connect(client, (struct sockaddr *)&address, sizeof(address));
        _exit((int)read(ends[0], &byte, 1));
    }
    sockets[1] = accept(sockets[0], NULL, NULL);
    assert_true(sockets[1] >= 0);
    (void)unlink(path);
    (void)close(sockets[0]);
    (void)close(ends[0]);
    *ret_socket = sockets[1];
    *ret_end = ends[1];
    return pid;
}

static void another_process_has_a_peer_of_its_own(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct caller *callers[2] = {NULL};
    int other = -1;
    int end = -1;
    fixture_open(&fixture, 10);
    pid_t pid = socket_of_child(&other, &end);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[0], &error), 0);
    assert_int_equal(caller_open(&fixture.accounts, other, &callers[1], &error), 0);
    assert_int_equal(callers[0]->peer->pid, getpid());
    assert_int_equal(callers[1]->peer->pid, pid);
    assert_int_equal(fixture.accounts.descriptors, 6);
    (void)close(end);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(peer_is_alive(callers[1]->peer));
    caller_close(&fixture.accounts, callers[0]);
    caller_close(&fixture.accounts, callers[1]);
    (void)close(other);
    fixture_close(&fixture);
}

static void some_descriptors_are_kept_back(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    struct caller *callers[2] = {NULL};
    fixture_open(&fixture, 10);
    fixture.accounts.descriptor_limit = ACCOUNT_DESCRIPTORS_KEPT + 3;
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[0], &error), 0);
    assert_int_equal(caller_open(&fixture.accounts, fixture.sockets[0], &callers[1], &error), -1);
    assert_int_equal(error.code, ERROR_RESOURCE_EXHAUSTED);
    caller_close(&fixture.accounts, callers[0]);
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
        cmocka_unit_test(connections_of_a_process_share_its_descriptors),
        cmocka_unit_test(another_process_has_a_peer_of_its_own),
        cmocka_unit_test(some_descriptors_are_kept_back),
        cmocka_unit_test(work_outlives_its_connection_and_is_bounded),
        cmocka_unit_test(the_gate_passes_a_burst_and_counts_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
