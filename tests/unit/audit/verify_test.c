/* A log that was tampered with: each change is found, told once, and where. */
#include "tests/unit/audit/tamper.h"

enum { RECORDS = 60 };

static void swap(struct text_list *lines, size_t a, size_t b)
{
    char *line = lines->items[a];
    lines->items[a] = lines->items[b];
    lines->items[b] = line;
}

static void cut_some(struct text_list *lines)
{
    for (int i = 0; i < 5; i++) {
        free(take(lines, 20));
    }
}

static void cut_one(struct text_list *lines)
{
    free(take(lines, 20));
}

/* Up to a head, which then is the first: but not one that begins a file. */
static void cut_to_head(struct text_list *lines)
{
    while (!strstr(lines->items[0], "\"interval\"")) {
        free(take(lines, 0));
    }
}

static void change_text(struct text_list *lines)
{
    strstr(lines->items[20], "used")[0] = 'U';
}

static void change_hash(struct text_list *lines)
{
    char *hash = strstr(lines->items[20], "signet.chain") + 15;
    hash[0] = hash[0] == '0' ? '1' : '0';
}

/* With the right hash of what it is now. */
static void change_and_chain(struct text_list *lines)
{
    struct audit_link link;
    struct bytes body;
    _cleanup_(buffer_clear) struct buffer line = {0};
    assert_int_equal(audit_record_parse(bytes_of_text(lines->items[19]), &link, NULL, NULL), 0);
    change_text(lines);
    assert_int_equal(
        audit_record_parse(bytes_of_text(lines->items[20]), &(struct audit_link){0}, &body, NULL),
        0);
    assert_int_equal(audit_record_append(&link, body, &line, NULL), 0);
    line.data[line.size - 1] = '\0';
    free(lines->items[20]);
    lines->items[20] = memory_copy_text((const char *)line.data);
}

static void change_number(struct text_list *lines)
{
    char *digit = strstr(lines->items[20], "21");
    digit[1] = '9';
}

static void reorder_neighbours(struct text_list *lines)
{
    swap(lines, 20, 21);
}

static void move_forward(struct text_list *lines)
{
    put(lines, 25, take(lines, 20));
}

static void move_back(struct text_list *lines)
{
    put(lines, 20, take(lines, 25));
}

static void put_in_copy(struct text_list *lines)
{
    put(lines, 30, memory_copy_text(lines->items[10]));
}

static void put_in_twice(struct text_list *lines)
{
    put(lines, 21, memory_copy_text(lines->items[20]));
}

/* A record that fits: right number, right hash. */
static void put_in_forged(struct text_list *lines)
{
    struct audit_link link;
    _cleanup_(buffer_clear) struct buffer line = {0};
    assert_int_equal(audit_record_parse(bytes_of_text(lines->items[19]), &link, NULL, NULL), 0);
    assert_int_equal(audit_record_append(&link, bytes_of_text("\"forged\":1"), &line, NULL), 0);
    line.data[line.size - 1] = '\0';
    put(lines, 20, memory_copy_text((const char *)line.data));
}

static void put_in_false(struct text_list *lines)
{
    put_in_forged(lines);
    char *hash = strstr(lines->items[20], "signet.chain") + 15;
    hash[0] = hash[0] == '0' ? '1' : '0';
}

static void put_in_rubbish(struct text_list *lines)
{
    put(lines, 20, memory_copy_text("rubbish"));
}

static void put_in_empty(struct text_list *lines)
{
    put(lines, 20, memory_copy_text(""));
}

static void make_rubbish(struct text_list *lines)
{
    lines->items[20][3] = '?';
}

static void make_long(struct text_list *lines)
{
    char *line = memory_new(300001);
    memset(line, 'x', 300000);
    free(lines->items[20]);
    lines->items[20] = line;
}

static void change_signature(struct text_list *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        char *signature = strstr(lines->items[i], "signet.head.signature");
        if (signature) {
            signature[24] = signature[24] == 'A' ? 'B' : 'A';
            return;
        }
    }
}

