/* The writer is killed at any moment: what it had answered for is in the log, and the log is whole.
 */
#include "tests/unit/audit/fixture.h"
#include "tests/unit/child_begin.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/base/clock.h"

enum { ROUNDS = 60, BATCH_MAX = 40, DELAY_MAX_US = 30000 };

/* In the process that is killed: batches, each told of on the pipe once it is on disk. */
_Noreturn static void write_until_killed(struct fixture *fixture, int report)
{
    fixture_open(fixture);
    if (fixture->found.damage[0] != '\0') {
        _exit(2);
    }
    fixture_head(fixture, AUDIT_HEAD_START);
    for (;;) {
        fixture_records(fixture, 1 + (unsigned)clock_random_below(BATCH_MAX));
        uint64_t last = audit_log_link(fixture->log)->sequence;
        fixture_sync(fixture);
        if (write(report, &last, sizeof(last)) != sizeof(last)) {
            _exit(3);
        }
        if (clock_random_below(10) == 0) {
            fixture_head(fixture, AUDIT_HEAD_INTERVAL);
        }
    }
}

static uint64_t last_answered(int report)
{
    uint64_t last = 0;
    uint64_t value;
    while (read(report, &value, sizeof(value)) == sizeof(value)) {
        last = value;
    }
    return last;
}

/* Lets it answer once, then kills it after a random time. */
static uint64_t run_and_kill(struct fixture *fixture)
{
    int ends[2];
    int status = 0;
    uint64_t first = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        child_begin();
        write_until_killed(fixture, ends[1]);
    }
    assert_true(child > 0);
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &first, sizeof(first)), sizeof(first));
    struct timespec delay = {0, (long)clock_random_below(DELAY_MAX_US) * 1000};
    (void)nanosleep(&delay, NULL);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    uint64_t last = last_answered(ends[0]);
    (void)close(ends[0]);
    return MAX(first, last);
}

static void what_was_answered_for_is_there(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 100000;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t answered = run_and_kill(fixture);
        fixture_expect_whole(fixture);
        assert_true(fixture->verdict.last.sequence >= answered);
        assert_true(round % 10 == 0 || fixture_has_remark(fixture, AUDIT_FINDING_CRASH) ||
                    fixture->verdict.files > 1);
        /* Few remarks are kept by the fixture: begin anew now and then. */
        if (round % 10 == 9) {
            (void)nftw(fixture->folder, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_answered_for_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
