#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/policy/zone.h"
#include "agent/policy/zone_rule.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

/* Both hemispheres, west and east, offsets of 15 minutes, rules of every form, changes by half an
 * hour, none at all, and a day that never was (Kwajalein, Apia). */
static const char *const zones[] = {
    "UTC",
    "Etc/GMT+5",
    "Etc/GMT-14",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Lagos",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/Nuuk",
    "America/Asuncion",
    "America/Argentina/Buenos_Aires",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Jerusalem",
    "Asia/Gaza",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Australia/Eucla",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Pacific/Marquesas",
    "Antarctica/Troll",
    "EST5EDT",
};

static int32_t system_offset(int64_t moment_s)
{
    struct tm local;
    time_t time_s = moment_s;
    assert_non_null(localtime_r(&time_s, &local));
    return (int32_t)local.tm_gmtoff;
}

static bool has_zone(const char *name)
{
    _cleanup_(free_cleanup) char *path = text_format("/usr/share/zoneinfo/%s", name);
    return access(path, R_OK) == 0;
}

static void compare(const struct zone *zone, const char *name, int64_t moment_s)
{
    int64_t until_s;
    int32_t found = zone_offset_s(zone, moment_s, &until_s), expected = system_offset(moment_s);
    if (found != expected) {
        fail_msg("%s at %lld: %d, not %d", name, (long long)moment_s, found, expected);
    }
    assert_true(until_s > moment_s);
}

/* From each change to the next, which misses none, and all around them. */
static void compare_changes(const struct zone *zone, const char *name, int64_t from_s, int64_t to_s)
{
    unsigned changes = 0;
    int64_t until_s = from_s;
    while (until_s < to_s) {
        int64_t at_s = until_s;
        for (int64_t around_s = -2; around_s <= 2; around_s++) {
            compare(zone, name, at_s + around_s);
        }
        int32_t offset_s = zone_offset_s(zone, at_s, &until_s);
        if (until_s < to_s) {
            assert_int_equal(zone_offset_s(zone, until_s - 1, &(int64_t){0}), offset_s);
        }
        assert_true(++changes < 2000);
    }
}

static void as_the_system_has_it(void **state)
{
    const int64_t start_s = 0, end_s = 6000000000; /* 1970 to 2160 */
    unsigned seen = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(zones); i++) {
        _cleanup_(zone_cleanup) struct zone *zone = NULL;
        struct error err;
        if (!has_zone(zones[i])) {
            continue;
        }
        seen++;
        if (zone_open(zones[i], &zone, &err) < 0) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(setenv("TZ", zones[i], 1), 0);
        tzset();
        compare_changes(zone, zones[i], start_s, end_s);
        /* At hours that are none of any change. */
        for (int64_t at_s = start_s + 1234; at_s < end_s; at_s += 7 * 86400 + 3607) {
            compare(zone, zones[i], at_s);
        }
    }
    if (seen == 0) {
        skip();
    }
}

