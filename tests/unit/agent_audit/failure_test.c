/* The disk in trouble: what is denied, what is told, and that nothing is lost. */
#include "tests/unit/agent_audit/fixture.h"

#include <signal.h>
#include <sys/resource.h>

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = MIN(bytes, limit.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static off_t log_size(const struct fixture *fixture)
{
    struct stat status;
    _cleanup_(free_cleanup) char *path = file_join(fixture->log_folder, "audit-000001.jsonl");
    assert_int_equal(stat(path, &status), 0);
    return status.st_size;
}

static void disk_is_full(struct fixture *fixture, bool is_full)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    limit_files(is_full ? (rlim_t)log_size(fixture) + 700 : RLIM_INFINITY);
}

static void disk_does_not_sync(struct fixture *fixture, bool is_broken)
{
    (void)fixture;
    atomic_store(&disk_error, is_broken ? EIO : 0);
}

/* The folder goes, and cannot be made again. */
static void folder_is_gone(struct fixture *fixture, bool is_gone)
{
    if (is_gone) {
        _cleanup_(free_cleanup) char *aside = file_join(fixture->folder, "aside");
        assert_int_equal(rename(fixture->log_folder, aside), 0);
        _cleanup_(file_close_cleanup) int file =
            open(fixture->log_folder, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(file >= 0);
    } else {
        assert_int_equal(unlink(fixture->log_folder), 0);
    }
}

static const struct {
    const char *name;
    void (*set)(struct fixture *fixture, bool is_on);
    bool keeps_files;
} troubles[] = {{"the disk is full", disk_is_full, true},
                {"the disk does not sync", disk_does_not_sync, true},
                {"a file is where the folder was", folder_is_gone, false}};

static struct audit_status status_of(struct fixture *fixture)
{
    struct audit_status status;
    audit_status(fixture->audit, &status);
    return status;
}

static void write_until_it_fails(struct fixture *fixture, unsigned *written)
{
    uint64_t deadline_ms = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;
    while (fixture_commit(fixture, "kept")) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        (*written)++;
    }
    (*written)++;
}

static void trouble_denies_and_loses_nothing(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(troubles); i++) {
        (void)fixture_setup(state);
        struct fixture *fixture = *state;
        unsigned written = 0;
        print_message("%s\n", troubles[i].name);
        fixture_open_keystore(fixture);
        fixture_start(fixture);
        assert_true(audit_is_usable(fixture->audit));
        assert_true(fixture_commit(fixture, "before"));
        troubles[i].set(fixture, true);
        write_until_it_fails(fixture, &written);
        assert_false(audit_is_usable(fixture->audit));
        assert_int_equal(fixture->failures, 1);
        assert_int_equal(fixture->failure.code, ERROR_UNAVAILABLE);
        assert_true(status_of(fixture).failures > 0);
        assert_true(status_of(fixture).waiting > 0);
        assert_true(strlen(status_of(fixture).failure) > 10);
        for (unsigned j = 0; j < 20; j++, written++) {
            assert_false(fixture_commit(fixture, "kept"));
        }
        assert_int_equal(fixture->failures, 1);
        assert_int_equal(fixture->recoveries, 0);
        troubles[i].set(fixture, false);
        FIXTURE_WAIT(fixture, fixture->recoveries == 1);
        FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0);
        assert_true(audit_is_usable(fixture->audit));
        assert_string_equal(status_of(fixture).failure, "");
        assert_int_equal(status_of(fixture).dropped, 0);
        assert_true(fixture_commit(fixture, "after"));
        fixture_stop(fixture);
        assert_int_equal(fixture->failures, 1);
        if (troubles[i].keeps_files) {
            assert_int_equal(log_count(fixture, "signet.detail", "kept"), written);
            (void)log_assert_whole(fixture, 0);
        }
        assert_int_equal(log_count(fixture, "signet.detail", "after"), 1);
        assert_int_equal(log_count(fixture, "event.action", "audit-log"),
                         troubles[i].keeps_files ? 2 : 1);
        (void)fixture_teardown(state);
    }
}

