/* Writes members of a JSON object at the end of a buffer, without its braces and without memory of
 * its own. Texts come out as printable UTF-8 whatever they were: control characters, format and
 * bidirectional controls, and bytes that are not UTF-8 become '?'. Every thread. */
#pragma once

#include "lib/base/text.h"

struct audit_json {
    struct buffer *to;
    size_t start; /* of the first member in it */
    bool is_cut;  /* a text or a list was longer than its bound */
};

struct audit_json audit_json_to(struct buffer *to);
/* A text of at most max_bytes as written; NULL: no member. name is a constant that needs no
 * escaping. */
void audit_json_text(struct audit_json *json, const char *name, const char *text, size_t max_bytes);
void audit_json_number(struct audit_json *json, const char *name, uint64_t number);
/* The number as a text. */
void audit_json_number_text(struct audit_json *json, const char *name, uint64_t number);
void audit_json_true(struct audit_json *json, const char *name);
/* An array of texts: whole ones, as many as fit into max_bytes. NULL: no member. */
void audit_json_list(struct audit_json *json, const char *name, const struct text_list *list,
                     size_t max_bytes);
/* RFC 3339 in UTC, with milliseconds where has_ms. Beyond the years 1970 to 9999 the nearest end.
 */
void audit_json_time(struct audit_json *json, const char *name, int64_t ms, bool has_ms);
