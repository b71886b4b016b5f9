#include "attest/evidence_scan.h"

#include <string.h>

enum { MEMBERS_MAX = 32 };

int scan_refuse(struct scan *scan, const char *why)
{
    return error_set(scan->err, ERROR_INVALID_ARGUMENT, "reading \"%s\": %s", scan->where, why);
}

static int peek(struct scan *scan)
{
    struct bytes *rest = &scan->reader.rest;
    while (rest->size && (*rest->data == ' ' || *rest->data == '\n' || *rest->data == '\r' ||
                          *rest->data == '\t')) {
        (void)reader_u8(&scan->reader);
    }
    return rest->size ? *rest->data : -1;
}

static int expect(struct scan *scan, char wanted)
{
    if (peek(scan) != wanted) {
        char why[] = "expected 'x' here";
        why[10] = wanted;
        return scan_refuse(scan, why);
    }
    (void)reader_u8(&scan->reader);
    return 0;
}

int scan_text(struct scan *scan, struct bytes *ret_text)
{
    TRY(expect(scan, '"'));
    struct bytes rest = scan->reader.rest;
    const uint8_t *end = rest.size ? memchr(rest.data, '"', rest.size) : NULL;
    if (!end) {
        return scan_refuse(scan, "the text does not end");
    }
    *ret_text = reader_until(&scan->reader, '"');
    return 0;
}

int scan_next(struct scan *scan, char bracket, bool *is_first)
{
    char end = bracket == '{' ? '}' : ']';
    bool was_first = *is_first;
    *is_first = false;
    if (was_first) {
        TRY(expect(scan, bracket));
    }
    if (peek(scan) == end) {
        (void)reader_u8(&scan->reader);
        return 0;
    }
    if (!was_first) {
        TRY(expect(scan, ','));
    }
    return 1;
}

int scan_name(struct scan *scan, struct bytes *ret_name)
{
    TRY(scan_text(scan, ret_name));
    return expect(scan, ':');
}

static const struct scan_member *find_member(const struct scan_member *members, struct bytes name)
{
    for (; members->name; members++) {
        if (bytes_is_equal(bytes_of_text(members->name), name)) {
            return members;
        }
    }
    return NULL;
}

static int check_required(struct scan *scan, const struct scan_member *members, uint32_t seen)
{
    for (size_t i = 0; members[i].name; i++) {
        if (members[i].is_required && !(seen >> i & 1)) {
            scan->where = members[i].name;
            return scan_refuse(scan, "it is missing");
        }
    }
    return 0;
}

static int read_members(struct scan *scan, const struct scan_member *members, void *target)
{
    uint32_t seen = 0;
    bool is_first = true;
    const char *outer = scan->where;
    int more = 0;
    while ((more = scan_next(scan, '{', &is_first)) > 0) {
        struct bytes name = {0};
        TRY(scan_name(scan, &name));
        const struct scan_member *member = find_member(members, name);
        if (!member) {
            return error_set(scan->err, ERROR_INVALID_ARGUMENT,
                             "reading \"%s\": it has a member \"%.*s\", which is not known",
                             scan->where, (int)MIN(name.size, 64U),
                             name.size ? (const char *)name.data : "");
        }
        scan->where = member->name;
        if (seen >> (member - members) & 1) {
            return scan_refuse(scan, "it is there twice");
        }
        seen |= 1U << (member - members);
        TRY(member->read(scan, member, (char *)target + member->offset));
        scan->where = outer;
    }
    TRY(more);
    return check_required(scan, members, seen);
}

int scan_document(struct bytes json, const struct scan_member *members, void *target,
                  struct error *err)
{
    struct scan scan = {.reader = reader_of(json), .where = "document", .err = err};
    TRY(read_members(&scan, members, target));
    return peek(&scan) < 0 ? 0 : scan_refuse(&scan, "something is behind its end");
}

int scan_object(struct scan *scan, const struct scan_member *member, void *field)
{
    return read_members(scan, member->members, field);
}

static int read_number(struct scan *scan, uint64_t *ret_number)
{
    enum { DIGITS_MAX = 18 };
    uint64_t number = 0;
    size_t digits = 0;
    int next = 0;
    bool has_leading_zero = false;
    (void)peek(scan);
    while (scan->reader.rest.size && (next = *scan->reader.rest.data) >= '0' && next <= '9') {
        has_leading_zero |= digits == 1 && number == 0;
        number = number * 10 + (uint64_t)(next - '0');
        (void)reader_u8(&scan->reader);
        if (++digits > DIGITS_MAX) {
            break;
        }
    }
    if (digits == 0 || digits > DIGITS_MAX || has_leading_zero) {
        return scan_refuse(scan, "expected a whole number");
    }
    *ret_number = number;
    return 0;
}

int scan_seconds(struct scan *scan, const struct scan_member *member, void *field)
{
    (void)member;
    uint64_t number = 0;
    TRY(read_number(scan, &number));
    *(int64_t *)field = (int64_t)number;
    return 0;
}

int scan_version(struct scan *scan, const struct scan_member *member, void *field)
{
    (void)field;
    uint64_t number = 0;
    TRY(read_number(scan, &number));
    if (number != member->maximum) {
        return error_set(scan->err, ERROR_INVALID_ARGUMENT,
                         "reading \"version\": it is %ju, and only %zu is understood here",
                         (uintmax_t)number, member->maximum);
    }
    return 0;
}
