#include "client/audit_time.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { MS = 1000, OFFSET_MAX_HOURS = 23, OFFSET_MAX_MINUTES = 59 };

static const int64_t last_ms = INT64_C(253402300799999); /* of the year 9999 */

void audit_time_format(int64_t ms, char ret_time[AUDIT_TIME_BYTES + 1])
{
    char text[64];
    int64_t bounded_ms = MIN(MAX(ms, 0), last_ms);
    time_t seconds = (time_t)(bounded_ms / MS);
    struct tm utc = {0};
    (void)gmtime_r(&seconds, &utc);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + size, sizeof(text) - size, ".%03dZ", (int)(bounded_ms % MS));
    memcpy(ret_time, text, AUDIT_TIME_BYTES);
    ret_time[AUDIT_TIME_BYTES] = '\0';
}

/* ".123", any number of digits; moves on behind it. */
static int64_t read_fraction(const char **text)
{
    int64_t ms = 0;
    int64_t unit = MS / 10;
    if (**text != '.' || !isdigit((unsigned char)(*text)[1])) {
        return 0;
    }
    for ((*text)++; isdigit((unsigned char)**text); (*text)++) {
        ms += (**text - '0') * unit;
        unit /= 10;
    }
    return ms;
}

/* "Z" or "+01:00" and nothing more. */
static bool read_offset(const char *text, int64_t *ret_offset_s)
{
    *ret_offset_s = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
        return true;
    }
    if ((text[0] != '+' && text[0] != '-') || strlen(text) != strlen("+01:00") || text[3] != ':' ||
        strspn(text + 1, "0123456789") != 2 || strspn(text + 4, "0123456789") != 2) {
        return false;
    }
    int hours = (text[1] - '0') * 10 + text[2] - '0';
    int minutes = (text[4] - '0') * 10 + text[5] - '0';
    if (hours > OFFSET_MAX_HOURS || minutes > OFFSET_MAX_MINUTES) {
        return false;
    }
    *ret_offset_s = (int64_t)(hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
    return true;
}

static bool read_rfc3339(const char *text, int64_t *ret_ms)
{
    struct tm utc = {0};
    int64_t offset_s = 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    if (!rest) {
        return false;
    }
    int64_t fraction_ms = read_fraction(&rest);
    if (!read_offset(rest, &offset_s)) {
        return false;
    }
    *ret_ms = ((int64_t)timegm(&utc) - offset_s) * MS + fraction_ms;
    return true;
}

static bool read_local(const char *text, int64_t *ret_ms)
{
    static const char *const forms[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct tm local = {.tm_isdst = -1};
        const char *rest = strptime(text, forms[i], &local);
        if (rest && *rest == '\0') {
            *ret_ms = (int64_t)mktime(&local) * MS;
            return true;
        }
    }
    return false;
}

int audit_time_parse(const char *text, int64_t now_ms, int64_t *ret_ms, struct error *err)
{
    uint64_t before_ms = 0;
    if (read_rfc3339(text, ret_ms) || read_local(text, ret_ms)) {
        return 0;
    }
    if (text_parse_duration_ms(text, &before_ms, NULL) < 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%s\" is not a time; write it such as \"2026-11-21T10:00:00Z\", "
                         "\"2026-11-21 10:00\", or \"2h\" for two hours ago",
                         text);
    }
    *ret_ms = before_ms > (uint64_t)MAX(now_ms, 0) ? 0 : now_ms - (int64_t)before_ms;
    return 0;
}

bool audit_time_read(const char *time, int64_t *ret_ms)
{
    return strlen(time) == AUDIT_TIME_BYTES && read_rfc3339(time, ret_ms);
}

char *audit_time_local(int64_t ms)
{
    char date[64] = "";
    char offset[16] = "";
    time_t seconds = (time_t)(ms / MS);
    struct tm local = {0};
    (void)localtime_r(&seconds, &local);
    (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
    (void)strftime(offset, sizeof(offset), "%z", &local);
    /* "+0100" */
    return text_format("%s.%03d%.3s:%s", date, (int)(ms % MS), offset,
                       strlen(offset) > 3 ? offset + 3 : "00");
}