/* Footers that no zone of today has: glibc reads the same text. */
static void footers_as_the_system_has_them(void **state)
{
    static const char *const footers[] = {
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "AAA5",
        "<+03>-3",
        "<-0930>9:30",
        "AAA-5:30:15BBB,J60/2,J300/2",
        "AAA5BBB,J59,J60",
        "AAA5BBB,59,300/2:30:15",
        "AAA5BBB,0/3,364/4",
        "AAA-10BBB-10:30,M10.1.0,M4.1.0",
        "AAA-2BBB,M3.4.4/50,M10.4.4/50",
        "AAA2BBB1,M3.5.0/-1,M10.5.0/0",
        "AAA0BBB-2,M3.5.0/+1,M10.5.0/3",
        "AAA8BBB,M2.5.6/2,M2.1.1/2",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(footers); i++) {
        struct zone_rule rule;
        struct error err;
        if (zone_rule_parse(bytes_of_text(footers[i]), &rule, &err) < 0) {
            fail_msg("%s: %s", footers[i], err.text);
        }
        assert_int_equal(setenv("TZ", footers[i], 1), 0);
        tzset();
        /* Away from New Year: there, glibc looks at the changes of one year only. */
        for (int64_t at_s = 951868800; at_s < 951868800 + 30 * 31556952LL; at_s += 13 * 3600 + 11) {
            int64_t until_s;
            struct tm utc;
            time_t time_s = at_s;
            (void)gmtime_r(&time_s, &utc);
            bool is_new_year = utc.tm_yday < 3 || utc.tm_yday > 361;
            int32_t found = zone_rule_offset_s(&rule, at_s, &until_s);
            if (!is_new_year && found != system_offset(at_s)) {
                fail_msg("%s at %lld: %d, not %d", footers[i], (long long)at_s, found,
                         system_offset(at_s));
            }
            assert_true(until_s > at_s);
        }
    }
}

static void daylight_saving_time_all_year(void **state)
{
    struct zone_rule rule;
    struct error err;
    int64_t until_s;
    (void)state;
    /* RFC 8536 3.3.1: how a footer says so. */
    assert_int_equal(zone_rule_parse(bytes_of_text("XXX3EDT4,0/0,J365/23"), &rule, &err), 0);
    for (int64_t at_s = 1577836800 - 86400; at_s < 1577836800 + 3 * 31556952LL; at_s += 3601) {
        assert_int_equal(zone_rule_offset_s(&rule, at_s, &until_s), -4 * 3600);
    }
}

static void bad_footers(void **state)
{
    static const char *const footers[] = {
        "",
        "UT0",
        "UTC",
        "UTC25",
        "UTC0x",
        "UTC0:60",
        "<UTC0",
        "<+>3",
        "CET-1CEST",
        "CET-1CEST,M3",
        "C3T-1",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J300",
        "CET-1CEST,J366,J300",
        "CET-1CEST,366,300",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0,",
        "CET-1CEST,M3.5.0,M10.5.0/3/3",
        "CET-99999999999999999999",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH0",
        "CET-1CEST,M3.5,0,M10.5.0",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(footers); i++) {
        struct zone_rule rule;
        struct error err = {0};
        if (zone_rule_parse(bytes_of_text(footers[i]), &rule, &err) == 0) {
            fail_msg("\"%s\" is accepted", footers[i]);
        }
        assert_int_equal(err.code, ERROR_DATA_LOSS);
    }
}

/* Files. */

struct shape {
    char version;
    uint32_t types, names, leaps, flags;
    const char *footer; /* NULL: none at all */
    uint8_t transition_type;
    int64_t second_s;
};
static const struct shape right = {'2', 2, 8, 0, 0, "\nAAA-1\n", 1, 1000};

static void append_header(struct buffer *file, const struct shape *shape, uint32_t transitions)
{
    buffer_append_text(file, "TZif");
    buffer_append_u8(file, (uint8_t)shape->version);
    memset(buffer_extend(file, 15), 0, 15);
    buffer_append_u32(file, shape->flags);
    buffer_append_u32(file, shape->flags);
    buffer_append_u32(file, shape->leaps);
    buffer_append_u32(file, transitions);
    buffer_append_u32(file, shape->types);
    buffer_append_u32(file, shape->names);
}

/* Two transitions, at 0 and later, between types of 0 and 3600 s. */
static void append_data(struct buffer *file, const struct shape *shape, unsigned time_bytes)
{
    const int64_t moments[] = {0, shape->second_s};
    for (size_t i = 0; i < 2; i++) {
        if (time_bytes == 8) {
            buffer_append_u64(file, (uint64_t)moments[i]);
        } else {
            buffer_append_u32(file, (uint32_t)moments[i]);
        }
    }
    buffer_append_u8(file, shape->transition_type);
    buffer_append_u8(file, 0);
    for (uint32_t i = 0; i < shape->types; i++) {
        buffer_append_u32(file, i * 3600);
        buffer_append_u8(file, 0);
        buffer_append_u8(file, (uint8_t)(i * 4));
    }
    memset(buffer_extend(file, shape->names), 0, shape->names);
    size_t size = (size_t)shape->leaps * (time_bytes + 4) + (size_t)shape->flags * 2;
    memset(buffer_extend(file, size), 0, size);
}

