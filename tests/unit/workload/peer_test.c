#include "agent/workload/peer.h"

#include "tests/unit/workload/child.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>

#include "lib/base/memory.h"

static struct child plain_child(void)
{
    const struct child_plan plan = {0};
    struct child child = child_start(&plan);
    assert_int_equal(child.status, -1);
    return child;
}

static void who_connected(void **state)
{
    (void)state;
    struct child child = plain_child();
    struct peer *peer = NULL;
    struct error err = {0};
    assert_int_equal(peer_of_socket(child.socket, &peer, &err), 0);
    assert_int_equal(peer->pid, child.pid);
    assert_int_equal(peer->uid, getuid());
    assert_int_equal(peer->gid, getgid());
    assert_true(peer->start_time > 0);
    assert_int_equal(fcntl(peer->pidfd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(peer->proc, F_GETFD), FD_CLOEXEC);
    assert_true(peer_is_alive(peer));
    assert_ptr_equal(peer_ref(peer), peer);
    peer_unref(peer);
    /* A process that has ended and waits to be reaped does not run any more. */
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    siginfo_t ended;
    assert_int_equal(waitid(P_PID, (id_t)child.pid, &ended, WEXITED | WNOWAIT), 0);
    assert_false(peer_is_alive(peer));
    struct peer *late = NULL;
    assert_int_equal(peer_of_socket(child.socket, &late, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    child_stop(&child);
    assert_false(peer_is_alive(peer));
    peer_unref(peer);
}

static void ended_before(void **state)
{
    (void)state;
    struct child child = plain_child();
    struct peer *peer = NULL;
    struct error err = {0};
    child_kill(&child);
    assert_int_equal(peer_of_socket(child.socket, &peer, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, "has ended"));
    assert_null(peer);
    child_stop(&child);
}

static void not_a_unix_socket(void **state)
{
    (void)state;
    struct peer *peer = NULL;
    struct error err = {0};
    int datagram = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(peer_of_socket(datagram, &peer, &err), -1);
    assert_int_equal(peer_of_socket(-1, &peer, &err), -1);
    (void)close(datagram);
}

static void by_credentials(void **state)
{
    (void)state;
    struct child child = plain_child();
    struct peer *peer = NULL;
    struct error err = {0};
    const struct ucred real = {child.pid, getuid(), getgid()};
    assert_int_equal(peer_of_credentials(&real, UINT64_MAX, &peer, &err), 0);
    uint64_t start_time = peer->start_time;
    assert_true(peer_is_alive(peer));
    peer_unref(peer);
    const struct {
        uint64_t newest_start_time;
        struct ucred credentials;
        int result;
    } cases[] = {
        {start_time, real, 0},
        /* Started after the connection was there: another process. */
        {start_time - 1, real, -1},
        {start_time, {child.pid, getuid() + 1, getgid()}, -1},
        {start_time, {child.pid, getuid(), getgid() + 1}, -1},
        {start_time, {4194304 * 4, getuid(), getgid()}, -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        err.code = ERROR_OK;
        peer = NULL;
        assert_int_equal(
            peer_of_credentials(&cases[i].credentials, cases[i].newest_start_time, &peer, &err),
            cases[i].result);
        assert_int_equal(err.code, cases[i].result == 0 ? ERROR_OK : ERROR_NOT_FOUND);
        if (peer) {
            peer_unref(peer);
        }
    }
    child_kill(&child);
    assert_int_equal(peer_of_credentials(&real, UINT64_MAX, &peer, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    child_stop(&child);
}

/* The pid of a process that ended is given to another one, on purpose. */
static void reused_pid(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can choose a pid\n");
        skip();
    }
    struct child first = plain_child(), unseen = plain_child();
    struct peer *peer = NULL, *late = NULL;
    struct error err = {0};
    assert_int_equal(peer_of_socket(first.socket, &peer, &err), 0);
    pid_t pid = first.pid, unseen_pid = unseen.pid;
    child_kill(&first);
    child_kill(&unseen);
    struct child second = child_start(&(struct child_plan){.pid = pid});
    struct child third = child_start(&(struct child_plan){.pid = unseen_pid});
    assert_int_equal(second.pid, pid);
    assert_int_equal(third.pid, unseen_pid);
    /* Known before: it has ended, and its folder does not show the new process. */
    assert_false(peer_is_alive(peer));
    assert_int_equal(faccessat(peer->proc, "status", R_OK, 0), -1);
    /* Asked for only now. */
    assert_int_equal(peer_of_socket(first.socket, &late, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(peer_of_socket(unseen.socket, &late, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    peer_unref(peer);
    child_stop(&first);
    child_stop(&unseen);
    child_stop(&second);
    child_stop(&third);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

static void ten_thousand(void **state)
{
    (void)state;
    enum { WANTED = 10000, SPARE = 100 };
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = MIN(limit.rlim_max, (rlim_t)2 * WANTED + SPARE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    unsigned count = (unsigned)(limit.rlim_cur - SPARE) / 2;
    struct child child = plain_child();
    struct error err = {0};
    _cleanup_(free_cleanup) struct peer **peers = memory_new_array(count, sizeof(void *));
    unsigned before = count_descriptors();
    for (unsigned i = 0; i < count; i++) {
        if (peer_of_socket(child.socket, &peers[i], &err) < 0) {
            fail_msg("peer %u: %s", i, err.text);
        }
    }
    assert_int_equal(count_descriptors() - before, 2 * count);
    for (unsigned i = 0; i < count; i++) {
        peer_unref(peers[i]);
    }
    assert_int_equal(count_descriptors(), before);
    print_message("%u peers at once\n", count);
    child_stop(&child);
}

struct thread {
    pthread_barrier_t barrier;
    pid_t tid;
};

static void *run_thread(void *user)
{
    struct thread *thread = user;
    thread->tid = gettid();
    (void)pthread_barrier_wait(&thread->barrier); /* its tid is known */
    (void)pthread_barrier_wait(&thread->barrier); /* it may end */
    return NULL;
}

/* A thread is no process that could be meant. */
static void by_thread(void **state)
{
    (void)state;
    struct thread thread = {0};
    struct peer *peer = NULL;
    struct error err = {0};
    pthread_t running;
    assert_int_equal(pthread_barrier_init(&thread.barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&running, NULL, run_thread, &thread), 0);
    (void)pthread_barrier_wait(&thread.barrier);
    assert_int_equal(peer_of_pid(thread.tid, &peer, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "thread"));
    (void)pthread_barrier_wait(&thread.barrier);
    assert_int_equal(pthread_join(running, NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&thread.barrier), 0);
}

static void by_pid(void **state)
{
    (void)state;
    struct child child = plain_child();
    struct peer *peer = NULL;
    struct error err = {0};
    assert_int_equal(peer_of_pid(child.pid, &peer, &err), 0);
    assert_int_equal(peer->pid, child.pid);
    assert_int_equal(peer->uid, geteuid());
    assert_int_equal(peer->gid, getegid());
    assert_true(peer->start_time > 0 && peer_is_alive(peer));
    child_stop(&child);
    assert_false(peer_is_alive(peer));
    peer_unref(peer);
    assert_int_equal(peer_of_pid(child.pid, &peer, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no such process"));
    assert_int_equal(peer_of_pid(0, &peer, &err), -1);
    assert_int_equal(peer_of_pid(-1, &peer, &err), -1);
}

static void nothing_left_open(void **state)
{
    (void)state;
    struct child child = plain_child();
    struct error err = {0};
    struct peer *peer = NULL;
    const struct ucred wrong = {child.pid, getuid() + 1, getgid()};
    unsigned before = count_descriptors();
    assert_int_equal(peer_of_credentials(&wrong, UINT64_MAX, &peer, &err), -1);
    child_kill(&child);
    assert_int_equal(peer_of_socket(child.socket, &peer, &err), -1);
    assert_int_equal(count_descriptors(), before);
    child_stop(&child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_connected),     cmocka_unit_test(ended_before),
        cmocka_unit_test(not_a_unix_socket), cmocka_unit_test(by_credentials),
        cmocka_unit_test(reused_pid),        cmocka_unit_test(ten_thousand),
        cmocka_unit_test(nothing_left_open), cmocka_unit_test(by_pid),
        cmocka_unit_test(by_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
