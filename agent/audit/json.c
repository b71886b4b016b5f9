#include "agent/audit/json.h"

#include <string.h>

/* Widest escape: two bytes for one. */
enum { ESCAPE_BYTES = 2, SEQUENCE_MAX_BYTES = 4 };

struct audit_json audit_json_to(struct buffer *to)
{
    return (struct audit_json){.to = to, .start = to->size};
}

static void put_name(struct audit_json *json, const char *name)
{
    bool is_first = json->to->size == json->start;
    buffer_append_text(json->to, is_first ? "\"" : ",\"");
    buffer_append_text(json->to, name);
    buffer_append_text(json->to, "\":");
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* Points that show nothing, or change how their neighbours show: a reader would be misled. */
static bool is_printable(uint32_t point)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = {{0x00, 0x1f},     {0x7f, 0x9f},      {0xad, 0xad},     {0x61c, 0x61c},
                  {0x180e, 0x180e}, {0x200b, 0x200f},  {0x2028, 0x202e}, {0x2060, 0x206f},
                  {0xd800, 0xdfff}, {0xfdd0, 0xfdef},  {0xfeff, 0xfeff}, {0xfff0, 0xfffb},
                  {0xfffe, 0xffff}, {0xe0000, 0xe0fff}};
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
        if (point >= hidden[i].first && point <= hidden[i].last) {
            return false;
        }
    }
    return (point & 0xfffe) != 0xfffe;
}

