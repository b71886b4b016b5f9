/* Logs of several files, and heads that come late. */
#include "tests/unit/audit/tamper.h"

/* Three files of 20 records and some. */
static struct fixture *log_of_files(void)
{
    struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 4000;
    fixture_open(fixture);
    fixture_records(fixture, 70);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    assert_true(fixture_has_file(fixture, 3));
    return fixture;
}

static void files_are_chained(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned removed; /* the file; 0: none */
        void (*tamper)(struct text_list *lines);
        enum audit_finding_kind kind;
        const char *file;
        uint64_t line;
    } cases[] = {
        {"a file missing", 2, NULL, AUDIT_FINDING_CUT, "audit-000003.jsonl", 1},
        {"cut at the start of a file", 0, cut_start, AUDIT_FINDING_CUT, "audit-000002.jsonl", 1},
        {"cut at the end of a file", 0, cut_end, AUDIT_FINDING_CUT, "audit-000003.jsonl", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = log_of_files();
        fixture_expect_whole(fixture);
        if (cases[i].removed) {
            _cleanup_(free_cleanup) char *path = fixture_file(fixture, cases[i].removed);
            assert_int_equal(unlink(path), 0);
        } else {
            tamper_with(fixture, 2, cases[i].tamper);
        }
        fixture_verify(fixture, NULL);
        if (fixture->finding_count != 1 || fixture->findings[0].kind != cases[i].kind ||
            strcmp(fixture->finding_files[0], cases[i].file) != 0 ||
            fixture->findings[0].line != cases[i].line) {
            fail_msg("%s: %zu findings, the first %s in %s: %s", cases[i].name,
                     fixture->finding_count, audit_finding_name(fixture->findings[0].kind),
                     fixture->finding_files[0], fixture->findings[0].text);
        }
    }
}

static void a_log_without_its_oldest_files_is_whole(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = log_of_files();
    _cleanup_(free_cleanup) char *first = fixture_file(fixture, 1);
    assert_int_equal(unlink(first), 0);
    fixture_expect_whole(fixture);
    assert_true(fixture->verdict.first.sequence > 1);
    tamper_with(fixture, 2, cut_sixth);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_CUT);
}

static void one_file_can_be_judged_alone(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = log_of_files();
    for (unsigned number = 1; number <= 3; number++) {
        _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
        fixture_verify_path(fixture, path, NULL);
        assert_true(fixture->verdict.is_whole);
        assert_int_equal(fixture->verdict.files, 1);
    }
}

static void what_is_no_tampering_is_a_remark(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 3);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_true(fixture_has_remark(fixture, AUDIT_FINDING_UNSIGNED));

    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_records(fixture, 3);
    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->remark_count, 1);
    assert_true(fixture_has_remark(fixture, AUDIT_FINDING_CRASH));
    assert_int_equal(fixture->verdict.heads, 2);

    fixture_records(fixture, 3);
    fixture_sync(fixture);
    fixture_expect_whole(fixture);
    assert_true(fixture_has_remark(fixture, AUDIT_FINDING_UNSIGNED));

    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    FILE *file = fopen(path, "ae");
    assert_true(fputs("{\"event.seq", file) >= 0);
    assert_int_equal(fclose(file), 0);
    fixture_expect_whole(fixture);
    assert_true(fixture_has_remark(fixture, AUDIT_FINDING_TORN));
}

/* The hardware took its time and records went on: the head is of one some way back. */
static void heads_may_come_late(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 10);
    struct audit_link link = *audit_log_link(fixture->log);
    fixture_records(fixture, 10);
    fixture_head_of(fixture, &link, AUDIT_HEAD_INTERVAL);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->verdict.signed_last.sequence, 10);
    assert_true(fixture_has_remark(fixture, AUDIT_FINDING_UNSIGNED));

    /* Of a record that never was. */
    link.hash[0] ^= 1;
    fixture_head_of(fixture, &link, AUDIT_HEAD_INTERVAL);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 2);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_ROLLED_BACK);
    assert_int_equal(fixture->findings[1].kind, AUDIT_FINDING_SIGNATURE);
}

/* The first file that is left begins with records; its head comes behind them and proves that they
 * are where the file begins. */
static struct fixture *log_with_late_file_head(bool is_of_end_before)
{
    struct fixture *fixture = fixture_new();
    fixture->config.file_max_bytes = 4000;
    fixture->config.files_kept = 2;
    fixture_open(fixture);
    while (!fixture->is_new_file) {
        fixture_records(fixture, 1);
    }
    struct audit_link end_before = *audit_log_link(fixture->log);
    fixture->is_new_file = false;
    fixture_records(fixture, 5);
    fixture_head_of(fixture, is_of_end_before ? &end_before : audit_log_link(fixture->log),
                    AUDIT_HEAD_FILE);
    while (!fixture_has_file(fixture, 3)) {
        fixture_records(fixture, 1);
    }
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    assert_false(fixture_has_file(fixture, 1));
    return fixture;
}

static void a_late_head_proves_where_a_file_begins(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = log_with_late_file_head(true);
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->remark_count, 0);
    /* The first record cannot be changed: the head has the hash before it. */
    tamper_with(fixture, 2, change_first);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_CHANGED);

    _cleanup_(fixture_cleanup) struct fixture *later = log_with_late_file_head(false);
    fixture_expect_whole(later);
    assert_true(fixture_has_remark(later, AUDIT_FINDING_CUT));
}

/* The record before the first head of all: nothing could have been removed for its age. */
static void the_first_record_of_all_is_missed(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 1);
    fixture_head(fixture, AUDIT_HEAD_START);
    fixture_records(fixture, 10);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    tamper_with(fixture, 1, cut_first);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_CUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_chained),
        cmocka_unit_test(a_log_without_its_oldest_files_is_whole),
        cmocka_unit_test(one_file_can_be_judged_alone),
        cmocka_unit_test(what_is_no_tampering_is_a_remark),
        cmocka_unit_test(heads_may_come_late),
        cmocka_unit_test(a_late_head_proves_where_a_file_begins),
        cmocka_unit_test(the_first_record_of_all_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