static void make_file(const struct shape *shape, struct buffer *ret_file)
{
    append_header(ret_file, shape, 2);
    append_data(ret_file, shape, 4);
    if (shape->version) {
        append_header(ret_file, shape, 2);
        append_data(ret_file, shape, 8);
    }
    buffer_append_text(ret_file, shape->footer ? shape->footer : "");
}

static void files_of_each_version(void **state)
{
    (void)state;
    static const char versions[] = {0, '2', '3', '4'};
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        _cleanup_(buffer_clear) struct buffer file = {0};
        _cleanup_(zone_cleanup) struct zone *zone = NULL;
        struct shape shape = right;
        struct error err;
        int64_t until_s;
        shape.version = versions[i];
        shape.footer = versions[i] ? right.footer : NULL;
        make_file(&shape, &file);
        if (zone_parse(buffer_bytes(&file), &zone, &err) < 0) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(zone_offset_s(zone, -1, &until_s), 0);
        assert_int_equal(until_s, 0);
        assert_int_equal(zone_offset_s(zone, 0, &until_s), 3600);
        assert_int_equal(until_s, 1000);
        assert_int_equal(zone_offset_s(zone, 1000, &until_s), versions[i] ? 3600 : 0);
        assert_int_equal(until_s, INT64_MAX);
        /* Cut anywhere it is no file, nor with anything behind it. */
        for (size_t size = 0; size < file.size; size++) {
            struct zone *cut = NULL;
            assert_int_equal(zone_parse((struct bytes){file.data, size}, &cut, &err), -1);
            assert_int_equal(err.code, ERROR_DATA_LOSS);
        }
        buffer_append_u8(&file, 0);
        struct zone *longer = NULL;
        assert_int_equal(zone_parse(buffer_bytes(&file), &longer, &err), -1);
    }
}

