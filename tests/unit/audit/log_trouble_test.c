/* What happens to a log while it is written: nothing that was appended is lost. */
#include "tests/unit/audit/fixture.h"

#include <signal.h>
#include <sys/resource.h>

static struct fixture *running_log(void)
{
    struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_records(fixture, 10);
    fixture_sync(fixture);
    return fixture;
}

static void remove_file(const struct fixture *fixture, const char *path)
{
    (void)fixture;
    assert_int_equal(unlink(path), 0);
}

static void empty_file(const struct fixture *fixture, const char *path)
{
    (void)fixture;
    assert_int_equal(truncate(path, 0), 0);
}

static void shorten_file(const struct fixture *fixture, const char *path)
{
    (void)fixture;
    assert_int_equal(truncate(path, 500), 0);
}

static void write_to_file(const struct fixture *fixture, const char *path)
{
    (void)fixture;
    FILE *file = fopen(path, "ae");
    assert_true(fputs("x\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void replace_by_copy(const struct fixture *fixture, const char *path)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    (void)fixture;
    assert_int_equal(buffer_read_file(path, 1 << 20, &contents, NULL), 0);
    assert_int_equal(unlink(path), 0);
    fixture_write_file(path, buffer_bytes(&contents));
}

static void replace_by_pipe(const struct fixture *fixture, const char *path)
{
    (void)fixture;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void replace_by_link(const struct fixture *fixture, const char *path)
{
    _cleanup_(free_cleanup) char *away = file_join(fixture->root, "away");
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(symlink(away, path), 0);
}

static void remove_folder(const struct fixture *fixture, const char *path)
{
    (void)path;
    (void)nftw(fixture->folder, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void move_folder(const struct fixture *fixture, const char *path)
{
    _cleanup_(free_cleanup) char *away = file_join(fixture->root, "away");
    (void)path;
    assert_int_equal(rename(fixture->folder, away), 0);
}

static void replace_folder(const struct fixture *fixture, const char *path)
{
    move_folder(fixture, path);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
}

/* Every record that the file has from `first` on, in order. */
static void expect_records_from(const struct fixture *fixture, unsigned number, uint64_t first,
                                size_t count)
{
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
    struct fixture_lines lines = fixture_read_lines(path);
    assert_int_equal(lines.list.count, count);
    for (size_t i = 0; i < count; i++) {
        struct audit_link link;
        assert_int_equal(
            audit_record_parse(bytes_of_text(fixture_line(&lines, i)), &link, NULL, NULL), 0);
        assert_int_equal(link.sequence, first + i);
    }
    fixture_write_lines(&lines);
}

static void a_file_taken_away_is_noticed_and_another_begun(void **state)
{
    (void)state;
    static void (*const troubles[])(const struct fixture *fixture, const char *path) = {
        remove_file,     empty_file,      shorten_file,  write_to_file, replace_by_copy,
        replace_by_pipe, replace_by_link, remove_folder, move_folder,   replace_folder,
    };
    for (size_t i = 0; i < ARRAY_SIZE(troubles); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = running_log();
        _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
        struct error err;
        uint64_t first = audit_log_link(fixture->log)->sequence + 1;
        troubles[i](fixture, path);
        fixture_records(fixture, 5);
        assert_int_equal(audit_log_sync(fixture->log, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_true(audit_log_pending_bytes(fixture->log) > 0);
        fixture_records(fixture, 5);
        fixture_sync(fixture);
        fixture_records(fixture, 5);
        fixture_sync(fixture);
        expect_records_from(fixture, 2, first, 15);
        /* The folder is as it has to be again, with the key. */
        fixture_head(fixture, AUDIT_HEAD_INTERVAL);
        _cleanup_(free_cleanup) char *keys = file_join(fixture->folder, "keys");
        assert_int_equal(access(keys, F_OK), 0);
    }
}

/* Even with nothing to write it is seen. */
static void a_quiet_log_is_watched_too(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = running_log();
    struct error err;
    remove_folder(fixture, NULL);
    fixture_write_file(fixture->folder, bytes_of_text("in the way"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(audit_log_sync(fixture->log, &err), -1);
    }
    assert_non_null(strstr(err.text, "not a folder"));
    fixture_records(fixture, 5);
    assert_int_equal(audit_log_sync(fixture->log, &err), -1);
    assert_int_equal(unlink(fixture->folder), 0);
    fixture_sync(fixture);
    expect_records_from(fixture, 2, 12, 5);
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk takes a part of a batch: what is on it is whole records, each once. */
static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = running_log();
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct stat status;
    struct error err;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(stat(path, &status), 0);
    off_t synced = status.st_size;
    fixture_records(fixture, 100);
    size_t pending = audit_log_pending_bytes(fixture->log);
    for (rlim_t room = 0; room < 1000; room += 97) {
        set_file_limit((rlim_t)synced + room);
        int result = audit_log_sync(fixture->log, &err);
        set_file_limit(RLIM_INFINITY);
        assert_int_equal(result, -1);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal((size_t)status.st_size + audit_log_pending_bytes(fixture->log),
                         (size_t)synced + pending);
        fixture_expect_whole(fixture);
        assert_false(fixture_has_remark(fixture, AUDIT_FINDING_TORN));
    }
    assert_true(audit_log_pending_bytes(fixture->log) < pending);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.records, 111);
}

/* While the disk is full, records come and files are due. */
static void a_full_disk_and_new_files(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    struct error err;
    fixture->config.file_max_bytes = 3000;
    (void)signal(SIGXFSZ, SIG_IGN);
    fixture_open(fixture);
    for (rlim_t limit = 500; limit < 3000; limit += 500) {
        for (int i = 0; i < 20; i++) {
            fixture_append(fixture, "\"@timestamp\":\"2026-11-21T10:00:00.000Z\",\"a\":1");
        }
        set_file_limit(limit);
        assert_int_equal(audit_log_sync(fixture->log, &err), -1);
        set_file_limit(RLIM_INFINITY);
    }
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.records, 100);
    assert_true(fixture->verdict.files > 2);
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = running_log();
    _cleanup_(free_cleanup) char *body = memory_new(60001);
    struct error err = {0};
    memset(body, 'x', 60000);
    bool is_new_file;
    unsigned count = 0;
    while (count < 10000 &&
           audit_log_append(fixture->log, bytes_of_text(body), &is_new_file, &err) == 0) {
        count++;
    }
    assert_in_range(count, 1000, 2000);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_taken_away_is_noticed_and_another_begun),
        cmocka_unit_test(a_quiet_log_is_watched_too),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_full_disk_and_new_files),
        cmocka_unit_test(what_waits_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