static const struct {
    const char *name;
    void (*tamper)(struct text_list *lines);
    enum audit_finding_kind kind;
    uint64_t line, sequence;
} tamperings[] = {
    {"some cut", cut_some, AUDIT_FINDING_CUT, 21, 26},
    {"one cut", cut_one, AUDIT_FINDING_CUT, 21, 22},
    {"cut at the start", cut_start, AUDIT_FINDING_CUT, 1, 4},
    {"first cut", cut_first, AUDIT_FINDING_CUT, 1, 2},
    {"cut up to a head", cut_to_head, AUDIT_FINDING_CUT, 1, 41},
    {"rolled back", cut_end, AUDIT_FINDING_ROLLED_BACK, 10, 63},
    {"text changed", change_text, AUDIT_FINDING_CHANGED, 21, 21},
    {"first changed", change_first, AUDIT_FINDING_CHANGED, 1, 1},
    {"hash changed", change_hash, AUDIT_FINDING_CHANGED, 21, 21},
    {"changed and chained", change_and_chain, AUDIT_FINDING_CHANGED, 22, 22},
    {"neighbours swapped", reorder_neighbours, AUDIT_FINDING_MOVED, 21, 22},
    {"moved back", move_back, AUDIT_FINDING_MOVED, 21, 26},
    {"an old one again", put_in_copy, AUDIT_FINDING_MOVED, 31, 11},
    {"one twice", put_in_twice, AUDIT_FINDING_MOVED, 22, 21},
    {"a forged one put in", put_in_forged, AUDIT_FINDING_MOVED, 22, 21},
    {"a false one put in", put_in_false, AUDIT_FINDING_MOVED, 21, 21},
    {"rubbish put in", put_in_rubbish, AUDIT_FINDING_NO_RECORD, 21, 0},
    {"an empty line put in", put_in_empty, AUDIT_FINDING_NO_RECORD, 21, 0},
    {"made rubbish", make_rubbish, AUDIT_FINDING_NO_RECORD, 21, 0},
    {"made too long", make_long, AUDIT_FINDING_NO_RECORD, 21, 0},
};

/* One file: records 1 to 40, a head, records to 61, a stop. */
static struct fixture *signed_log(void)
{
    struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 40);
    fixture_head(fixture, AUDIT_HEAD_INTERVAL);
    fixture_records(fixture, RECORDS - 40);
    fixture_records(fixture, 2);
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
    return fixture;
}

static void one_change_is_one_finding(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tamperings); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
        fixture_expect_whole(fixture);
        tamper_with(fixture, 1, tamperings[i].tamper);
        fixture_verify(fixture, NULL);
        const struct audit_finding *finding = &fixture->findings[0];
        if (fixture->finding_count != 1 || finding->kind != tamperings[i].kind ||
            finding->line != tamperings[i].line || finding->sequence != tamperings[i].sequence) {
            fail_msg("%s: %zu findings, the first %s at line %" PRIu64 ", sequence %" PRIu64 ": %s",
                     tamperings[i].name, fixture->finding_count, audit_finding_name(finding->kind),
                     finding->line, finding->sequence, finding->text);
        }
        assert_string_equal(fixture->finding_files[0], "audit-000001.jsonl");
    }
}

/* These make two: what is missing here is too much there, and the record after says so too. */
static void few_findings_for_larger_changes(void **state)
{
    (void)state;
    static const struct {
        void (*tamper)(struct text_list *lines);
        size_t findings_max;
    } cases[] = {{change_number, 2}, {move_forward, 2}, {change_signature, 2}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
        tamper_with(fixture, 1, cases[i].tamper);
        fixture_verify(fixture, NULL);
        assert_in_range(fixture->finding_count, 1, cases[i].findings_max);
    }
}

static void a_whole_log_is_whole(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    fixture_expect_whole(fixture);
    assert_int_equal(fixture->remark_count, 0);
    assert_int_equal(fixture->verdict.records, RECORDS + 4);
    assert_int_equal(fixture->verdict.heads, 2);
    assert_int_equal(fixture->verdict.files, 1);
    assert_int_equal(fixture->verdict.first.sequence, 1);
    assert_int_equal(fixture->verdict.last.sequence, RECORDS + 4);
    assert_int_equal(fixture->verdict.signed_last.sequence, RECORDS + 3);
    assert_string_equal(fixture->verdict.first_time, "2026-11-21T10:00:00.000Z");
    assert_int_equal(strlen(fixture->verdict.key_id), 40);
}

