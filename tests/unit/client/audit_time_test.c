#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <time.h>

#include "client/audit_time.h"
#include "lib/base/memory.h"

enum { HOUR_MS = 3600000 };

static const int64_t ten_ms = INT64_C(1795255200000); /* 2026-11-21T10:00:00Z */

static void times_are_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t after_ms; /* of 10:00 UTC */
    } cases[] = {
        {"2026-11-21T10:00:00Z", 0},
        {"2026-11-21T10:00:00.123Z", 123},
        {"2026-11-21T10:00:00.1234567Z", 123},
        {"2026-11-21T10:00:00.5Z", 500},
        {"2026-11-21T12:00:00+02:00", 0},
        {"2026-11-21T04:30:00-05:30", 0},
        {"2026-11-21 11:00", 0}, /* local: one hour ahead */
        {"2026-11-21 11:00:30", 30000},
        {"2026-11-21", -10 * HOUR_MS - HOUR_MS},
        {"2h", HOUR_MS}, /* before 13:00 UTC */
        {"90m", HOUR_MS + HOUR_MS / 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t ms = 0;
        struct error err;
        if (audit_time_parse(cases[i].text, ten_ms + (int64_t)3 * HOUR_MS, &ms, &err) < 0) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        assert_int_equal(ms, ten_ms + cases[i].after_ms);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "now",
        "10:00",
        "2026",
        "2026-13-01",
        "2026-11-21 ",
        "2026-11-21 10",
        "2026-11-21T10:00:00",
        "2026-11-21T10:00:00.Z",
        "2026-11-21T10:00:00+2:00",
        "2026-11-21T10:00:00+25:00",
        "2026-11-21T10:00:00+02:00x",
        "-2h",
        "2026-11-21T10:00:00Z ",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        int64_t ms = 0;
        struct error err;
        if (audit_time_parse(texts[i], ten_ms, &ms, &err) == 0) {
            fail_msg("\"%s\" was read", texts[i]);
        }
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
}

static void more_than_ever_is_the_beginning(void **state)
{
    (void)state;
    int64_t ms = 1;
    assert_int_equal(audit_time_parse("100000000d", ten_ms, &ms, NULL), 0);
    assert_int_equal(ms, 0);
}

static void times_of_records_go_round(void **state)
{
    (void)state;
    static const int64_t times_ms[] = {0, 1, 1795255200123, 253402300799999};
    for (size_t i = 0; i < ARRAY_SIZE(times_ms); i++) {
        char text[AUDIT_TIME_BYTES + 1];
        int64_t ms = 0;
        audit_time_format(times_ms[i], text);
        assert_true(audit_time_read(text, &ms));
        assert_int_equal(ms, times_ms[i]);
    }
    char text[AUDIT_TIME_BYTES + 1];
    audit_time_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    audit_time_format(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

static void local_times_say_their_zone(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *text = audit_time_local(ten_ms + 7);
    assert_string_equal(text, "2026-11-21 11:00:00.007+01:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_people_write_them),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(more_than_ever_is_the_beginning),
        cmocka_unit_test(times_of_records_go_round),
        cmocka_unit_test(local_times_say_their_zone),
    };
    (void)setenv("TZ", "TEST-1", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
