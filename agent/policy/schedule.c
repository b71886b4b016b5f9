#include "agent/policy/schedule.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/policy/zone.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { MINUTE_S = 60, HOUR_MINUTES = 60, DAY_MINUTES = 24 * HOUR_MINUTES, DAYS = 7 };
enum { WEEK_MINUTES = DAYS * DAY_MINUTES, WEEK_S = WEEK_MINUTES * MINUTE_S };
enum { TEXT_MAX_BYTES = 1024, RANGES_MAX = 64 };

struct schedule {
    atomic_size_t references;
    char *text;
    struct zone *zone;
    /* The minutes of a week, which begins on Monday, at which it changes, in order. They take
     * turns: is_first_in says what begins with the first. None: it is always. */
    uint16_t *changes;
    size_t count;
    bool is_first_in;
};

/* Reading. */

static const char *const day_names[DAYS] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

static int read_day(struct reader *reader, unsigned *ret_day, struct error *err)
{
    struct bytes name = reader_bytes(reader, 3);
    for (unsigned i = 0; i < DAYS; i++) {
        if (bytes_is_equal(name, bytes_of_text(day_names[i]))) {
            *ret_day = i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%.*s\" is no day; expected Mon, Tue, Wed, Thu, Fri, Sat or Sun",
                     (int)name.size, (const char *)name.data);
}

static uint8_t peek(const struct reader *reader)
{
    return reader->rest.size > 0 ? reader->rest.data[0] : 0;
}

/* "Mon-Fri,Sun": a bit for each. */
static int read_days(struct reader *reader, unsigned *ret_days, struct error *err)
{
    unsigned days = 0, first = 0, last = 0;
    do {
        TRY(read_day(reader, &first, err));
        last = first;
        if (peek(reader) == '-') {
            (void)reader_u8(reader);
            TRY(read_day(reader, &last, err));
        }
        for (unsigned day = first;; day = (day + 1) % DAYS) {
            days |= 1U << day;
            if (day == last) {
                break;
            }
        }
    } while (peek(reader) == ',' && reader_u8(reader));
    *ret_days = days;
    return 0;
}

/* "HH:MM" */
static int read_minute(struct reader *reader, unsigned maximum, unsigned *ret_minute,
                       struct error *err)
{
    struct bytes text = reader_bytes(reader, 5);
    const uint8_t *c = text.data;
    bool is_right = text.size == 5 && c[2] == ':';
    for (size_t i = 0; is_right && i < 5; i++) {
        is_right = i == 2 || (c[i] >= '0' && c[i] <= '9');
    }
    if (is_right) {
        unsigned hour = (unsigned)(c[0] - '0') * 10 + (c[1] - '0');
        unsigned minute = (unsigned)(c[3] - '0') * 10 + (c[4] - '0');
        *ret_minute = hour * HOUR_MINUTES + minute;
        is_right = minute < HOUR_MINUTES && *ret_minute <= maximum;
    }
    return is_right ? 0
                    : error_set(err, ERROR_INVALID_ARGUMENT,
                                "\"%.*s\" is no time of day; expected one from 00:00 to %s",
                                (int)text.size, (const char *)text.data,
                                maximum == DAY_MINUTES ? "24:00" : "23:59");
}

/* A range, into the minutes of the week. */
static int read_range(struct bytes text, bool *week, struct error *err)
{
    unsigned days = (1U << DAYS) - 1, start, end;
    struct reader reader = reader_of(text);
    if (peek(&reader) > '9') {
        TRY(read_days(&reader, &days, err));
        if (reader_u8(&reader) != ' ') {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "days are followed by one blank and the times");
        }
    }
    TRY(read_minute(&reader, DAY_MINUTES - 1, &start, err));
    if (reader_u8(&reader) != '-') {
        return error_set(err, ERROR_INVALID_ARGUMENT, "'-' belongs between two times of day");
    }
    TRY(read_minute(&reader, DAY_MINUTES, &end, err));
    if (!reader_is_done(&reader) || start == end) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s",
                         start == end ? "it begins and ends at the same time; a whole day is "
                                        "00:00-24:00"
                                      : "something follows the times; ranges are separated by "
                                        "\", \"");
    }
    unsigned size = end > start ? end - start : end + DAY_MINUTES - start;
    for (unsigned day = 0; day < DAYS; day++) {
        for (unsigned i = 0; (days & 1U << day) && i < size; i++) {
            week[(day * DAY_MINUTES + start + i) % WEEK_MINUTES] = true;
        }
    }
    return 0;
}

/* What comes before the next ", ". */
static struct bytes next_range(struct bytes *rest)
{
    const uint8_t *end = memmem(rest->data, rest->size, ", ", 2);
    struct bytes range = {rest->data, end ? (size_t)(end - rest->data) : rest->size};
    size_t skipped = end ? range.size + 2 : range.size;
    *rest = (struct bytes){rest->data + skipped, rest->size - skipped};
    return range;
}

