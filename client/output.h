/* What commands print: aligned text for people, JSON for programs. All text is made printable. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macro.h"

/* Prints the document, indented, or on one line; takes it. */
void output_json(json_t *document, bool is_on_one_line);

/* A string of it; json_pack refuses all where a name, say of a file, is not UTF-8. */
json_t *output_json_text(const char *text);

/* A line that begins a block; bold on a terminal. */
void output_title(const char *format, ...) _printf_(1, 2);
/* "    label       value"; nothing for an empty value. */
void output_field(const char *label, const char *format, ...) _printf_(2, 3);

/* Columns as wide as needed; set headings and columns. */
enum { OUTPUT_COLUMNS_MAX = 8 };
struct output_table {
    const char *const *headings; /* borrowed */
    size_t columns;
    char **cells; /* row after row, owned */
    size_t cell_count;
};
/* Adds a cell; text is copied. A row ends with its last column. */
void output_table_add(struct output_table *table, const char *text);
/* Prints and empties it. */
void output_table_print(struct output_table *table);

/* "2026-11-21 10:00:00 UTC"; the caller frees it. As RFC 3339 for JSON: output_time_json. */
char *output_time(int64_t seconds);
char *output_time_json(int64_t seconds);
/* The two largest units of a span, such as "54m 3s"; "0s" at least; the caller frees it. */
char *output_span(int64_t seconds);
/* "54m left" or "expired 3s ago"; the caller frees it. */
char *output_time_left(int64_t expires_at_s);
