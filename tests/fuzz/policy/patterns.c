/* What operators write into rules: lines of patterns of SPIFFE IDs, of hours and of audiences. The
 * index finds what looking at each rule finds, a schedule's next change is one, and a pattern of
 * audiences matches as the plainest way to try it does. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/policy/rule.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

enum { LINES_MAX = 64, AUDIENCE_MAX_BYTES = 64 };

static void read_lines(const uint8_t *data, size_t size, struct text_list *ret_lines)
{
    struct reader reader = reader_of((struct bytes){data, size});
    while (reader.rest.size > 0 && ret_lines->count < LINES_MAX) {
        struct bytes line = reader_until(&reader, '\n');
        _cleanup_(free_cleanup) char *text =
            text_format("%.*s", (int)line.size, line.size ? (const char *)line.data : "");
        text_list_add(ret_lines, text);
    }
}

static void check_rules(const struct text_list *lines)
{
    _cleanup_(rules_clear) struct rules rules = {0};
    rules.items = memory_new_array(lines->count, sizeof(*rules.items));
    for (size_t i = 0; i < lines->count; i++) {
        if (spiffe_pattern_check(lines->items[i], NULL) == 0) {
            rules.items[rules.count++].pattern = memory_copy_text(lines->items[i]);
        }
    }
    struct rules plain = {rules.items, rules.count, NULL};
    rules_prepare(&rules);
    for (size_t i = 0; i < lines->count; i++) {
        if (rules_find(&rules, lines->items[i]) != rules_find(&plain, lines->items[i])) {
            abort();
        }
    }
    for (size_t i = 0; i < rules.count; i++) {
        if (rules_shadowing(&rules, i) != rules_shadowing(&plain, i)) {
            abort();
        }
    }
}

static void check_hours(const char *text)
{
    struct schedule *schedule = NULL;
    struct error err = {0};
    if (schedule_new(text, "UTC", &schedule, &err) < 0) {
        if (err.code != ERROR_INVALID_ARGUMENT) {
            abort();
        }
        return;
    }
    int64_t now_s = 1795262400;
    for (unsigned i = 0; i < 20 && now_s != INT64_MAX; i++) {
        int64_t until_s, ignored_s;
        bool is_in = schedule_has(schedule, now_s, &until_s);
        if (until_s <= now_s ||
            (until_s != INT64_MAX && (schedule_has(schedule, until_s, &ignored_s) == is_in ||
                                      schedule_has(schedule, until_s - 1, &ignored_s) != is_in))) {
            abort();
        }
        now_s = until_s;
    }
    schedule_unref(schedule);
}

/* Which beginnings of the pattern match which of the audience, step by step. */
static bool matches_plainly(const char *pattern, const char *audience)
{
    bool row[AUDIENCE_MAX_BYTES + 1] = {true};
    size_t size = strlen(audience);
    for (; *pattern; pattern++) {
        bool before = row[0];
        row[0] = row[0] && *pattern == '*';
        for (size_t i = 1; i <= size; i++) {
            bool is_match =
                *pattern == '*' ? row[i - 1] || row[i] : before && *pattern == audience[i - 1];
            before = row[i];
            row[i] = is_match;
        }
    }
    return row[size];
}

static void check_audience(const char *pattern, const char *audience)
{
    if (strlen(audience) <= AUDIENCE_MAX_BYTES &&
        audience_matches(pattern, audience) != matches_plainly(pattern, audience)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(text_list_clear) struct text_list lines = {0};
    read_lines(data, size, &lines);
    check_rules(&lines);
    for (size_t i = 0; i < lines.count; i++) {
        check_hours(lines.items[i]);
        check_audience(lines.items[0], lines.items[i]);
    }
    return 0;
}