/* The size of the printable UTF-8 sequence at the front (RFC 3629), 0 where there is none. */
static size_t sequence_size(const uint8_t *text, size_t size)
{
    static const struct {
        uint8_t mask, lead, size;
        uint32_t minimum;
    } forms[] = {{0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if ((text[0] & forms[i].mask) != forms[i].lead || forms[i].size > size) {
            continue;
        }
        uint32_t point = text[0] & (uint8_t)~forms[i].mask;
        for (size_t j = 1; j < forms[i].size; j++) {
            if ((text[j] & 0xc0) != 0x80) {
                return 0;
            }
            point = point << 6 | (text[j] & 0x3f);
        }
        bool is_good = point >= forms[i].minimum && point <= 0x10ffff && is_printable(point);
        return is_good ? forms[i].size : 0;
    }
    return 0;
}

/* One character that is not plain; returns how much of text it took. */
static size_t put_special(const uint8_t *text, size_t size, uint8_t ret[SEQUENCE_MAX_BYTES],
                          size_t *ret_size)
{
    size_t sequence = text[0] >= 0x80 ? sequence_size(text, size) : 0;
    if (sequence > 0) {
        memcpy(ret, text, sequence);
        *ret_size = sequence;
        return sequence;
    }
    bool is_escaped = text[0] == '"' || text[0] == '\\';
    ret[0] = is_escaped ? '\\' : '?';
    ret[1] = text[0];
    *ret_size = is_escaped ? ESCAPE_BYTES : 1;
    return 1;
}

/* The text with its quotes; whether all of it fitted into max_bytes. */
static bool put_text(struct buffer *to, const char *text, size_t max_bytes)
{
    const uint8_t *from = (const uint8_t *)text;
    size_t size = strlen(text);
    size_t room = size > max_bytes / ESCAPE_BYTES ? max_bytes : size * ESCAPE_BYTES;
    uint8_t *start = buffer_extend(to, room + 2);
    uint8_t *at = start;
    const uint8_t *end = start + 1 + room;
    size_t done = 0;
    *at++ = '"';
    while (done < size) {
        if (is_plain(from[done])) {
            if (at == end) {
                break;
            }
            *at++ = from[done++];
            continue;
        }
        uint8_t special[SEQUENCE_MAX_BYTES];
        size_t special_size = 0;
        size_t taken = put_special(from + done, size - done, special, &special_size);
        if (special_size > (size_t)(end - at)) {
            break;
        }
        memcpy(at, special, special_size);
        at += special_size;
        done += taken;
    }
    *at++ = '"';
    to->size -= room + 2 - (size_t)(at - start);
    return done == size;
}

void audit_json_text(struct audit_json *json, const char *name, const char *text, size_t max_bytes)
{
    if (text) {
        put_name(json, name);
        json->is_cut |= !put_text(json->to, text, max_bytes);
    }
}

static void put_number(struct buffer *to, uint64_t number)
{
    uint8_t digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buffer_append(to, digits + at, sizeof(digits) - at);
}

void audit_json_number(struct audit_json *json, const char *name, uint64_t number)
{
    put_name(json, name);
    /* Readers of JSON refuse more. */
    put_number(json->to, MIN(number, (uint64_t)INT64_MAX));
}

void audit_json_number_text(struct audit_json *json, const char *name, uint64_t number)
{
    put_name(json, name);
    buffer_append_u8(json->to, '"');
    put_number(json->to, number);
    buffer_append_u8(json->to, '"');
}

void audit_json_true(struct audit_json *json, const char *name)
{
    put_name(json, name);
    buffer_append_text(json->to, "true");
}

void audit_json_list(struct audit_json *json, const char *name, const struct text_list *list,
                     size_t max_bytes)
{
    if (!list) {
        return;
    }
    put_name(json, name);
    buffer_append_u8(json->to, '[');
    size_t start = json->to->size;
    for (size_t i = 0; i < list->count; i++) {
        size_t before = json->to->size;
        if (i > 0) {
            buffer_append_u8(json->to, ',');
        }
        size_t used = json->to->size - start;
        if (used + 2 > max_bytes || !put_text(json->to, list->items[i], max_bytes - used - 2)) {
            json->to->size = before;
            json->is_cut = true;
            break;
        }
    }
    buffer_append_u8(json->to, ']');
}

static uint8_t *put_digits(uint8_t *at, unsigned value, size_t count, char after)
{
    for (size_t i = count; i-- > 0;) {
        at[i] = (uint8_t)('0' + value % 10);
        value /= 10;
    }
    at[count] = (uint8_t)after;
    return at + count + 1;
}

/* Year, month and day of a day since 1970. Years begin in March here, so that the leap day is the
 * last of its year; 400 years have 146097 days. gmtime_r would take a lock. */
static void civil_date(unsigned days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    const unsigned since_march_0000 = days + 719468;
    const unsigned era = since_march_0000 / 146097;
    const unsigned of_era = since_march_0000 % 146097;
    const unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned month = (5 * of_year + 2) / 153; /* 0 is March */
    *ret_day = of_year - (153 * month + 2) / 5 + 1;
    *ret_month = month < 10 ? month + 3 : month - 9;
    *ret_year = era * 400 + year_of_era + (month < 10 ? 0 : 1);
}

void audit_json_time(struct audit_json *json, const char *name, int64_t ms, bool has_ms)
{
    static const int64_t last_ms = 253402300799999; /* of the year 9999 */
    const uint64_t time = (uint64_t)MIN(MAX(ms, 0), last_ms);
    const unsigned of_day = (unsigned)(time / 1000 % 86400);
    unsigned year;
    unsigned month;
    unsigned day;
    uint8_t text[32] = "\"";
    uint8_t *at = text + 1;
    civil_date((unsigned)(time / 86400000), &year, &month, &day);
    at = put_digits(at, year, 4, '-');
    at = put_digits(at, month, 2, '-');
    at = put_digits(at, day, 2, 'T');
    at = put_digits(at, of_day / 3600, 2, ':');
    at = put_digits(at, of_day / 60 % 60, 2, ':');
    at = put_digits(at, of_day % 60, 2, has_ms ? '.' : 'Z');
    if (has_ms) {
        at = put_digits(at, (unsigned)(time % 1000), 3, 'Z');
    }
    *at++ = '"';
    put_name(json, name);
    buffer_append(json->to, text, (size_t)(at - text));
}
