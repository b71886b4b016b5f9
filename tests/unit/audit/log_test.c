#include "tests/unit/audit/fixture.h"

#include <dirent.h>

static unsigned count_files(const struct fixture *fixture)
{
    unsigned count = 0;
    DIR *folder = opendir(fixture->folder);
    assert_non_null(folder);
    for (struct dirent *item = readdir(folder); item; item = readdir(folder)) {
        count += strncmp(item->d_name, "audit-", 6) == 0 ? 1 : 0;
    }
    (void)closedir(folder);
    return count;
}

static void write_empty(const struct fixture *fixture, unsigned number)
{
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
    fixture_write_file(path, (struct bytes){0});
}

static void append_to_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "ae");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_log_goes_on_where_it_ended(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    for (unsigned run = 0; run < 3; run++) {
        fixture_open(fixture);
        assert_int_equal(fixture->found.is_new, run == 0);
        assert_int_equal(fixture->found.is_in_order, run > 0);
        assert_string_equal(fixture->found.damage, "");
        assert_int_equal(fixture->found.torn_bytes, 0);
        assert_int_equal(audit_log_link(fixture->log)->sequence, run * 12);
        fixture_head(fixture, AUDIT_HEAD_START);
        fixture_records(fixture, 10);
        fixture_head(fixture, AUDIT_HEAD_STOP);
        fixture_close(fixture);
    }
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.last.sequence, 36);
    assert_int_equal(fixture->remark_count, 0);
    assert_int_equal(count_files(fixture), 1);
}

static void appended_is_not_written_until_synced(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct stat status;
    fixture_open(fixture);
    fixture_records(fixture, 10);
    assert_true(audit_log_pending_bytes(fixture->log) > 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    fixture_sync(fixture);
    assert_int_equal(audit_log_pending_bytes(fixture->log), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size > 1000);
}

/* The agent died after it had begun a file, more than once. */
static void an_empty_file_is_gone_on_with(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 10);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    write_empty(fixture, 2);
    write_empty(fixture, 4);
    fixture_open(fixture);
    assert_string_equal(fixture->found.damage, "");
    assert_true(fixture->found.is_in_order);
    assert_int_equal(audit_log_link(fixture->log)->sequence, 11);
    fixture_records(fixture, 10);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.records, 21);
    assert_false(fixture_has_file(fixture, 5));
}

static void files_end_at_their_size(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 10000;
    fixture_open(fixture);
    fixture_records(fixture, 400);
    fixture_sync(fixture);
    fixture_close(fixture);
    unsigned files = count_files(fixture);
    assert_in_range(files, 5, 20);
    for (unsigned number = 1; number <= files; number++) {
        _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_in_range(status.st_size, number < files ? 10000 : 1, 11000);
    }
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.files, files);
    assert_int_equal(fixture->verdict.heads, files - 1);
}

/* Many files begun before the disk is asked for the first time. */
static void files_are_begun_while_nothing_is_written(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 1000;
    fixture_open(fixture);
    for (unsigned i = 0; i < 100; i++) {
        fixture_append(fixture, "\"@timestamp\":\"2026-11-21T10:00:00.000Z\",\"a\":1");
    }
    assert_int_equal(count_files(fixture), 1);
    fixture_sync(fixture);
    assert_in_range(count_files(fixture), 10, 30);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.records, 100);
}

static void files_end_at_their_age(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture->config.file_max_age_s = 3600;
    fixture_open(fixture);
    fixture_append(fixture, "\"@timestamp\":\"2020-01-01T10:00:00.000Z\",\"a\":1");
    assert_false(fixture->is_new_file);
    fixture_sync(fixture);
    fixture_close(fixture);
    /* Its first record says that it is old. */
    fixture_open(fixture);
    fixture_append(fixture, "\"@timestamp\":\"2026-11-21T10:00:00.000Z\",\"a\":2");
    assert_true(fixture->is_new_file);
    fixture_head(fixture, AUDIT_HEAD_FILE);
    assert_false(fixture->is_new_file);
    assert_int_equal(count_files(fixture), 2);
    fixture_expect_whole(fixture);
}

