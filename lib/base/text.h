/* Text: hexadecimal and base64, printable text, durations, lists of strings. Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/error.h"

/* Replaces control characters and bytes that are not UTF-8 by '?', in place. */
void text_make_printable(char *text);

/* Whether the bytes are UTF-8 without NUL. */
bool text_is_utf8(struct bytes bytes);

/* Lower-case hexadecimal of the bytes; the caller frees it. */
char *text_hex(struct bytes bytes);

/* base64url without padding (RFC 4648 5), as JOSE uses it; the caller frees it. */
char *text_base64url(struct bytes bytes);

/* base64 with padding (RFC 4648 4); the caller frees it. */
char *text_base64(struct bytes bytes);

/* Appends to ret_decoded what text stands for; padding, white space and other characters are
 * refused. */
int text_base64url_decode(const char *text, size_t size, struct buffer *ret_decoded,
                          struct error *err);

/* Reads a duration such as "90s", "5m", "1h", "7d", "250ms" or "1h30m"; refuses signs, blanks,
 * missing units, overflow. */
int text_parse_duration_ms(const char *text, uint64_t *ret_ms, struct error *err);

/* The shortest such text for a duration; the caller frees it. */
char *text_format_duration_ms(uint64_t ms);

/* A decimal number from minimum to maximum, nothing before or after it. */
int text_parse_u64(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret,
                   struct error *err);

/* "true" or "false". */
int text_parse_boolean(const char *text, bool *ret, struct error *err);

/* printf into memory of its own; the caller frees it. Never NULL. */
char *text_format(const char *format, ...) _printf_(1, 2);

/* A growing list of strings that it owns. All zero is empty. */
struct text_list {
    char **items;
    size_t count;
};

/* Adds a copy of item. */
void text_list_add(struct text_list *list, const char *item);
/* Sorts bytewise and drops repetitions. */
void text_list_sort_unique(struct text_list *list);
/* Whether a list sorted by text_list_sort_unique has the item. */
bool text_list_has_sorted(const struct text_list *list, const char *item);
bool text_list_is_equal(const struct text_list *a, const struct text_list *b);
void text_list_copy(struct text_list *to, const struct text_list *from);
/* Frees the items; the list is empty afterwards. Also for _cleanup_. */
void text_list_clear(struct text_list *list);
