#include "tests/unit/cmocka_all.h"

#include <string.h>
#include <time.h>

#include "agent/policy/schedule.h"
#include "lib/base/bytes.h"
#include "lib/base/macro.h"

static struct schedule *make(const char *text, const char *zone)
{
    struct schedule *schedule = NULL;
    struct error err;
    if (schedule_new(text, zone, &schedule, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return schedule;
}

/* Seconds since 1970 of "2026-11-21 18:00:00" of UTC. */
static int64_t moment(const char *text)
{
    struct tm utc = {0};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &utc));
    return timegm(&utc);
}

static void moments(void **state)
{
    /* until is where it changes next; 2026-11-21 is a Saturday. */
    static const struct {
        const char *text, *zone, *now;
        bool is_in;
        const char *until;
    } cases[] = {
        {"08:00-18:00", "UTC", "2026-11-21 08:00:00", true, "2026-11-21 18:00:00"},
        {"08:00-18:00", "UTC", "2026-11-21 07:59:59", false, "2026-11-21 08:00:00"},
        {"08:00-18:00", "UTC", "2026-11-21 17:59:59", true, "2026-11-21 18:00:00"},
        {"08:00-18:00", "UTC", "2026-11-21 18:00:00", false, "2026-11-22 08:00:00"},
        {"Mon-Fri 08:00-18:00", "UTC", "2026-11-21 12:00:00", false, "2026-11-23 08:00:00"},
        {"Mon-Fri 08:00-18:00", "Europe/Berlin", "2026-11-23 07:00:00", true,
         "2026-11-23 17:00:00"},
        {"Mon-Fri 08:00-18:00", "America/New_York", "2026-11-23 12:59:59", false,
         "2026-11-23 13:00:00"},
        {"Sat,Sun 10:00-12:00", "UTC", "2026-11-21 11:00:00", true, "2026-11-21 12:00:00"},
        {"Sat,Sun 10:00-12:00", "UTC", "2026-11-22 12:00:00", false, "2026-11-28 10:00:00"},
        {"Fri-Mon 10:00-12:00", "UTC", "2026-11-23 11:00:00", true, "2026-11-23 12:00:00"},
        {"Fri-Mon 10:00-12:00", "UTC", "2026-11-24 11:00:00", false, "2026-11-27 10:00:00"},
        /* Over midnight, and over the end of the week. */
        {"22:00-06:00", "UTC", "2026-11-21 23:00:00", true, "2026-11-22 06:00:00"},
        {"22:00-06:00", "UTC", "2026-11-22 05:59:59", true, "2026-11-22 06:00:00"},
        {"Sun 22:00-06:00", "UTC", "2026-11-23 05:00:00", true, "2026-11-23 06:00:00"},
        {"Sun 22:00-06:00", "UTC", "2026-11-22 05:00:00", false, "2026-11-22 22:00:00"},
        {"Sun 22:00-24:00, Mon 00:00-06:00", "UTC", "2026-11-22 23:00:00", true,
         "2026-11-23 06:00:00"},
        {"Mon 08:00-12:00, Mon 11:00-14:00", "UTC", "2026-11-23 09:00:00", true,
         "2026-11-23 14:00:00"},
        {"00:00-24:00", "UTC", "2026-11-21 08:00:00", true, NULL},
        {"Mon-Sun 12:00-24:00, 00:00-12:00", "UTC", "2026-11-21 08:00:00", true, NULL},
        /* Berlin's clock goes from 2 to 3 on 2026-03-29 at 01:00 UTC. */
        {"01:30-02:30", "Europe/Berlin", "2026-03-29 00:30:00", true, "2026-03-29 01:00:00"},
        {"02:00-03:00", "Europe/Berlin", "2026-03-29 00:30:00", false, "2026-03-30 00:00:00"},
        {"02:30-04:00", "Europe/Berlin", "2026-03-29 00:59:59", false, "2026-03-29 01:00:00"},
        {"02:30-04:00", "Europe/Berlin", "2026-03-29 01:00:00", true, "2026-03-29 02:00:00"},
        {"00:00-12:00", "Europe/Berlin", "2026-03-29 00:00:00", true, "2026-03-29 10:00:00"},
        /* And from 3 back to 2 on 2026-10-25 at 01:00 UTC: what lies between comes twice. */
        {"02:00-03:00", "Europe/Berlin", "2026-10-25 00:00:00", true, "2026-10-25 02:00:00"},
        {"02:00-02:30", "Europe/Berlin", "2026-10-25 00:00:00", true, "2026-10-25 00:30:00"},
        {"02:00-02:30", "Europe/Berlin", "2026-10-25 00:30:00", false, "2026-10-25 01:00:00"},
        {"02:00-02:30", "Europe/Berlin", "2026-10-25 01:00:00", true, "2026-10-25 01:30:00"},
        {"02:30-12:00", "Europe/Berlin", "2026-10-25 00:45:00", true, "2026-10-25 01:00:00"},
        {"09:00-17:00", "Australia/Lord_Howe", "2026-01-04 22:00:00", true, "2026-01-05 06:00:00"},
        {"09:00-17:00", "Asia/Kathmandu", "2040-06-05 03:15:00", true, "2040-06-05 11:15:00"},
        {"09:00-17:00", "Europe/Berlin", "2090-07-03 07:00:00", true, "2090-07-03 15:00:00"},
        {"09:00-17:00", "America/St_Johns", "1985-07-03 11:30:00", true, "1985-07-03 19:30:00"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schedule *schedule = make(cases[i].text, cases[i].zone);
        int64_t until_s, expected = cases[i].until ? moment(cases[i].until) : INT64_MAX;
        bool is_in = schedule_has(schedule, moment(cases[i].now), &until_s);
        if (is_in != cases[i].is_in || until_s != expected) {
            fail_msg("%s %s at %s: %d until %lld, not %lld", cases[i].text, cases[i].zone,
                     cases[i].now, is_in, (long long)until_s, (long long)expected);
        }
        schedule_unref(schedule);
    }
}

static void each_until_is_a_change_and_none_is_missed(void **state)
{
    static const struct {
        const char *text, *zone;
    } cases[] = {
        {"Mon-Fri 08:00-18:00, Sat 22:00-03:00", "Europe/Berlin"},
        {"Sun 01:00-02:30", "America/New_York"},
        {"01:45-02:15", "Australia/Lord_Howe"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schedule *schedule = make(cases[i].text, cases[i].zone);
        const int64_t start_s = moment("2026-01-01 00:00:00"), step_s = 900;
        int64_t until_s = start_s, ignored_s;
        bool is_in = !schedule_has(schedule, start_s, &ignored_s);
        for (int64_t at_s = start_s; at_s < start_s + 400 * 86400LL; at_s += step_s) {
            int64_t next_s;
            if (at_s >= until_s) {
                assert_int_equal(at_s, until_s);
                is_in = !is_in;
                assert_int_equal(schedule_has(schedule, at_s, &until_s), is_in);
            }
            assert_int_equal(schedule_has(schedule, at_s, &next_s), is_in);
            assert_int_equal(next_s, until_s);
        }
        schedule_unref(schedule);
    }
}

static void bad_texts(void **state)
{
    static const struct {
        const char *text, *zone, *words;
    } cases[] = {
        {"", "UTC", "time of day"},
        {"8:00-18:00", "UTC", "time of day"},
        {"08:00-18:0", "UTC", "time of day"},
        {"08:60-18:00", "UTC", "time of day"},
        {"24:00-18:00", "UTC", "23:59"},
        {"08:00-24:01", "UTC", "24:00"},
        {"08:00-08:00", "UTC", "same time"},
        {"08:00 - 18:00", "UTC", "'-'"},
        {"08:00-18:00 ", "UTC", "something follows"},
        {"08:00-18:00,", "UTC", "something follows"},
        {"08:00-18:00, ", "UTC", "time of day"},
        {", 08:00-18:00", "UTC", "time of day"},
        {"08:00-18:00,09:00-10:00", "UTC", "something follows"},
        {"mon 08:00-18:00", "UTC", "no day"},
        {"Monday 08:00-18:00", "UTC", "one blank"},
        {"Mon-Fri08:00-18:00", "UTC", "one blank"},
        {"Mon  08:00-18:00", "UTC", "time of day"},
        {"Mon- 08:00-18:00", "UTC", "no day"},
        {"Mon, 08:00-18:00", "UTC", "one blank"},
        {"Mon-Fri", "UTC", "one blank"},
        {"08:00-18:00", "Europe/Atlantis", "no time zone"},
        {"08:00-18:00", "../UTC", "not the name"},
        {"08:00-18:00", "", "not the name"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schedule *schedule = NULL;
        struct error err = {0};
        if (schedule_new(cases[i].text, cases[i].zone, &schedule, &err) == 0 ||
            err.code != ERROR_INVALID_ARGUMENT || !strstr(err.text, cases[i].words)) {
            fail_msg("\"%s\" %s: \"%s\" has no \"%s\"", cases[i].text, cases[i].zone, err.text,
                     cases[i].words);
        }
    }
    _cleanup_(buffer_clear) struct buffer text = {0};
    struct schedule *schedule = NULL;
    struct error err;
    for (unsigned i = 0; i < 65; i++) {
        buffer_append_text(&text, i ? ", 01:00-02:00" : "01:00-02:00");
    }
    buffer_append_u8(&text, 0);
    assert_int_equal(schedule_new((const char *)text.data, "UTC", &schedule, &err), -1);
    assert_non_null(strstr(err.text, "more than 64"));
}

static void words_for_people(void **state)
{
    struct schedule *schedule = make("Mon-Fri 08:00-18:00", "Europe/Berlin");
    char text[SCHEDULE_MOMENT_BYTES];
    (void)state;
    assert_string_equal(schedule_text(schedule), "Mon-Fri 08:00-18:00 Europe/Berlin");
    schedule_format(schedule, moment("2026-11-23 07:00:00"), text);
    assert_string_equal(text, "Mon 2026-11-23 08:00");
    schedule_format(schedule, INT64_MAX, text);
    assert_string_equal(text, "never");
    assert_ptr_equal(schedule_ref(schedule), schedule);
    schedule_unref(schedule);
    schedule_unref(schedule);
}

static void clocks_gone_mad(void **state)
{
    static const int64_t moments_s[] = {INT64_MIN, INT64_MAX, (int64_t)1 << 48, -((int64_t)1 << 48),
                                        ((int64_t)1 << 48) + 1};
    struct schedule *schedule = make("08:00-18:00", "Europe/Berlin");
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(moments_s); i++) {
        int64_t until_s = 0;
        bool is_in = schedule_has(schedule, moments_s[i], &until_s);
        bool is_sane = moments_s[i] >= -((int64_t)1 << 48) && moments_s[i] <= (int64_t)1 << 48;
        assert_true(is_sane || !is_in);
        assert_true(until_s > moments_s[i] || until_s == INT64_MAX);
    }
    schedule_unref(schedule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments),
        cmocka_unit_test(each_until_is_a_change_and_none_is_missed),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(words_for_people),
        cmocka_unit_test(clocks_gone_mad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