/* Of the file before the newest only the end is read, wherever its lines lie. */
static void large_files_are_joined(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *body = memory_new(50001);
    memset(body, 'x', 50000);
    for (unsigned extra = 0; extra < 3; extra++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
        fixture->config.file_max_bytes = 1000000;
        fixture_open(fixture);
        for (unsigned i = 0; i < 25 + extra; i++) {
            fixture_append(fixture, body);
            body[49999 - i] = '\0';
        }
        fixture_sync(fixture);
        fixture_close(fixture);
        assert_int_equal(count_files(fixture), 2);
        fixture_open(fixture);
        assert_string_equal(fixture->found.damage, "");
        assert_int_equal(audit_log_link(fixture->log)->sequence, 25 + extra);
        fixture_append(fixture, body);
        fixture_sync(fixture);
        fixture_expect_whole(fixture);
    }
}

static void old_files_go(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 4000;
    fixture->config.files_kept = 3;
    fixture_open(fixture);
    fixture_records(fixture, 400);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    assert_int_equal(count_files(fixture), 3);
    assert_false(fixture_has_file(fixture, 1));
    fixture_expect_whole(fixture);
    assert_true(fixture->verdict.first.sequence > 300);
    assert_int_equal(fixture->remark_count, 0);
    fixture_open(fixture);
    assert_string_equal(fixture->found.damage, "");
    assert_true(fixture->found.is_in_order);
}

static void a_torn_end_is_cut_off_and_kept(void **state)
{
    (void)state;
    static const char *const torn[] = {"{\"event.sequence\":11,\"a", "x", "{"};
    for (size_t i = 0; i < ARRAY_SIZE(torn); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
        _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
        _cleanup_(free_cleanup) char *kept = file_join(fixture->folder, "torn-000001");
        _cleanup_(buffer_clear) struct buffer contents = {0};
        fixture_open(fixture);
        fixture_records(fixture, 10);
        fixture_sync(fixture);
        fixture_close(fixture);
        append_to_file(path, torn[i]);
        fixture_open(fixture);
        assert_int_equal(fixture->found.torn_bytes, strlen(torn[i]));
        assert_string_equal(fixture->found.damage, "");
        assert_false(fixture->found.is_in_order);
        fixture_records(fixture, 10);
        fixture_sync(fixture);
        fixture_expect_whole(fixture);
        assert_int_equal(fixture->verdict.records, 20);
        assert_int_equal(buffer_read_file(kept, 1000, &contents, NULL), 0);
        assert_true(bytes_is_equal(buffer_bytes(&contents), bytes_of_text(torn[i])));
    }
}

/* As a file system may leave it after a power cut: a long end of zeros. */
static void an_end_of_zeros_is_cut_off(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct stat status;
    fixture_open(fixture);
    fixture_records(fixture, 10);
    fixture_sync(fixture);
    fixture_close(fixture);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size + 3000000), 0);
    fixture_open(fixture);
    assert_int_equal(fixture->found.torn_bytes, 3000000);
    fixture_records(fixture, 10);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.records, 20);
}

static void change_text(const char *path)
{
    struct fixture_lines lines = fixture_read_lines(path);
    strstr(fixture_line(&lines, 4), "used")[0] = 'U';
    fixture_write_lines(&lines);
}

static void cut_back(const char *path)
{
    struct fixture_lines lines = fixture_read_lines(path);
    while (lines.list.count > 5) {
        free(lines.list.items[--lines.list.count]);
    }
    fixture_write_lines(&lines);
}

static void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void put_rubbish(const char *path)
{
    append_to_file(path, "rubbish\n");
}

