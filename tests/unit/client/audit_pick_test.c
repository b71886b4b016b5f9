/* Which records are of a story. The log is one incident: process 10 is given an identity and signs,
 * process 20 uses the same key, process 30 has nothing to do with it. */
#include "tests/unit/audit/fixture.h"

#include "client/audit_pick.h"
#include "client/audit_source.h"

#define AT(time, action)                                                                           \
    "\"@timestamp\":\"2026-11-21T10:00:" time ".000Z\",\"event.action\":\"" action "\""
#define PID(pid, start) ",\"process.pid\":" pid ",\"signet.process.start_time\":" start
#define ID(name) ",\"signet.spiffe_id\":\"spiffe://example.org/" name "\""
#define KEY(id) ",\"signet.key.id\":\"" id "\""
#define SERIAL(serial) ",\"x509.serial_number\":\"" serial "\""

/* By its place in the list: a letter. */
static const char *const bodies[] = {
    /* a */ AT("00", "started"),
    /* b */ AT("01", "issued") ID("pay") KEY("k1") SERIAL("s1"),
    /* c */ AT("02", "identified") PID("10", "100") ID("pay") KEY("k1"),
    /* d */ AT("03", "used") PID("10", "100") ID("pay") KEY("k1"),
    /* e */ AT("04", "used") PID("30", "300") ID("web") KEY("k2"),
    /* f */ AT("05", "keystore-lost"),
    /* g */ AT("06", "used") PID("20", "200") ID("pay") KEY("k1"),
    /* h */ AT("07", "denied") PID("20", "200") ID("db"),
    /* i */ AT("08", "locked") PID("1", "1") ID("pay*"),
    /* j */ AT("09", "locked") PID("1", "1") ID("*"),
    /* k */ AT("10", "denied") PID("10", "100") ID("pay"),
    /* l */ AT("11", "used") PID("10", "999") ID("web") KEY("k2"),
    /* m */ AT("12", "stopped"),
    /* n */ AT("13", "locked") PID("1", "1") ",\"signet.detail\":\"lock of pid 20\"",
};

static void write_log(struct fixture *fixture)
{
    fixture_open(fixture);
    fixture_head(fixture, AUDIT_HEAD_START);
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        fixture_append(fixture, bodies[i]);
    }
    fixture_head(fixture, AUDIT_HEAD_STOP);
    fixture_close(fixture);
}

struct collected {
    const struct audit_pick *pick;
    char letters[32];
    size_t count;
};

static void collect_one(void *user, const struct audit_record_text *record)
{
    struct collected *collected = user;
    struct audit_link link;
    assert_int_equal(audit_record_parse(record->line, &link, NULL, NULL), 0);
    if (audit_pick_has(collected->pick, record)) {
        /* The first record is a head. */
        collected->letters[collected->count++] = (char)('a' + (int)link.sequence - 2);
    }
}

static void stories_are_picked(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct audit_pick pick;
        const char *letters;
    } cases[] = {
        {"all", {0}, "abcdefghijklmn"},
        {"an identity", {.pattern = "spiffe://example.org/web"}, "efjl"},
        {"a pattern", {.pattern = "spiffe://example.org/pay*"}, "bcdfgijk"},
        {"any", {.pattern = "*"}, "bcdefghijkl"},
        {"a process", {.pid = 10}, "bcdefgijkl"},
        {"another process", {.pid = 20}, "bcdfghijmn"},
        {"a serial", {.serial = "s1"}, "bcdfghijk"},
        {"identity and process", {.pattern = "spiffe://example.org/db", .pid = 20}, "ghj"},
        {"nothing", {.serial = "none"}, ""},
        {"no process", {.pid = 12345}, ""},
    };
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    const struct audit_range range = {0};
    write_log(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(audit_pick_clear) struct audit_pick pick = cases[i].pick;
        struct collected collected = {.pick = &pick};
        uint64_t skipped = 0;
        assert_int_equal(audit_pick_prepare(&pick, fixture->folder, &range, NULL), 0);
        assert_int_equal(
            audit_scan(fixture->folder, &range, collect_one, &collected, &skipped, NULL), 0);
        if (strcmp(collected.letters, cases[i].letters) != 0) {
            fail_msg("%s: %s, not %s", cases[i].name, collected.letters, cases[i].letters);
        }
    }
}

static void times_bound_what_is_read(void **state)
{
    (void)state;
    _cleanup_(fixture_cleanup) struct fixture *fixture = fixture_new();
    const struct arguments arguments = {.since = (char *)"2026-11-21T10:00:03Z",
                                        .until = (char *)"2026-11-21T10:00:05Z"};
    const struct audit_pick pick = {0};
    struct collected collected = {.pick = &pick};
    struct audit_range range;
    uint64_t skipped = 0;
    write_log(fixture);
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, 1);
    FILE *file = fopen(path, "ae");
    assert_true(fputs("rubbish\ntorn", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(audit_range_parse(&arguments, &range, NULL), 0);
    assert_int_equal(audit_scan(fixture->folder, &range, collect_one, &collected, &skipped, NULL),
                     0);
    assert_string_equal(collected.letters, "def");
    assert_int_equal(skipped, 2);
}

static void members_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const struct {
        const char *body, *name, *value;
    } cases[] = {
        {"\"a\":1,\"b\":\"x\"", "a", "1"},
        {"\"a\":1,\"b\":\"x\"", "b", "x"},
        {"\"a\":1", "a", "1"},
        {"\"a\":\"x", "a", "x"},
        {"\"a\":", "a", ""},
        {"\"a\":1", "c", ""},
        {"\"a\":\"x\\\"y\\\\\",\"b\":2", "a", "x\\\"y\\\\"},
        {"\"a\":\"\\\"b\\\":2\",\"b\":3", "b", "3"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct bytes value = audit_member(bytes_of_text(cases[i].body), cases[i].name);
        assert_true(bytes_is_equal(value, bytes_of_text(cases[i].value)));
    }
}

static void heads_are_read_as_they_are_printed(void **state)
{
    (void)state;
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const char *const bad[] = {
        "",       "1",           "1:",       ":" HASH,   "0:" HASH, "x:" HASH, "1:" HASH "0",
        "1:0123", "1:" HASH " ", "-1:" HASH, "1 :" HASH, "1:x" HASH};
    struct audit_link link;
    struct error err;
    assert_int_equal(audit_link_parse("42:" HASH, &link, NULL), 0);
    assert_int_equal(link.sequence, 42);
    assert_int_equal(link.hash[1], 0x23);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(audit_link_parse(bad[i], &link, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_are_picked),
        cmocka_unit_test(times_bound_what_is_read),
        cmocka_unit_test(members_are_read_as_they_are_written),
        cmocka_unit_test(heads_are_read_as_they_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
