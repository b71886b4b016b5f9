#include "agent/policy/zone_rule.h"

#include "lib/base/macro.h"

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400, WEEK_DAYS = 7 };
/* Hours of a difference from UTC (POSIX), and of a time of day (RFC 8536 3.3.1). */
enum { OFFSET_MAX_HOURS = 24, TIME_MAX_HOURS = 167, CHANGE_S = 2 * HOUR_S };
/* Of a name, so that a footer stays within bounds. */
enum { NAME_MIN_BYTES = 3, NAME_MAX_BYTES = 32 };

/* Reading. */

static uint8_t peek(const struct reader *reader)
{
    return reader->rest.size > 0 ? reader->rest.data[0] : 0;
}

static bool skip_if(struct reader *reader, uint8_t c)
{
    if (peek(reader) != c || reader->rest.size == 0) {
        return false;
    }
    (void)reader_u8(reader);
    return true;
}

static int fail(const struct reader *reader, const char *expected, struct error *err)
{
    return error_set(err, ERROR_DATA_LOSS, "%s expected at \"%.*s\"", expected,
                     (int)MIN(reader->rest.size, (size_t)32), (const char *)reader->rest.data);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int read_number(struct reader *reader, int32_t minimum, int32_t maximum, int32_t *ret,
                       struct error *err)
{
    int32_t number = 0;
    if (!is_digit(peek(reader))) {
        return fail(reader, "a number", err);
    }
    while (is_digit(peek(reader))) {
        number = number * 10 + (reader_u8(reader) - '0');
        if (number > maximum) {
            return fail(reader, "a smaller number before what is", err);
        }
    }
    *ret = number;
    return number >= minimum ? 0 : fail(reader, "a larger number before what is", err);
}

static bool is_name_byte(uint8_t c, bool is_quoted)
{
    bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return is_letter || (is_quoted && (is_digit(c) || c == '+' || c == '-'));
}

/* "CET" or "<+03>": only people need it. */
static int skip_name(struct reader *reader, struct error *err)
{
    bool is_quoted = skip_if(reader, '<');
    size_t size = 0;
    for (; is_name_byte(peek(reader), is_quoted); size++) {
        (void)reader_u8(reader);
    }
    if (size < NAME_MIN_BYTES || size > NAME_MAX_BYTES || (is_quoted && !skip_if(reader, '>'))) {
        return fail(reader, "the name of a time of at least three letters", err);
    }
    return 0;
}

/* "[+-]hh[:mm[:ss]]" */
static int read_time(struct reader *reader, int32_t hours_max, int32_t *ret_s, struct error *err)
{
    int32_t hours, minutes = 0, seconds = 0;
    bool is_negative = skip_if(reader, '-');
    if (!is_negative) {
        (void)skip_if(reader, '+');
    }
    TRY(read_number(reader, 0, hours_max, &hours, err));
    if (skip_if(reader, ':')) {
        TRY(read_number(reader, 0, 59, &minutes, err));
        if (skip_if(reader, ':')) {
            TRY(read_number(reader, 0, 59, &seconds, err));
        }
    }
    *ret_s = hours * HOUR_S + minutes * MINUTE_S + seconds;
    *ret_s = is_negative ? -*ret_s : *ret_s;
    return 0;
}

static int read_weekday(struct reader *reader, struct zone_rule_day *ret_day, struct error *err)
{
    ret_day->kind = ZONE_RULE_WEEKDAY;
    TRY(read_number(reader, 1, 12, &ret_day->month, err));
    if (!skip_if(reader, '.')) {
        return fail(reader, "\".\"", err);
    }
    TRY(read_number(reader, 1, 5, &ret_day->week, err));
    if (!skip_if(reader, '.')) {
        return fail(reader, "\".\"", err);
    }
    return read_number(reader, 0, WEEK_DAYS - 1, &ret_day->day, err);
}

static int read_day(struct reader *reader, struct zone_rule_day *ret_day, struct error *err)
{
    *ret_day = (struct zone_rule_day){.time_s = CHANGE_S};
    if (!skip_if(reader, ',')) {
        return fail(reader, "\",\" and a day on which daylight saving time changes", err);
    }
    if (skip_if(reader, 'M')) {
        TRY(read_weekday(reader, ret_day, err));
    } else if (skip_if(reader, 'J')) {
        ret_day->kind = ZONE_RULE_JULIAN;
        TRY(read_number(reader, 1, 365, &ret_day->day, err));
    } else {
        ret_day->kind = ZONE_RULE_DAY;
        TRY(read_number(reader, 0, 365, &ret_day->day, err));
    }
    return skip_if(reader, '/') ? read_time(reader, TIME_MAX_HOURS, &ret_day->time_s, err) : 0;
}

/* POSIX counts what has to be added to local time, so west is positive. */
static int read_offset(struct reader *reader, int32_t *ret_s, struct error *err)
{
    TRY(read_time(reader, OFFSET_MAX_HOURS, ret_s, err));
    *ret_s = -*ret_s;
    return 0;
}

static int read_daylight(struct reader *reader, struct zone_rule *rule, struct error *err)
{
    rule->has_daylight = true;
    TRY(skip_name(reader, err));
    rule->daylight_s = rule->standard_s + HOUR_S;
    if (peek(reader) != ',') {
        TRY(read_offset(reader, &rule->daylight_s, err));
    }
    TRY(read_day(reader, &rule->starts, err));
    return read_day(reader, &rule->ends, err);
}

int zone_rule_parse(struct bytes text, struct zone_rule *ret_rule, struct error *err)
{
    struct reader reader = reader_of(text);
    struct zone_rule rule = {0};
    TRY(skip_name(&reader, err));
    TRY(read_offset(&reader, &rule.standard_s, err));
    if (reader.rest.size > 0) {
        TRY(read_daylight(&reader, &rule, err));
    }
    if (reader.rest.size > 0) {
        return fail(&reader, "the end", err);
    }
    *ret_rule = rule;
    return 0;
}

/* Counting. */

static int64_t divide_down(int64_t number, int64_t by)
{
    int64_t quotient = number / by;
    return quotient - (number % by < 0);
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* From 1970-01-01 to January 1 of the year. */
static int64_t days_before_year(int64_t year)
{
    int64_t before = year - 1;
    return (year - 1970) * 365 + divide_down(before, 4) - divide_down(before, 100) +
           divide_down(before, 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static int64_t year_of(int64_t moment_s)
{
    int64_t days = divide_down(moment_s, DAY_S);
    int64_t year = 1970 + divide_down(days * 400, 146097); /* days in 400 years */
    while (days_before_year(year) > days) {
        year--;
    }
    while (days_before_year(year + 1) <= days) {
        year++;
    }
    return year;
}

/* The day of the year, from 0, of the week'th such day of the month. */
static int64_t weekday_of_year(const struct zone_rule_day *day, int64_t year)
{
    static const int16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int64_t leap_first = is_leap(year) && day->month > 2,
            leap_last = is_leap(year) && day->month >= 2;
    int64_t first = before[day->month - 1] + leap_first;
    int64_t size = before[day->month] + leap_last - first;
    /* 1970-01-01 was a Thursday. */
    int64_t days = days_before_year(year) + first + 4;
    int64_t weekday_of_first = days - divide_down(days, WEEK_DAYS) * WEEK_DAYS;
    int64_t in_month = (day->day - weekday_of_first + WEEK_DAYS) % WEEK_DAYS;
    in_month += (int64_t)(day->week - 1) * WEEK_DAYS;
    /* The fifth is the last, of which some months have only four. */
    return first + (in_month < size ? in_month : in_month - WEEK_DAYS);
}

/* The moment of that year, by a clock that is offset_s east of UTC. */
static int64_t moment_of(const struct zone_rule_day *day, int64_t year, int32_t offset_s)
{
    int64_t in_year = day->day;
    switch (day->kind) {
    case ZONE_RULE_JULIAN:
        in_year = day->day - 1 + (is_leap(year) && day->day >= 60);
        break;
    case ZONE_RULE_DAY:
        break;
    case ZONE_RULE_WEEKDAY:
        in_year = weekday_of_year(day, year);
        break;
    }
    return (days_before_year(year) + in_year) * DAY_S + day->time_s - offset_s;
}

struct change {
    int64_t moment_s;
    bool is_daylight;
};

static void insert(struct change *changes, size_t count, struct change change)
{
    for (; count > 0 && changes[count - 1].moment_s > change.moment_s; count--) {
        changes[count] = changes[count - 1];
    }
    changes[count] = change;
}

int32_t zone_rule_offset_s(const struct zone_rule *rule, int64_t moment_s, int64_t *ret_until_s)
{
    *ret_until_s = INT64_MAX;
    if (!rule->has_daylight) {
        return rule->standard_s;
    }
    /* Changes may lie a week before or after the year that they belong to. */
    enum { YEARS = 5 };
    struct change changes[2 * YEARS];
    size_t count = 0;
    int64_t middle = year_of(moment_s);
    for (int64_t year = middle - YEARS / 2; year <= middle + YEARS / 2; year++) {
        struct change start = {moment_of(&rule->starts, year, rule->standard_s), true};
        struct change end = {moment_of(&rule->ends, year, rule->daylight_s), false};
        insert(changes, count++, start);
        insert(changes, count++, end);
    }
    bool is_daylight = false;
    for (size_t i = 0; i < count; i++) {
        if (changes[i].moment_s > moment_s) {
            *ret_until_s = changes[i].moment_s;
            break;
        }
        is_daylight = changes[i].is_daylight;
    }
    return is_daylight ? rule->daylight_s : rule->standard_s;
}