static void bad_files(void **state)
{
    static const struct {
        struct shape shape;
        const char *words;
    } cases[] = {
        {{'5', 2, 8, 0, 0, "\nAAA-1\n", 1, 1000}, "version"},
        {{'1', 2, 8, 0, 0, "\nAAA-1\n", 1, 1000}, "version"},
        {{'2', 0, 8, 0, 0, "\nAAA-1\n", 1, 1000}, "out of bounds"},
        {{'2', 257, 8, 0, 0, "\nAAA-1\n", 1, 1000}, "out of bounds"},
        {{'2', 2, 0, 0, 0, "\nAAA-1\n", 1, 1000}, "out of bounds"},
        {{'2', 2, 4, 0, 0, "\nAAA-1\n", 1, 1000}, "type of local time"},
        {{'2', 2, 8, 0, 1, "\nAAA-1\n", 1, 1000}, "out of bounds"},
        {{'2', 2, 8, 1, 0, "\nAAA-1\n", 1, 1000}, "leap seconds"},
        {{'2', 40, 200, 0, 0, "\nAAA-1\n", 1, 1000}, "type of local time"},
        {{'2', 2, 8, 0, 0, "\nAAA-1\n", 2, 1000}, "no type"},
        {{'2', 2, 8, 0, 0, "\nAAA-1\n", 1, 0}, "not in order"},
        {{'2', 2, 8, 0, 0, "AAA-1\n", 1, 1000}, "footer"},
        {{'2', 2, 8, 0, 0, "\nAAA-1", 1, 1000}, "footer"},
        {{'2', 2, 8, 0, 0, "\nAAA\n", 1, 1000}, "footer"},
        {{'2', 2, 8, 0, 0, "\nAAA-1\n\n", 1, 1000}, "footer"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer file = {0};
        struct zone *zone = NULL;
        struct error err = {0};
        make_file(&cases[i].shape, &file);
        if (zone_parse(buffer_bytes(&file), &zone, &err) == 0 ||
            !strstr(err.text, cases[i].words)) {
            fail_msg("%zu: \"%s\" has no \"%s\"", i, err.text, cases[i].words);
        }
    }
}

static void names(void **state)
{
    static const char *const bad[] = {
        "",
        "/etc/passwd",
        "../../../etc/passwd",
        "Europe/../Europe/Berlin",
        "Europe/",
        "Europe",
        "Europe//Berlin",
        "Europe/Berlin ",
        "./UTC",
        "Mars/Olympus",
        "tzdata.zi",
        "posix\n",
        "UTC/none",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct zone *zone = NULL;
        struct error err = {0};
        assert_int_equal(zone_open(bad[i], &zone, &err), -1);
        if (err.code != ERROR_INVALID_ARGUMENT && err.code != ERROR_NOT_FOUND) {
            fail_msg("\"%s\": %s", bad[i], err.text);
        }
    }
}

/* zic makes slim files now, and made fat ones before: the same zone either way. */
static void slim_and_fat_files(void **state)
{
    static const char source[] = "Rule R 1981 only - Mar lastSun 1:00u 1:00 S\n"
                                 "Rule R 1981 only - Sep lastSun 1:00u 0 -\n"
                                 "Rule R 1996 max - Mar lastSun 1:00u 1:00 S\n"
                                 "Rule R 1996 max - Oct lastSun 1:00u 0 -\n"
                                 "Zone Test/Zone 0:30 - LMT 1975\n"
                                 "    1:00 R CE%sT\n";
    char folder[] = "/tmp/zone_test.XXXXXX";
    struct error err;
    struct zone *both[2] = {NULL, NULL};
    (void)state;
    if (access("/usr/sbin/zic", X_OK) < 0) {
        skip();
    }
    assert_non_null(mkdtemp(folder));
    _cleanup_(free_cleanup) char *source_path = file_join(folder, "source");
    assert_int_equal(file_write_atomic(source_path, bytes_of_text(source), 0600, &err), 0);
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(buffer_clear) struct buffer file = {0};
        _cleanup_(free_cleanup) char *command = text_format(
            "/usr/sbin/zic -b %s -d %s/%zu %s", i ? "fat" : "slim", folder, i, source_path);
        _cleanup_(free_cleanup) char *path = text_format("%s/%zu/Test/Zone", folder, i);
        /* NOLINTNEXTLINE(cert-env33-c): the words are our own */
        assert_int_equal(system(command), 0);
        assert_int_equal(buffer_read_file(path, ZONE_FILE_MAX_BYTES, &file, &err), 0);
        assert_int_equal(zone_parse(buffer_bytes(&file), &both[i], &err), 0);
    }
    for (int64_t at_s = 0; at_s < 5000000000; at_s += 7 * 3600LL) {
        int64_t until_s;
        assert_int_equal(zone_offset_s(both[0], at_s, &until_s),
                         zone_offset_s(both[1], at_s, &until_s));
    }
    zone_free(both[0]);
    zone_free(both[1]);
    _cleanup_(free_cleanup) char *clean = text_format("rm -r %s", folder);
    /* NOLINTNEXTLINE(cert-env33-c): the words are our own */
    assert_int_equal(system(clean), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_system_has_it),
        cmocka_unit_test(footers_as_the_system_has_them),
        cmocka_unit_test(daylight_saving_time_all_year),
        cmocka_unit_test(bad_footers),
        cmocka_unit_test(files_of_each_version),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(names),
        cmocka_unit_test(slim_and_fat_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
