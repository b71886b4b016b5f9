/* Group commit: who is answered, when, and that what was answered for is there. */
#include "tests/unit/agent_audit/fixture.h"
#include "tests/unit/child_begin.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static void check_is_there(struct audit_wait *wait, const struct error *failure)
{
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    assert_null(failure);
    waiter->is_done = true;
}

/* When done runs, another reader finds the record. */
static void an_answer_comes_after_the_record(void **state)
{
    struct fixture *fixture = *state;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    for (unsigned i = 0; i < 50; i++) {
        char detail[32];
        struct waiter waiter = {.wait.done = check_is_there};
        (void)snprintf(detail, sizeof(detail), "record %u", i);
        fixture_write(fixture, detail);
        audit_commit(fixture->audit, &waiter.wait);
        assert_false(waiter.is_done);
        FIXTURE_WAIT(fixture, waiter.is_done);
        assert_int_equal(log_count(fixture, "signet.detail", detail), 1);
    }
    fixture_stop(fixture);
    struct audit_verdict verdict = log_assert_whole(fixture, 0);
    assert_int_equal(verdict.heads, 2);
    assert_int_equal(verdict.records, 55);
}

static void many_share_one_wait_for_the_disk(void **state)
{
    enum { COUNT = 1000 };
    struct fixture *fixture = *state;
    struct waiter *waiters = memory_new_array(COUNT, sizeof(*waiters));
    unsigned turn = 0;
    fixture_start(fixture);
    atomic_store(&disk_syncs, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        waiters[i].turn = &turn;
        fixture_write(fixture, "one of many");
        waiter_commit(fixture, &waiters[i]);
    }
    FIXTURE_WAIT(fixture, turn == COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(waiters[i].place, i);
        assert_false(waiters[i].is_failed);
    }
    assert_in_range(atomic_load(&disk_syncs), 1, 10);
    assert_int_equal(log_count(fixture, "signet.detail", "one of many"), COUNT);
    free(waiters);
}

/* A commit with nothing new is answered too, later. */
static void nothing_to_wait_for_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct waiter first = {.turn = NULL};
    struct waiter second = {.turn = NULL};
    fixture_start(fixture);
    waiter_commit(fixture, &first);
    waiter_commit(fixture, &second);
    FIXTURE_WAIT(fixture, first.is_done && second.is_done);
    assert_false(first.is_failed || second.is_failed);
}

/* Records that nobody waits for reach the disk by themselves. */
static void what_nobody_waits_for_is_written(void **state)
{
    struct fixture *fixture = *state;
    struct audit_status status;
    fixture_start(fixture);
    fixture_write(fixture, "alone");
    do {
        fixture_turn(fixture);
        audit_status(fixture->audit, &status);
    } while (status.waiting > 0);
    assert_int_equal(log_count(fixture, "signet.detail", "alone"), 1);
    assert_int_equal(status.records, 2);
    assert_int_equal(status.link.sequence, 2);
    assert_int_equal(status.oldest_waiting_ms, 0);
}

static void one_that_is_cancelled_is_not_called(void **state)
{
    struct fixture *fixture = *state;
    struct waiter *waiters[5];
    unsigned turn = 0;
    fixture_start(fixture);
    fixture_write(fixture, "for some");
    for (unsigned i = 0; i < ARRAY_SIZE(waiters); i++) {
        waiters[i] = NEW(struct waiter);
        waiters[i]->turn = &turn;
        waiter_commit(fixture, waiters[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(waiters); i += 2) {
        audit_wait_cancel(&waiters[i]->wait);
        audit_wait_cancel(&waiters[i]->wait);
        assert_false(waiters[i]->is_done);
        free(waiters[i]);
    }
    FIXTURE_WAIT(fixture, turn == 2);
    assert_true(waiters[1]->is_done && waiters[3]->is_done);
    audit_wait_cancel(&waiters[1]->wait);
    free(waiters[1]);
    free(waiters[3]);
}

struct chain {
    struct waiter waiter;
    struct fixture *fixture;
    unsigned left;
    struct waiter *victim;
};

static void commit_again(struct audit_wait *wait, const struct error *failure)
{
    struct chain *chain = container_of(wait, struct chain, waiter.wait);
    assert_null(failure);
    if (chain->victim) {
        audit_wait_cancel(&chain->victim->wait);
        chain->victim = NULL;
    }
    if (chain->left-- > 0) {
        fixture_write(chain->fixture, "again");
        audit_commit(chain->fixture->audit, wait);
    }
}

static void an_answer_may_commit_and_cancel(void **state)
{
    struct fixture *fixture = *state;
    struct waiter victim = {.turn = NULL};
    struct chain chain = {
        .waiter.wait.done = commit_again, .fixture = fixture, .left = 20, .victim = &victim};
    fixture_start(fixture);
    fixture_write(fixture, "again");
    audit_commit(fixture->audit, &chain.waiter.wait);
    waiter_commit(fixture, &victim);
    FIXTURE_WAIT(fixture, chain.left == UINT32_MAX);
    assert_false(victim.is_done);
    assert_int_equal(log_count(fixture, "signet.detail", "again"), 21);
}

static void stop_answers_those_who_wait(void **state)
{
    struct fixture *fixture = *state;
    struct waiter waiter = {.turn = NULL};
    fixture_start(fixture);
    fixture_write(fixture, "at the end");
    waiter_commit(fixture, &waiter);
    fixture_stop(fixture);
    assert_true(waiter.is_done);
    assert_false(waiter.is_failed);
    assert_int_equal(log_count(fixture, "signet.detail", "at the end"), 1);
    assert_int_equal(log_count(fixture, "event.action", "stopped"), 1);
}

static void a_restart_continues_the_chain(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.log.file_max_bytes = 20000;
    for (unsigned run = 0; run < 3; run++) {
        fixture_open_keystore(fixture);
        fixture_start(fixture);
        for (unsigned i = 0; i < 60; i++) {
            assert_true(fixture_commit(fixture, "kept"));
        }
        fixture_stop(fixture);
        fixture_close_keystore(fixture);
        _cleanup_(free_cleanup) char *detail = log_last(fixture, "started", "signet.detail");
        assert_string_equal(detail, run == 0 ? "signet " SIGNET_VERSION "; a new audit log"
                                             : "signet " SIGNET_VERSION);
    }
    struct audit_verdict verdict = log_assert_whole(fixture, 0);
    assert_true(verdict.files > 3);
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), 180);
    assert_int_equal(log_count(fixture, "event.action", "started"), 3);
    assert_int_equal(log_count(fixture, "signet.head.reason", "file"), verdict.files - 1);
    assert_int_equal(atomic_load(&fixture->hardware.generated), 1);
}

