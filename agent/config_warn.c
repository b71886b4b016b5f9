#include <string.h>

#include "agent/config_block.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* Who writes ten thousand rules wrongly reads no ten thousand warnings. */
enum { WARNINGS_MAX = 100 };

static unsigned line_of(const struct config_parse *parse, const struct rule *rule)
{
    return parse->rule_lines.items[rule - parse->config->rules.items];
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *text_a = a, *const *text_b = b;
    return strcmp(*text_a, *text_b);
}

/* The SPIFFE IDs of all entries, in order. Borrowed but for the list, which the caller frees. */
static const char **sorted_ids(const struct config *config)
{
    const char **ids = memory_new_array(config->entry_count, sizeof(*ids));
    for (size_t i = 0; i < config->entry_count; i++) {
        ids[i] = config->entries[i]->spiffe_id;
    }
    qsort((void *)ids, config->entry_count, sizeof(*ids), compare_texts);
    return ids;
}

/* The first ID that is not less than text. */
static size_t first_from(const char *const *ids, size_t count, const char *text)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(ids[middle], text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* All that begin as the pattern does stand side by side: one look is enough. */
static bool matches_any(const char *pattern, const char *const *ids, size_t count)
{
    size_t prefix = spiffe_pattern_prefix_size(pattern);
    _cleanup_(free_cleanup) char *from =
        prefix > 0 ? text_format("%.*s", (int)prefix, pattern) : memory_copy_text(pattern);
    size_t found = first_from(ids, count, from);
    return strcmp(pattern, "*") == 0 ||
           (found < count && spiffe_pattern_matches(pattern, ids[found]));
}

static void warn_of_rule(struct config_parse *parse, const struct rule *rule,
                         const char *const *ids)
{
    struct config *config = parse->config;
    size_t position = (size_t)(rule - config->rules.items);
    const struct rule *before = rules_shadowing(&config->rules, position);
    _cleanup_(free_cleanup) char *warning = NULL;
    if (before) {
        warning =
            text_format("%s:%u: rule \"%s\" is never used: the rule in line %u matches all "
                        "that it does; put this one before it, or take it out",
                        parse->name, line_of(parse, rule), rule->pattern, line_of(parse, before));
    } else if (config->entry_count > 0 && !matches_any(rule->pattern, ids, config->entry_count)) {
        warning = text_format("%s:%u: rule \"%s\" matches no entry of this file; it counts only "
                              "for entries that signet entry add makes",
                              parse->name, line_of(parse, rule), rule->pattern);
    }
    if (warning) {
        text_list_add(&config->warnings, warning);
    }
}

void config_warn(struct config_parse *parse)
{
    struct config *config = parse->config;
    _cleanup_(free_cleanup) const char **ids = sorted_ids(config);
    for (size_t i = 0; i < config->rules.count; i++) {
        if (config->warnings.count == WARNINGS_MAX) {
            _cleanup_(free_cleanup) char *end =
                text_format("%s: there are more warnings of this kind; only the first %d are told",
                            parse->name, WARNINGS_MAX);
            text_list_add(&config->warnings, end);
            return;
        }
        warn_of_rule(parse, &config->rules.items[i], ids);
    }
}

void config_log_warnings(const struct config *config)
{
    for (size_t i = 0; i < config->warnings.count; i++) {
        log_warning("%s", config->warnings.items[i]);
    }
}
