/* The records of an audit log within a time, looked at as text: quick, without a JSON parser. */
#pragma once

#include "audit/reader.h"
#include "client/command.h"

struct audit_range {
    char since[AUDIT_TIME_BYTES + 1], until[AUDIT_TIME_BYTES + 1]; /* empty: no bound */
};

/* From --since and --until. */
int audit_range_parse(const struct arguments *arguments, struct audit_range *ret_range,
                      struct error *err);

struct audit_record_text {
    struct bytes line; /* all of it: a JSON object */
    struct bytes body;
    char time[AUDIT_TIME_BYTES + 1]; /* empty: it has none */
};

/* Tells of each record from the start of the log at path on. Lines that are no records are left
 * out; *ret_skipped counts them. */
int audit_scan(const char *path, const struct audit_range *range,
               void (*each)(void *user, const struct audit_record_text *record), void *user,
               uint64_t *ret_skipped, struct error *err);

/* The value of a member as it is written, a text without its quotes; empty: it has no such member.
 */
struct bytes audit_member(struct bytes body, const char *name);
