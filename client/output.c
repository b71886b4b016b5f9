#include "client/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { LABEL_COLUMN = 14, INDENT = 4, COLUMN_GAP = 2 };

void output_json(json_t *document, bool is_on_one_line)
{
    (void)json_dumpf(document, stdout, is_on_one_line ? JSON_COMPACT : JSON_INDENT(2));
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(document);
}

json_t *output_json_text(const char *text)
{
    _cleanup_(free_cleanup) char *printable = memory_copy_text(text);
    text_make_printable(printable);
    return json_string(printable);
}

static char *format_printable(const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        abort();
    }
    text_make_printable(text);
    return text;
}

static bool is_bold_wanted(void)
{
    return isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

void output_title(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    _cleanup_(free_cleanup) char *text = format_printable(format, arguments);
    va_end(arguments);
    (void)printf(is_bold_wanted() ? "\033[1m%s\033[0m\n" : "%s\n", text);
}

void output_field(const char *label, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    _cleanup_(free_cleanup) char *text = format_printable(format, arguments);
    va_end(arguments);
    if (text[0]) {
        (void)printf("%*s%-*s%s\n", INDENT, "", LABEL_COLUMN, label, text);
    }
}

void output_table_add(struct output_table *table, const char *text)
{
    size_t count = table->cell_count;
    table->cells = memory_resize_array(table->cells, count + 1, sizeof(*table->cells));
    table->cells[count] = memory_copy_text(text);
    text_make_printable(table->cells[count]);
    table->cell_count++;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static void print_cell(const char *text, size_t width, bool is_last)
{
    size_t room = is_last ? 0 : width + COLUMN_GAP - width_of(text);
    (void)printf("%s%*s", text, (int)room, "");
}

static void print_row(const char *const *texts, const size_t *widths, size_t columns)
{
    for (size_t i = 0; i < columns; i++) {
        print_cell(texts[i], widths[i], i + 1 == columns);
    }
    (void)putchar('\n');
}

void output_table_print(struct output_table *table)
{
    size_t widths[OUTPUT_COLUMNS_MAX] = {0};
    size_t cells = table->cell_count;
    for (size_t i = 0; i < table->columns; i++) {
        widths[i] = width_of(table->headings[i]);
    }
    for (size_t i = 0; i < cells; i += table->columns) {
        for (size_t j = 0; j < table->columns; j++) {
            widths[j] = MAX(widths[j], width_of(table->cells[i + j]));
        }
    }
    print_row(table->headings, widths, table->columns);
    for (size_t i = 0; i < cells; i += table->columns) {
        print_row((const char *const *)&table->cells[i], widths, table->columns);
    }
    for (size_t i = 0; i < cells; i++) {
        free(table->cells[i]);
    }
    free((void *)table->cells);
    table->cells = NULL;
    table->cell_count = 0;
}

static char *format_time(const char *format, int64_t seconds)
{
    char text[64];
    time_t time = (time_t)seconds;
    struct tm utc;
    if (!gmtime_r(&time, &utc) || strftime(text, sizeof(text), format, &utc) == 0) {
        return text_format("%lld", (long long)seconds);
    }
    return memory_copy_text(text);
}

char *output_time(int64_t seconds)
{
    return format_time("%Y-%m-%d %H:%M:%S UTC", seconds);
}

char *output_time_json(int64_t seconds)
{
    return format_time("%Y-%m-%dT%H:%M:%SZ", seconds);
}

char *output_span(int64_t seconds)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
    for (size_t i = 0; i + 1 < ARRAY_SIZE(units); i++) {
        int64_t first = seconds / units[i].seconds;
        int64_t second = seconds % units[i].seconds / units[i + 1].seconds;
        if (first > 0 && second > 0) {
            return text_format("%lld%s %lld%s", (long long)first, units[i].name, (long long)second,
                               units[i + 1].name);
        }
        if (first > 0) {
            return text_format("%lld%s", (long long)first, units[i].name);
        }
    }
    return text_format("%llds", (long long)seconds);
}

char *output_time_left(int64_t expires_at_s)
{
    int64_t left_s = expires_at_s - clock_now_s();
    _cleanup_(free_cleanup) char *span = output_span(left_s < 0 ? -left_s : left_s);
    return left_s < 0 ? text_format("expired %s ago", span) : text_format("%s left", span);
}
