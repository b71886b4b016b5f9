/* Changes to the lines of a log. */
#pragma once

#include "tests/unit/audit/fixture.h"

/* Takes lines[at] out, to be put back elsewhere or freed. */
static inline char *take(struct text_list *lines, size_t at)
{
    if (!lines->items || at >= lines->count) {
        abort(); /* for an analyzer, too */
    }
    char *line = lines->items[at];
    lines->count--;
    memmove(&lines->items[at], &lines->items[at + 1], (lines->count - at) * sizeof(char *));
    return line;
}

/* Takes line. */
static inline void put(struct text_list *lines, size_t at, char *line)
{
    text_list_add(lines, "");
    free(take(lines, lines->count - 1));
    memmove(&lines->items[at + 1], &lines->items[at], (lines->count - at) * sizeof(char *));
    lines->items[at] = line;
    lines->count++;
}

static inline void cut_start(struct text_list *lines)
{
    for (int i = 0; i < 3; i++) {
        free(take(lines, 0));
    }
}

static inline void cut_first(struct text_list *lines)
{
    free(take(lines, 0));
}

static inline void cut_sixth(struct text_list *lines)
{
    free(take(lines, 5));
}

static inline void cut_end(struct text_list *lines)
{
    while (lines->count > 10) {
        free(take(lines, lines->count - 1));
    }
}

static inline void change_first(struct text_list *lines)
{
    if (lines->count == 0) {
        abort(); /* for an analyzer, too */
    }
    strstr(lines->items[0], "used")[0] = 'U';
}

static inline void tamper_with(struct fixture *fixture, unsigned number,
                               void (*tamper)(struct text_list *lines))
{
    _cleanup_(free_cleanup) char *path = fixture_file(fixture, number);
    struct fixture_lines lines = fixture_read_lines(path);
    tamper(&lines.list);
    fixture_write_lines(&lines);
}
