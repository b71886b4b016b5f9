#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "audit/record.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* The hashes were made with another program from the description in docs/audit.md. */
static void the_bytes_are_those_of_the_description(void **state)
{
    (void)state;
    struct audit_link link = {0};
    _cleanup_(buffer_clear) struct buffer lines = {0};
    assert_int_equal(audit_record_append(&link, bytes_of_text("\"a\":1"), &lines, NULL), 0);
    assert_int_equal(audit_record_append(&link, bytes_of_text("\"b\":\"x\""), &lines, NULL), 0);
    buffer_append_u8(&lines, 0);
    assert_string_equal((const char *)lines.data,
                        "{\"event.sequence\":1,\"a\":1,\"signet.chain\":\""
                        "96a9315e116d7a861768bc21ab4f83ff5c618016d8381bf0a33297567daf599f\"}\n"
                        "{\"event.sequence\":2,\"b\":\"x\",\"signet.chain\":\""
                        "e5053273371a75d384304e83885d17410146b689f683f50cea66d6fab086d88b\"}\n");
    assert_int_equal(link.sequence, 2);
}

static void a_record_reads_back(void **state)
{
    (void)state;
    struct audit_link link = {.sequence = UINT64_MAX - 1};
    struct audit_link claimed;
    struct audit_link before = link;
    struct bytes body;
    uint8_t hash[AUDIT_HASH_BYTES];
    _cleanup_(buffer_clear) struct buffer line = {0};
    assert_int_equal(audit_record_append(&link, bytes_of_text("\"a\":1"), &line, NULL), 0);
    struct bytes text = {line.data, line.size - 1};
    assert_int_equal(audit_record_parse(text, &claimed, &body, NULL), 0);
    assert_int_equal(claimed.sequence, UINT64_MAX);
    struct error err;
    assert_int_equal(audit_record_append(&link, bytes_of_text("\"a\":1"), &line, &err), -1);
    assert_int_equal(err.code, ERROR_OUT_OF_RANGE);
    assert_true(bytes_is_equal(body, bytes_of_text("\"a\":1")));
    audit_record_hash(text, before.hash, hash);
    assert_memory_equal(hash, claimed.hash, sizeof(hash));
    assert_memory_equal(hash, link.hash, sizeof(hash));
}

static void bodies_that_break_a_line_are_refused(void **state)
{
    (void)state;
    struct audit_link link = {0};
    _cleanup_(buffer_clear) struct buffer lines = {0};
    _cleanup_(buffer_clear) struct buffer large = {0};
    struct error err;
    memset(buffer_extend(&large, AUDIT_RECORD_MAX_BYTES), 'x', AUDIT_RECORD_MAX_BYTES);
    const struct bytes bodies[] = {
        {NULL, 0}, bytes_of_text("\"a\":1\n"), buffer_bytes(&large), {large.data, 65536 - 90}};
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        assert_int_equal(audit_record_append(&link, bodies[i], &lines, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(lines.size, 0);
        assert_int_equal(link.sequence, 0);
    }
    /* The longest that there may be: 20 bytes before the body, 83 behind it. */
    struct bytes longest = {large.data, AUDIT_RECORD_MAX_BYTES - 20 - 83};
    assert_int_equal(audit_record_append(&link, longest, &lines, &err), 0);
    assert_int_equal(lines.size, AUDIT_RECORD_MAX_BYTES + 1);
}

#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "{}",
        "{\"event.sequence\":1",
        "{\"event.sequence\":1,",
        "{\"event.sequence\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":0,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":01,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":-1,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\": 1,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":18446744073709551616,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":99999999999999999999,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":1,\"a\":1,\"signet.chain\":\"" HASH64 "\"} ",
        "{\"event.sequence\":1,\"a\":1,\"signet.chain\":\"" HASH64 "0\"}",
        "{\"event.sequence\":1,\"a\":1,\"signet.Chain\":\"" HASH64 "\"}",
        "{\"event.sequence\":1,\"a\":1,\"signet.chain\":\"0123456789ABCDEF0123456789abcdef"
        "0123456789abcdef0123456789abcdef\"}",
        "{\"event.Sequence\":1,\"a\":1,\"signet.chain\":\"" HASH64 "\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct audit_link link;
        struct error err;
        assert_int_equal(audit_record_parse(bytes_of_text(lines[i]), &link, NULL, &err), -1);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
    }
}

static void times_are_read_where_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *body, *time;
    } cases[] = {
        {"\"@timestamp\":\"2026-11-21T10:00:00.123Z\",\"a\":1", "2026-11-21T10:00:00.123Z"},
        {"\"@timestamp\":\"2026-11-21T10:00:00.123Z\"", "2026-11-21T10:00:00.123Z"},
        {"\"@timestamp\":\"2026-11-21T10:00:00Z\",\"a\":1", NULL},
        {"\"@timestamp\":\"2026-11-21 10:00:00.123Z\",\"a\":1", NULL},
        {"\"a\":1,\"@timestamp\":\"2026-11-21T10:00:00.123Z\"", NULL},
        {"\"@timestamp\":\"", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char time[AUDIT_TIME_BYTES + 1] = "";
        assert_int_equal(audit_record_time(bytes_of_text(cases[i].body), time),
                         cases[i].time != NULL);
        assert_string_equal(time, cases[i].time ? cases[i].time : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_the_description),
        cmocka_unit_test(a_record_reads_back),
        cmocka_unit_test(bodies_that_break_a_line_are_refused),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(times_are_read_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