/* What was put aside and what came after are one chain. */
static void a_folder_taken_away_is_made_anew(void **state)
{
    struct fixture *fixture = *state;
    unsigned written = 0;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "kept"));
    _cleanup_(free_cleanup) char *aside = file_join(fixture->folder, "aside");
    assert_int_equal(rename(fixture->log_folder, aside), 0);
    write_until_it_fails(fixture, &written);
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0);
    fixture_stop(fixture);
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), written);
    assert_int_equal(log_count(fixture, "signet.head.reason", "stop"), 1);
    /* The key is known there too, and will be found again. */
    _cleanup_(free_cleanup) char *key_path = file_join(fixture->log_folder, "head.key");
    assert_int_equal(access(key_path, R_OK), 0);
    unsigned counts[FINDING_KINDS];
    struct audit_verdict verdict = log_verify(fixture, counts);
    assert_true(verdict.heads > 0);
    assert_int_equal(counts[AUDIT_FINDING_UNKNOWN_KEY], 0);
    assert_int_equal(counts[AUDIT_FINDING_CHANGED], 0);
}

static void a_file_removed_is_told(void **state)
{
    struct fixture *fixture = *state;
    unsigned written = 0;
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "gone"));
    _cleanup_(free_cleanup) char *path = file_join(fixture->log_folder, "audit-000001.jsonl");
    assert_int_equal(unlink(path), 0);
    write_until_it_fails(fixture, &written);
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    assert_true(fixture_commit(fixture, "after"));
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), written);
    _cleanup_(free_cleanup) char *message = log_last(fixture, "audit-log", "message");
    assert_non_null(strstr(message, "was removed"));
}

static void continue_goes_on(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.on_failure = AUDIT_ON_FAILURE_CONTINUE;
    fixture_start(fixture);
    atomic_store(&disk_error, EIO);
    fixture_write(fixture, "kept");
    FIXTURE_WAIT(fixture, fixture->failures == 1);
    assert_true(audit_is_usable(fixture->audit));
    for (unsigned i = 0; i < 20; i++) {
        assert_true(fixture_commit(fixture, "kept"));
    }
    assert_int_equal(status_of(fixture).waiting, 21);
    atomic_store(&disk_error, 0);
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0);
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), 21);
    fixture_stop(fixture);
    (void)log_assert_whole(fixture, 1U << AUDIT_FINDING_UNSIGNED);
}

/* Nobody waits longer than some seconds for a disk that says nothing. */
static void a_disk_that_hangs_denies(void **state)
{
    struct fixture *fixture = *state;
    struct waiter waiter = {.turn = NULL};
    fixture_start(fixture);
    uint64_t start_ms = clock_monotonic_ms();
    atomic_store(&disk_hangs, true);
    fixture_write(fixture, "kept");
    waiter_commit(fixture, &waiter);
    FIXTURE_WAIT(fixture, waiter.is_done);
    assert_in_range(clock_monotonic_ms() - start_ms, 5000, 8000);
    assert_true(waiter.is_failed);
    assert_int_equal(waiter.failure.code, ERROR_UNAVAILABLE);
    assert_false(audit_is_usable(fixture->audit));
    assert_int_equal(fixture->failures, 1);
    assert_true(status_of(fixture).oldest_waiting_ms >= 5000);
    assert_false(fixture_commit(fixture, "kept"));
    atomic_store(&disk_hangs, false);
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    assert_true(audit_is_usable(fixture->audit));
    assert_true(fixture_commit(fixture, "kept"));
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), 3);
}

static void what_finds_no_room_is_counted_and_told(void **state)
{
    enum { ROOM = 65536, MORE = 123 };
    struct fixture *fixture = *state;
    fixture_start(fixture);
    atomic_store(&disk_hangs, true);
    for (unsigned i = 0; i < ROOM + MORE; i++) {
        fixture_write(fixture, "kept");
    }
    assert_int_equal(status_of(fixture).dropped, MORE);
    assert_int_equal(status_of(fixture).waiting, ROOM);
    assert_false(audit_is_usable(fixture->audit));
    assert_false(fixture_commit(fixture, "dropped too"));
    atomic_store(&disk_hangs, false);
    FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0 && audit_is_usable(fixture->audit));
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    assert_true(fixture_commit(fixture, "after"));
    fixture_stop(fixture);
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), ROOM);
    assert_int_equal(log_count(fixture, "signet.detail", "dropped too"), 0);
    _cleanup_(free_cleanup) char *message = log_last(fixture, "audit-log", "message");
    _cleanup_(free_cleanup) char *start = log_last(fixture, "audit-log", "event.start");
    assert_non_null(strstr(message, "records were dropped"));
    assert_non_null(start);
    (void)log_assert_whole(fixture, 1U << AUDIT_FINDING_UNSIGNED);
}