/* A log that was tampered with while no agent ran: said at the start, and to be seen for ever. */
static void damage_is_told_and_stays_to_be_seen(void **state)
{
    (void)state;
    static const struct {
        void (*damage)(const char *path);
        const char *text;
    } cases[] = {
        {change_text, "does not follow"},
        {cut_back, "cut back"},
        {remove_file, "cut back"},
        {put_rubbish, "no record"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
        _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
        fixture_open(fixture);
        fixture_head(fixture, AUDIT_HEAD_START);
        fixture_records(fixture, 10);
        fixture_head(fixture, AUDIT_HEAD_STOP);
        fixture_close(fixture);
        cases[i].damage(path);
        fixture_open(fixture);
        assert_false(fixture->found.is_new);
        if (!strstr(fixture->found.damage, cases[i].text)) {
            fail_msg("%s: \"%s\"", cases[i].text, fixture->found.damage);
        }
        fixture_records(fixture, 10);
        fixture_head(fixture, AUDIT_HEAD_STOP);
        fixture_close(fixture);
        fixture_verify(fixture, NULL);
        assert_false(fixture->verdict.is_whole);
        assert_in_range(fixture->finding_count, 1, 2);
        /* What was written afterwards holds together. */
        fixture_open(fixture);
        fixture_records(fixture, 1);
        fixture_sync(fixture);
    }
}

static void folders_that_are_none_are_refused(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    struct error err;
    fixture_write_file(fixture->folder, bytes_of_text("x"));
    assert_int_equal(audit_log_open(&fixture->config, &fixture->log, &fixture->found, &err), -1);
    assert_non_null(strstr(err.text, "not a folder"));
    assert_int_equal(unlink(fixture->folder), 0);
    assert_int_equal(mkdir(fixture->folder, 0777), 0);
    assert_int_equal(chmod(fixture->folder, 0777), 0);
    assert_int_equal(audit_log_open(&fixture->config, &fixture->log, &fixture->found, &err), -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
}

static void files_that_are_none_are_refused(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    _cleanup_(free_cleanup) char *elsewhere = file_join(fixture->root, "elsewhere");
    struct error err;
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(i == 0   ? mkfifo(path, 0600)
                         : i == 1 ? mkdir(path, 0700)
                                  : symlink(elsewhere, path),
                         0);
        fixture_write_file(elsewhere, bytes_of_text(""));
        assert_int_equal(audit_log_open(&fixture->config, &fixture->log, &fixture->found, &err),
                         -1);
        assert_non_null(strstr(err.text, "not a file"));
        assert_int_equal(remove(path), 0);
    }
}

static void one_writer_at_a_time(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    struct audit_log *other = NULL;
    struct error err;
    fixture_open(fixture);
    assert_int_equal(audit_log_open(&fixture->config, &other, &fixture->found, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    fixture_close(fixture);
    fixture_open(fixture);
}

static void a_missing_key_or_head_does_not_stop_it(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    _cleanup_(free_cleanup) char *head = file_join(fixture->folder, "head.json");
    fixture_open(fixture);
    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_close(fixture);
    assert_int_equal(unlink(head), 0);
    fixture_open(fixture);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_expect_whole(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_goes_on_where_it_ended),
        cmocka_unit_test(appended_is_not_written_until_synced),
        cmocka_unit_test(an_empty_file_is_gone_on_with),
        cmocka_unit_test(files_end_at_their_size),
        cmocka_unit_test(files_are_begun_while_nothing_is_written),
        cmocka_unit_test(files_end_at_their_age),
        cmocka_unit_test(large_files_are_joined),
        cmocka_unit_test(old_files_go),
        cmocka_unit_test(a_torn_end_is_cut_off_and_kept),
        cmocka_unit_test(an_end_of_zeros_is_cut_off),
        cmocka_unit_test(damage_is_told_and_stays_to_be_seen),
        cmocka_unit_test(folders_that_are_none_are_refused),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(one_writer_at_a_time),
        cmocka_unit_test(a_missing_key_or_head_does_not_stop_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
