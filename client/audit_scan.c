#include "client/audit_scan.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/audit_time.h"

enum { MEMBER_NAME_MAX = 64 };

static int parse_bound(const char *text, const char *option, int64_t now_ms,
                       char ret_time[AUDIT_TIME_BYTES + 1], struct error *err)
{
    int64_t ms = 0;
    if (!text) {
        return 0;
    }
    if (audit_time_parse(text, now_ms, &ms, err) < 0) {
        return error_prepend(err, "%s", option);
    }
    audit_time_format(ms, ret_time);
    return 0;
}

int audit_range_parse(const struct arguments *arguments, struct audit_range *ret_range,
                      struct error *err)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    *ret_range = (struct audit_range){0};
    TRY(parse_bound(arguments->since, "--since", now_ms, ret_range->since, err));
    return parse_bound(arguments->until, "--until", now_ms, ret_range->until, err);
}

/* Times compare as texts do. A record without one is in every range: it is not to be overlooked. */
static bool is_in_range(const struct audit_range *range, const char *time)
{
    return !time[0] || ((!range->since[0] || strcmp(time, range->since) >= 0) &&
                        (!range->until[0] || strcmp(time, range->until) <= 0));
}

int audit_scan(const char *path, const struct audit_range *range,
               void (*each)(void *user, const struct audit_record_text *record), void *user,
               uint64_t *ret_skipped, struct error *err)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct audit_line line;
    struct audit_link link;
    bool has_line = true;
    *ret_skipped = 0;
    TRY(audit_reader_open(path, &reader, err));
    for (;;) {
        TRY(audit_reader_next(reader, &has_line, &line, err));
        if (!has_line) {
            return 0;
        }
        struct audit_record_text record = {.line = line.text};
        if (line.is_torn || line.is_too_long ||
            audit_record_parse(line.text, &link, &record.body, NULL) < 0) {
            (*ret_skipped)++;
            continue;
        }
        if (!audit_record_time(record.body, record.time)) {
            record.time[0] = '\0';
        }
        if (is_in_range(range, record.time)) {
            each(user, &record);
        }
    }
}

/* The end of a text whose opening quote is behind. */
static size_t text_size(struct bytes rest)
{
    for (size_t i = 0; i < rest.size; i++) {
        if (rest.data[i] == '"') {
            return i;
        }
        i += rest.data[i] == '\\' ? 1 : 0;
    }
    return rest.size;
}

struct bytes audit_member(struct bytes body, const char *name)
{
    char key[MEMBER_NAME_MAX + 4];
    int size = snprintf(key, sizeof(key), "\"%s\":", name);
    /* Quotes within texts are escaped: what looks like a member is one. */
    const uint8_t *found = memmem(body.data, body.size, key, (size_t)size);
    if (!found) {
        return (struct bytes){0};
    }
    struct reader reader = reader_of(body);
    (void)reader_bytes(&reader, (size_t)(found - body.data) + (size_t)size);
    struct bytes rest = reader.rest;
    if (rest.size > 0 && rest.data[0] == '"') {
        rest = (struct bytes){rest.data + 1, rest.size - 1};
        return (struct bytes){rest.data, text_size(rest)};
    }
    return reader_until(&reader, ',');
}