/* Bytes are bounded too. */
static void large_records_are_bounded_by_their_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct text_list list = {0};
    for (unsigned i = 0; i < 1500; i++) {
        text_list_add(&list, "unix:group:abcdefg");
    }
    const struct audit_process process = {.pid = 1, .selectors = &list};
    const struct audit_event event = {.action = AUDIT_DENIED, .process = &process};
    fixture_start(fixture);
    atomic_store(&disk_hangs, true);
    for (unsigned i = 0; i < 4000; i++) {
        audit_write(fixture->audit, &event);
    }
    assert_in_range(status_of(fixture).waiting, 2000, 3500);
    assert_int_equal(status_of(fixture).waiting + status_of(fixture).dropped, 4000);
    atomic_store(&disk_hangs, false);
    FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0 && audit_is_usable(fixture->audit));
    fixture_stop(fixture);
    (void)log_assert_whole(fixture, 1U << AUDIT_FINDING_UNSIGNED);
    text_list_clear(&list);
}

static void stop_does_not_wait_for_a_disk_that_hangs(void **state)
{
    struct fixture *fixture = *state;
    struct waiter waiter = {.turn = NULL};
    fixture_start(fixture);
    atomic_store(&disk_hangs, true);
    fixture_write(fixture, "perhaps");
    waiter_commit(fixture, &waiter);
    uint64_t start_ms = clock_monotonic_ms();
    fixture_stop(fixture);
    assert_in_range(clock_monotonic_ms() - start_ms, 3000, 8000);
    assert_true(waiter.is_done && waiter.is_failed);
    atomic_store(&disk_hangs, false);
    /* The thread that was left behind gives the folder free when the disk answers. */
    struct error err;
    uint64_t deadline_ms = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;
    while (audit_new(&fixture->loop, &fixture->config, &fixture->audit, &err) < 0) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        (void)poll(NULL, 0, 10);
    }
    assert_true(fixture_commit(fixture, "after"));
    assert_int_equal(log_count(fixture, "signet.detail", "perhaps"), 1);
}

static void a_start_that_cannot_write_fails(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    atomic_store(&disk_error, EIO);
    fixture_open_keystore(fixture);
    assert_int_equal(audit_new(&fixture->loop, &fixture->config, &fixture->audit, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, fixture->log_folder));
    fixture->config.on_failure = AUDIT_ON_FAILURE_CONTINUE;
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "kept"));
    FIXTURE_WAIT(fixture, fixture->failures == 1);
    atomic_store(&disk_error, 0);
    FIXTURE_WAIT(fixture, fixture->recoveries == 1);
    FIXTURE_WAIT(fixture, status_of(fixture).waiting == 0);
    assert_int_equal(log_count(fixture, "signet.detail", "kept"), 1);
    fixture->config.log.folder = "/nowhere/at/all";
    struct audit *other = NULL;
    assert_int_equal(audit_new(&fixture->loop, &fixture->config, &other, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trouble_denies_and_loses_nothing),
        FIXTURE_TEST(a_folder_taken_away_is_made_anew),
        FIXTURE_TEST(a_file_removed_is_told),
        FIXTURE_TEST(continue_goes_on),
        FIXTURE_TEST(a_disk_that_hangs_denies),
        FIXTURE_TEST(what_finds_no_room_is_counted_and_told),
        FIXTURE_TEST(large_records_are_bounded_by_their_bytes),
        FIXTURE_TEST(stop_does_not_wait_for_a_disk_that_hangs),
        FIXTURE_TEST(a_start_that_cannot_write_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
