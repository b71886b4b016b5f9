#include "agent/workload/facts.h"

#include "tests/unit/workload/child.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "agent/workload/proc.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

static struct peer *peer_of_child(const struct child *child)
{
    struct peer *peer = NULL;
    struct error err;
    if (peer_of_socket(child->socket, &peer, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return peer;
}

static void facts(void **state)
{
    (void)state;
    enum { SLACK_MS = 2000, MS_A_SECOND = 1000 };
    int64_t before_ms = clock_now_s() * MS_A_SECOND;
    struct child child = child_start(&(struct child_plan){0});
    int64_t after_ms = clock_now_s() * MS_A_SECOND;
    struct peer *peer = peer_of_child(&child);
    _cleanup_(process_facts_clear) struct process_facts facts = {0};
    assert_int_equal(peer_facts(peer, &facts), 0);
    assert_in_range(facts.started_at_ms, before_ms - SLACK_MS, after_ms + SLACK_MS);
    assert_true(facts.is_program_known);
    assert_true(peer_runs(peer, &facts.program));
    char path[PATH_MAX];
    assert_non_null(realpath("/proc/self/exe", path));
    assert_string_equal(facts.executable, path);
    /* Of a process that is gone nothing is told. */
    struct process_facts none = {0};
    child_kill(&child);
    assert_int_equal(peer_facts(peer, &none), -1);
    assert_null(none.executable);
    assert_int_equal(none.started_at_ms, 0);
    peer_unref(peer);
    child_stop(&child);
}

static void put(int folder, const char *name, const char *text)
{
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    (void)close(file);
}

/* The folder of a process in a container, as far as it can be made by hand. */
static void in_a_container(void **state)
{
    (void)state;
    static const char cgroup[] =
        "0::/system.slice/"
        "docker-3fa94e1d1ad3e2f0b6b8aa6d2c5a3f3c9bde0d9f6f4c7f0a1b2c3d4e5f607182.scope\n";
    struct child child = child_start(&(struct child_plan){0});
    struct peer *peer = peer_of_child(&child);
    struct peer odd = {.start_time = UINT64_MAX, .pidfd = peer->pidfd};
    char path[] = "/tmp/signet-facts.XXXXXX";
    assert_non_null(mkdtemp(path));
    odd.proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(process_facts_clear) struct process_facts nothing = {0};
    assert_int_equal(peer_facts(&odd, &nothing), 0);
    assert_int_equal(nothing.started_at_ms, 0);
    assert_false(nothing.is_program_known);
    assert_null(nothing.executable);
    assert_null(nothing.unit);
    assert_null(nothing.container_id);
    put(odd.proc, "cgroup", cgroup);
    put(odd.proc, "exe", "a program");
    _cleanup_(process_facts_clear) struct process_facts facts = {0};
    assert_int_equal(peer_facts(&odd, &facts), 0);
    assert_true(facts.is_program_known);
    assert_null(facts.executable);
    assert_non_null(strstr(facts.unit, ".scope"));
    assert_int_equal(strlen(facts.container_id), 64);
    (void)unlinkat(odd.proc, "cgroup", 0);
    (void)unlinkat(odd.proc, "exe", 0);
    (void)close(odd.proc);
    (void)rmdir(path);
    peer_unref(peer);
    child_stop(&child);
}

static void runs(void **state)
{
    (void)state;
    struct child child = child_start(&(struct child_plan){0});
    struct peer *peer = peer_of_child(&child);
    struct file_identity program;
    uint32_t links;
    assert_int_equal(file_identity_read(peer->proc, "exe", &program, &links), 0);
    assert_true(peer_runs(peer, &program));
    assert_true(peer_runs(peer, NULL));
    const struct file_identity other_inode = {.device = program.device, .inode = program.inode + 1};
    const struct file_identity other_device = {.device = program.device + 1,
                                               .inode = program.inode};
    const struct file_identity far_device = {.device = program.device + ((uint64_t)1 << 32),
                                             .inode = program.inode};
    assert_false(peer_runs(peer, &other_inode));
    assert_false(peer_runs(peer, &other_device));
    assert_false(peer_runs(peer, &far_device));
    child_kill(&child);
    assert_false(peer_runs(peer, &program));
    assert_false(peer_runs(peer, NULL));
    peer_unref(peer);
    child_stop(&child);
}

/* Ready, but without its program until a byte comes. */
static int wait_at_gate(void *user)
{
    const int *gate = user;
    uint8_t byte;
    if (dup2(gate[0], STDIN_FILENO) < 0 || close_range(STDERR_FILENO + 1, UINT_MAX, 0) < 0) {
        return 1;
    }
    return read(STDIN_FILENO, &byte, 1) == 1 ? 0 : 1;
}

static void starts_another_program(void **state)
{
    (void)state;
    int gate[2];
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    struct child child = child_start(
        &(struct child_plan){.after = wait_at_gate, .user = gate, .program = "/bin/sleep"});
    struct peer *peer = peer_of_child(&child);
    _cleanup_(process_facts_clear) struct process_facts before = {0};
    _cleanup_(process_facts_clear) struct process_facts after = {0};
    assert_int_equal(peer_facts(peer, &before), 0);
    assert_true(peer_runs(peer, &before.program));
    assert_int_equal(write(gate[1], "x", 1), 1);
    uint64_t end = clock_monotonic_ms() + CHILD_WAIT_MS;
    while (peer_runs(peer, &before.program)) {
        assert_true(clock_monotonic_ms() < end);
    }
    assert_true(peer_is_alive(peer));
    assert_int_equal(peer_facts(peer, &after), 0);
    assert_true(peer_runs(peer, &after.program));
    assert_non_null(strstr(after.executable, "/sleep"));
    /* About a second: start times are counted from the boot. */
    assert_in_range(after.started_at_ms, before.started_at_ms - 1000, before.started_at_ms + 1000);
    (void)close(gate[0]);
    (void)close(gate[1]);
    peer_unref(peer);
    child_stop(&child);
}

enum { THREADS = 4, TURNS = 2000 };

static void *hold(void *argument)
{
    struct peer *peer = argument;
    for (int i = 0; i < TURNS; i++) {
        struct peer *held = peer_ref(peer);
        (void)peer_runs(held, NULL);
        peer_unref(held);
    }
    peer_unref(peer);
    return NULL;
}

static void every_thread(void **state)
{
    (void)state;
    struct child child = child_start(&(struct child_plan){0});
    struct peer *peer = peer_of_child(&child);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hold, peer_ref(peer)), 0);
    }
    peer_unref(peer);
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    child_stop(&child);
}

static uint64_t now_ns(void)
{
    enum { NS_A_SECOND = 1000000000 };
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
}

/* It runs before each signature. */
static void cost(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct child child = child_start(&(struct child_plan){0});
    struct peer *peer = peer_of_child(&child);
    struct file_identity program;
    uint32_t links;
    assert_int_equal(file_identity_read(peer->proc, "exe", &program, &links), 0);
    const struct file_identity *const programs[] = {&program, NULL};
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        uint64_t begin = now_ns();
        for (int j = 0; j < COUNT; j++) {
            assert_true(peer_runs(peer, programs[i]));
        }
        print_message("%s: %llu ns\n", programs[i] ? "runs that program" : "runs",
                      (unsigned long long)(now_ns() - begin) / COUNT);
    }
    peer_unref(peer);
    child_stop(&child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts),        cmocka_unit_test(in_a_container),
        cmocka_unit_test(runs),         cmocka_unit_test(starts_another_program),
        cmocka_unit_test(every_thread), cmocka_unit_test(cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
