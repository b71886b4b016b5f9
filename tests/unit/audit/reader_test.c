#include "tests/unit/audit/fixture.h"

static void write_text(struct fixture *fixture, unsigned number, const char *text)
{
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
    fixture_write_file(path, bytes_of_text(text));
}

static void lines_come_in_the_order_of_the_files(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *file, *text;
        uint64_t line, offset;
        bool is_first, is_torn;
    } expected[] = {
        {"audit-000002.jsonl", "b1", 1, 0, true, false},
        {"audit-000002.jsonl", "", 2, 3, false, false},
        {"audit-000002.jsonl", "b3", 3, 4, false, true},
        {"audit-000010.jsonl", "c", 1, 0, true, false},
        {"audit-1000000.jsonl", "d", 1, 0, true, false},
    };
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct audit_line line;
    bool has_line = false;
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    write_text(fixture, 1000000, "d\n");
    write_text(fixture, 2, "b1\n\nb3");
    write_text(fixture, 10, "c\n");
    write_text(fixture, 5, "");
    static const char *const others[] = {"audit-1.jsonl", "audit-0000003.jsonl", "audit-000003",
                                         "xaudit-000003.jsonl", "audit-99999999999.jsonl"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        _cleanup_(free_cleanup) char *path = file_join(fixture->folder, others[i]);
        fixture_write_file(path, bytes_of_text("not of the log\n"));
    }
    assert_int_equal(audit_reader_open(fixture->folder, &reader, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
        assert_true(has_line);
        assert_true(bytes_is_equal(line.text, bytes_of_text(expected[i].text)));
        assert_string_equal(line.file, expected[i].file);
        assert_int_equal(line.line, expected[i].line);
        assert_int_equal(line.offset, expected[i].offset);
        assert_int_equal(line.is_first_of_file, expected[i].is_first);
        assert_int_equal(line.is_torn, expected[i].is_torn);
        assert_false(line.is_too_long);
    }
    assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
    assert_false(has_line);
}

/* Lines around every bound that the reader has inside. */
static void long_lines_are_skipped(void **state)
{
    struct fixture *fixture = *state;
    static const size_t sizes[] = {65535,  65536,  65537,  262143, 262144,
                                   262145, 400000, 524287, 524288, 1000000};
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (int is_torn = 0; is_torn < 2; is_torn++) {
            _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
            _cleanup_(buffer_clear) struct buffer contents = {0};
            struct audit_line line;
            bool has_line = false;
            buffer_append_text(&contents, "before\n");
            memset(buffer_extend(&contents, sizes[i]), 'x', sizes[i]);
            buffer_append_text(&contents, is_torn ? "" : "\nafter\n");
            _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
            fixture_write_file(path, buffer_bytes(&contents));
            assert_int_equal(audit_reader_open(path, &reader, NULL), 0);
            assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
            assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
            assert_true(has_line);
            assert_int_equal(line.is_too_long, sizes[i] > AUDIT_RECORD_MAX_BYTES);
            assert_int_equal(line.is_torn, is_torn);
            assert_int_equal(line.text.data[line.text.size - 1], 'x');
            assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
            assert_int_equal(has_line, !is_torn);
            if (has_line) {
                assert_true(bytes_is_equal(line.text, bytes_of_text("after")));
                assert_int_equal(line.offset, 7 + sizes[i] + 1);
            }
        }
    }
}

static void what_is_no_log_is_refused(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct error err;
    assert_int_equal(audit_reader_open(fixture->folder, &reader, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    assert_int_equal(audit_reader_open(fixture->folder, &reader, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(audit_reader_open("/dev/null", &reader, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

static void files_that_are_none_are_told(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 2);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    write_text(fixture, 1, "a\n");
    static const char *const kinds[] = {"a pipe", "a folder", "a symbolic link"};
    for (int i = 0; i < 3; i++) {
        _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
        struct audit_line line;
        struct error err;
        bool has_line = false;
        assert_int_equal(i == 0   ? mkfifo(path, 0600)
                         : i == 1 ? mkdir(path, 0700)
                                  : symlink("audit-000001.jsonl", path),
                         0);
        assert_int_equal(audit_reader_open(fixture->folder, &reader, NULL), 0);
        assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
        assert_int_equal(audit_reader_next(reader, &has_line, &line, &err), -1);
        assert_non_null(strstr(err.text, kinds[i]));
        assert_int_equal(remove(path), 0);
    }
}

/* The agent removes its oldest files while somebody reads. */
static void files_may_go_while_reading(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    _cleanup_(free_cleanup) char *first = fixture_file(fixture, 1);
    struct audit_line line;
    bool has_line = false;
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    write_text(fixture, 1, "a\n");
    write_text(fixture, 2, "b\n");
    assert_int_equal(audit_reader_open(fixture->folder, &reader, NULL), 0);
    assert_int_equal(unlink(first), 0);
    assert_int_equal(audit_reader_next(reader, &has_line, &line, NULL), 0);
    assert_true(has_line);
    assert_string_equal(line.file, "audit-000002.jsonl");
}

static void keys_are_what_they_are_named(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    _cleanup_(buffer_clear) struct buffer key = {0};
    struct audit_head head = {0};
    struct error err;
    fixture_open(fixture);
    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_sign(fixture->key, &head);
    assert_int_equal(audit_reader_open(fixture->folder, &reader, NULL), 0);
    assert_int_equal(audit_reader_key(reader, head.key_id, &key, NULL), 0);
    assert_int_equal(key.size, fixture->public_key_size);
    assert_memory_equal(key.data, fixture->public_key, key.size);
    static const char *const ids[] = {"", "../head", "0123",
                                      "ABCDEF0123456789012345678901234567890123",
                                      "0000000000000000000000000000000000000000"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_int_equal(audit_reader_key(reader, ids[i], &key, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
    }
    /* Another key under that name. */
    _cleanup_(free_cleanup) char *from =
        text_format("%s/keys/%s.pem", fixture->folder, head.key_id);
    _cleanup_(free_cleanup) char *to = text_format("%s/keys/%s.pem", fixture->folder, ids[4]);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(audit_reader_key(reader, ids[4], &key, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    fixture_write_file(to, bytes_of_text("rubbish"));
    assert_int_equal(audit_reader_key(reader, ids[4], &key, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_int_equal(key.size, fixture->public_key_size);
}

static int make(void **state)
{
    *state = fixture_new();
    return 0;
}

static int unmake(void **state)
{
    fixture_free(*state);
    return 0;
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(lines_come_in_the_order_of_the_files),
        WITH_FOLDER(long_lines_are_skipped),
        WITH_FOLDER(what_is_no_log_is_refused),
        WITH_FOLDER(files_that_are_none_are_told),
        WITH_FOLDER(files_may_go_while_reading),
        WITH_FOLDER(keys_are_what_they_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