/* The process that is killed: tells of each record that was answered for. */
struct teller {
    struct waiter waiter;
    struct fixture *fixture;
    uint32_t number;
    uint32_t step;
    int pipe;
};

static void teller_next(struct teller *teller)
{
    char detail[32];
    (void)snprintf(detail, sizeof(detail), "number %u", teller->number);
    fixture_write(teller->fixture, detail);
    audit_commit(teller->fixture->audit, &teller->waiter.wait);
}

static void teller_told(struct audit_wait *wait, const struct error *failure)
{
    struct teller *teller = container_of(wait, struct teller, waiter.wait);
    if (failure || write(teller->pipe, &teller->number, sizeof(teller->number)) < 0) {
        _exit(1);
    }
    teller->number += teller->step;
    teller_next(teller);
}

static _Noreturn void run_until_killed(struct fixture *fixture, int pipe)
{
    static struct teller tellers[16];
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    for (uint32_t i = 0; i < ARRAY_SIZE(tellers); i++) {
        tellers[i] = (struct teller){.waiter.wait.done = teller_told,
                                     .fixture = fixture,
                                     .number = i,
                                     .step = ARRAY_SIZE(tellers),
                                     .pipe = pipe};
        teller_next(&tellers[i]);
    }
    for (;;) {
        fixture_turn(fixture);
    }
}

static void assert_all_there(const struct fixture *fixture, const uint8_t *is_told, size_t count)
{
    struct audit_reader *reader = NULL;
    struct error err;
    struct audit_line line;
    bool has_line = true;
    uint8_t *is_there = memory_new(count);
    assert_int_equal(audit_reader_open(fixture->log_folder, &reader, &err), 0);
    while (audit_reader_next(reader, &has_line, &line, &err) == 0 && has_line) {
        const char *found =
            line.is_torn ? NULL
                         : memmem(line.text.data, line.text.size, "\"number ", strlen("\"number "));
        uint32_t number = found ? (uint32_t)strtoul(found + strlen("\"number "), NULL, 10) : 0;
        if (found && number < count) {
            assert_int_equal(is_there[number]++, 0);
        }
    }
    audit_reader_close(reader);
    for (size_t i = 0; i < count; i++) {
        assert_true(!is_told[i] || is_there[i]);
    }
    free(is_there);
}

static void what_was_answered_for_survives_a_kill(void **state)
{
    enum { ROUNDS = 5, NUMBERS = 100000 };
    struct fixture *fixture = *state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t *is_told = memory_new(NUMBERS);
        uint32_t number = 0;
        unsigned told = 0;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            child_begin();
            (void)close(ends[0]);
            run_until_killed(fixture, ends[1]);
        }
        (void)close(ends[1]);
        while (read(ends[0], &number, sizeof(number)) == sizeof(number)) {
            is_told[MIN(number, (uint32_t)NUMBERS - 1)] = 1;
            if (++told == 200 + 37 * round) {
                assert_int_equal(kill(child, SIGKILL), 0);
            }
        }
        (void)close(ends[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_true(told >= 200);
        assert_all_there(fixture, is_told, NUMBERS);
        free(is_told);
        (void)log_assert_whole(fixture, 1U << AUDIT_FINDING_TORN | 1U << AUDIT_FINDING_CRASH |
                                            1U << AUDIT_FINDING_UNSIGNED);
        fixture_remove_folder(fixture->log_folder);
    }
}

/* The next run says so, and goes on with the chain. */
static void a_crash_is_told(void **state)
{
    struct fixture *fixture = *state;
    pid_t child = fork();
    if (child == 0) {
        child_begin();
        fixture_open_keystore(fixture);
        fixture_start(fixture);
        _exit(fixture_commit(fixture, "before the end") ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    _cleanup_(free_cleanup) char *detail = log_last(fixture, "started", "signet.detail");
    assert_non_null(strstr(detail, "did not end with a signed head"));
    fixture_stop(fixture);
    (void)log_assert_whole(fixture, 1U << AUDIT_FINDING_CRASH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(what_was_answered_for_survives_a_kill),
        FIXTURE_TEST(a_crash_is_told),
        FIXTURE_TEST(an_answer_comes_after_the_record),
        FIXTURE_TEST(many_share_one_wait_for_the_disk),
        FIXTURE_TEST(nothing_to_wait_for_is_answered),
        FIXTURE_TEST(what_nobody_waits_for_is_written),
        FIXTURE_TEST(one_that_is_cancelled_is_not_called),
        FIXTURE_TEST(an_answer_may_commit_and_cancel),
        FIXTURE_TEST(stop_answers_those_who_wait),
        FIXTURE_TEST(a_restart_continues_the_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