/* Somebody with the files but not the key writes all of it anew. */
static void rewriting_all_needs_the_key(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    struct audit_link link = {0};
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct fixture_lines lines = fixture_read_lines(path);
    change_text(&lines.list);
    for (size_t i = 0; i < lines.list.count; i++) {
        _cleanup_(buffer_clear) struct buffer line = {0};
        struct audit_link claimed;
        struct bytes body;
        assert_int_equal(
            audit_record_parse(bytes_of_text(lines.list.items[i]), &claimed, &body, NULL), 0);
        assert_int_equal(audit_record_append(&link, body, &line, NULL), 0);
        line.data[line.size - 1] = '\0';
        free(lines.list.items[i]);
        lines.list.items[i] = memory_copy_text((const char *)line.data);
    }
    fixture_write_lines(&lines);
    fixture_verify(fixture, NULL);
    assert_false(fixture->verdict.is_whole);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_SIGNATURE);
    assert_int_equal(fixture->findings[0].sequence, 41);
}

static void unknown_keys_are_told_once(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    assert_int_equal(audit_reader_open(fixture->folder, &reader, NULL), 0);
    audit_reader_set_keys(reader, fixture->root);
    assert_int_equal(audit_verify(reader, NULL, fixture_found, fixture, &fixture->verdict, NULL),
                     0);
    assert_false(fixture->verdict.is_whole);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_UNKNOWN_KEY);
    assert_int_equal(fixture->verdict.signed_last.sequence, 0);
}

/* The log and its head.json are of yesterday; only who kept a head knows. */
static void a_head_kept_elsewhere_finds_more(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    struct audit_link known;
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct fixture_lines lines = fixture_read_lines(path);
    assert_int_equal(audit_record_parse(bytes_of_text(lines.list.items[50]), &known, NULL, NULL),
                     0);
    fixture_write_lines(&lines);
    fixture_verify(fixture, &known);
    assert_true(fixture->verdict.is_whole);

    struct audit_link later = {.sequence = 1000};
    fixture_verify(fixture, &later);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_ROLLED_BACK);

    struct audit_link other = known;
    other.hash[0] ^= 1;
    fixture_verify(fixture, &other);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_ROLLED_BACK);
    assert_int_equal(fixture->findings[0].sequence, known.sequence);
}

static void a_log_without_files_was_rolled_back(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    assert_int_equal(unlink(path), 0);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_ROLLED_BACK);
}

static void head_json_is_judged_too(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = signed_log();
    _cleanup_(free_cleanup) char *path = file_join(fixture->folder, "head.json");
    fixture_write_file(path, bytes_of_text("{\"sequence\":1}\n"));
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->finding_count, 1);
    assert_int_equal(fixture->findings[0].kind, AUDIT_FINDING_SIGNATURE);
    assert_string_equal(fixture->finding_files[0], "head.json");
}

/* Ten thousand records, all changed: told are some, counted are all. */
static void findings_are_bounded(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    fixture_open(fixture);
    fixture_records(fixture, 10000);
    fixture_sync(fixture);
    fixture_close(fixture);
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    struct fixture_lines lines = fixture_read_lines(path);
    for (size_t i = 0; i < lines.list.count; i++) {
        strstr(lines.list.items[i], "used")[0] = 'U';
    }
    fixture_write_lines(&lines);
    fixture_verify(fixture, NULL);
    assert_int_equal(fixture->verdict.findings, 10000);
    assert_int_equal(fixture->verdict.records, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_log_is_whole),
        cmocka_unit_test(one_change_is_one_finding),
        cmocka_unit_test(few_findings_for_larger_changes),
        cmocka_unit_test(rewriting_all_needs_the_key),
        cmocka_unit_test(unknown_keys_are_told_once),
        cmocka_unit_test(a_head_kept_elsewhere_finds_more),
        cmocka_unit_test(a_log_without_files_was_rolled_back),
        cmocka_unit_test(head_json_is_judged_too),
        cmocka_unit_test(findings_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