static int read_ranges(const char *text, bool *week, struct error *err)
{
    struct bytes rest = bytes_of_text(text);
    size_t count = 0;
    if (rest.size > TEXT_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "it has more than %d bytes", TEXT_MAX_BYTES);
    }
    /* A separator at the end leaves an empty range behind it, which is refused as all others. */
    bool is_last = false;
    while (!is_last) {
        size_t before = rest.size;
        struct bytes range = next_range(&rest);
        is_last = range.size == before;
        if (++count > RANGES_MAX) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "it has more than %d ranges", RANGES_MAX);
        }
        TRY(read_range(range, week, err));
    }
    return 0;
}

static void find_changes(const bool *week, struct schedule *schedule)
{
    uint16_t changes[WEEK_MINUTES];
    for (unsigned i = 0; i < WEEK_MINUTES; i++) {
        if (week[i] != week[(i + WEEK_MINUTES - 1) % WEEK_MINUTES]) {
            changes[schedule->count++] = (uint16_t)i;
        }
    }
    schedule->changes = memory_new_array(schedule->count, sizeof(*schedule->changes));
    memcpy(schedule->changes, changes, schedule->count * sizeof(*changes));
    schedule->is_first_in = schedule->count == 0 || week[changes[0]];
}

int schedule_new(const char *text, const char *zone, struct schedule **ret_schedule,
                 struct error *err)
{
    bool week[WEEK_MINUTES] = {false};
    struct zone *opened = NULL;
    if (read_ranges(text, week, err) < 0) {
        return error_prepend(err,
                             "the hours \"%.100s\" (expected times such as \"08:00-18:00\" or "
                             "\"Mon-Fri 08:00-18:00, Sat 10:00-14:00\")",
                             text);
    }
    TRY(zone_open(zone, &opened, err));
    struct schedule *schedule = NEW(struct schedule);
    schedule->references = 1;
    schedule->text = text_format("%s %s", text, zone);
    schedule->zone = opened;
    find_changes(week, schedule);
    *ret_schedule = schedule;
    return 0;
}

struct schedule *schedule_ref(struct schedule *schedule)
{
    atomic_fetch_add_explicit(&schedule->references, 1, memory_order_relaxed);
    return schedule;
}

void schedule_unref(struct schedule *schedule)
{
    if (atomic_fetch_sub_explicit(&schedule->references, 1, memory_order_acq_rel) == 1) {
        zone_free(schedule->zone);
        free(schedule->changes);
        free(schedule->text);
        free(schedule);
    }
}

/* Asking. */

/* Whether the second of a week lies in it, and in how many seconds the clock on the wall shows the
 * next change. */
static bool has_second(const struct schedule *schedule, uint32_t second, uint32_t *ret_left_s)
{
    size_t after = 0; /* the first change that is still to come */
    while (after < schedule->count && (uint32_t)schedule->changes[after] * MINUTE_S <= second) {
        after++;
    }
    bool is_next_week = after == schedule->count;
    uint32_t next = (uint32_t)schedule->changes[is_next_week ? 0 : after] * MINUTE_S;
    *ret_left_s = next + (is_next_week ? WEEK_S : 0) - second;
    /* The change before was an even one where this is an odd one; there is an even number of all.
     */
    return (after % 2 == 1) == schedule->is_first_in;
}

/* 1970-01-01 was a Thursday. */
static uint32_t second_of_week(int64_t local_s)
{
    enum { MONDAY_S = 3 * DAY_MINUTES * MINUTE_S };
    return (uint32_t)(((local_s + MONDAY_S) % WEEK_S + WEEK_S) % WEEK_S);
}

bool schedule_has(const struct schedule *schedule, int64_t now_s, int64_t *ret_until_s)
{
    /* More changes of the zone in one stretch than any real one has. What is then told is too
     * early, so whoever asks again at that moment loses nothing. */
    enum { STEPS_MAX = 64 };
    int64_t at_s = now_s, zone_until_s = 0;
    bool is_in = schedule->is_first_in;
    *ret_until_s = INT64_MAX;
    if (schedule->count == 0 || now_s < -ZONE_MOMENT_MAX || now_s > ZONE_MOMENT_MAX) {
        return schedule->count == 0;
    }
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        uint32_t left_s;
        int32_t offset_s = zone_offset_s(schedule->zone, at_s, &zone_until_s);
        bool is_in_then = has_second(schedule, second_of_week(at_s + offset_s), &left_s);
        is_in = i == 0 ? is_in_then : is_in;
        if (is_in_then != is_in) {
            break;
        }
        at_s = MIN(at_s + left_s, zone_until_s);
    }
    *ret_until_s = at_s;
    return is_in;
}

const char *schedule_text(const struct schedule *schedule)
{
    return schedule->text;
}

void schedule_format(const struct schedule *schedule, int64_t moment_s,
                     char ret_text[SCHEDULE_MOMENT_BYTES])
{
    int64_t until_s;
    struct tm local;
    time_t local_s = moment_s;
    bool is_known = moment_s >= -ZONE_MOMENT_MAX && moment_s <= ZONE_MOMENT_MAX;
    local_s += is_known ? zone_offset_s(schedule->zone, moment_s, &until_s) : 0;
    if (!is_known || !gmtime_r(&local_s, &local) ||
        strftime(ret_text, SCHEDULE_MOMENT_BYTES, "%a %Y-%m-%d %H:%M", &local) == 0) {
        (void)snprintf(ret_text, SCHEDULE_MOMENT_BYTES, "never");
    }
}
