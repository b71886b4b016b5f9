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

/* Returns whether there is room for more. */
static bool add_warning(struct config_parse *parse, const char *warning)
{
    struct text_list *warnings = &parse->config->warnings;
    if (warnings->count < WARNINGS_MAX) {
        text_list_add(warnings, warning);
        return true;
    }
    _cleanup_(free_cleanup) char *end =
        text_format("%s: there are more warnings of this kind; only the first %d are told",
                    parse->name, WARNINGS_MAX);
    text_list_add(warnings, end);
    return false;
}

static bool warn_of_shadow(struct config_parse *parse, const struct rule *rule,
                           const struct rule *before)
{
    _cleanup_(free_cleanup) char *warning =
        text_format("%s:%u: rule \"%s\" is never used: the rule in line %u matches all that it "
                    "does; put this one before it, or take it out",
                    parse->name, line_of(parse, rule), rule->pattern, line_of(parse, before));
    return add_warning(parse, warning);
}

static bool warn_of_no_entry(struct config_parse *parse, const struct rule *rule)
{
    _cleanup_(free_cleanup) char *warning =
        text_format("%s:%u: rule \"%s\" matches no entry of this file; it counts only for entries "
                    "that signet entry add makes",
                    parse->name, line_of(parse, rule), rule->pattern);
    return add_warning(parse, warning);
}

/* Who believes any TPM at first sight should know that he does. */
static void warn_of_node(struct config_parse *parse)
{
    const struct config *config = parse->config;
    if (config->has_node && !config->node.ek_ca && config->node.ek_hashes.count == 0) {
        _cleanup_(free_cleanup) char *warning =
            text_format("%s:%u: node: without ek_ca or ek_hashes any TPM is believed at first "
                        "sight, and only that one from then on",
                        parse->name, parse->node_line);
        (void)add_warning(parse, warning);
    }
    for (size_t i = 0; i < config->rules.count && !config->has_node; i++) {
        if (config->rules.items[i].requires_attested) {
            _cleanup_(free_cleanup) char *warning =
                text_format("%s:%u: rule \"%s\" requires that this node is attested, which it "
                            "never is without a block node",
                            parse->name, line_of(parse, &config->rules.items[i]),
                            config->rules.items[i].pattern);
            (void)add_warning(parse, warning);
            return;
        }
    }
}

/* Shadowed rules first: those are mistakes, while a rule without an entry may be meant so. */
void config_warn(struct config_parse *parse)
{
    const struct config *config = parse->config;
    const struct rules *rules = &config->rules;
    warn_of_node(parse);
    _cleanup_(free_cleanup) const char **ids = sorted_ids(config);
    bool has_room = true;
    for (size_t i = 0; i < rules->count && has_room; i++) {
        const struct rule *before = rules_shadowing(rules, i);
        has_room = !before || warn_of_shadow(parse, &rules->items[i], before);
    }
    for (size_t i = 0; i < rules->count && has_room && config->entry_count > 0; i++) {
        const struct rule *rule = &rules->items[i];
        if (!rules_shadowing(rules, i) && !matches_any(rule->pattern, ids, config->entry_count)) {
            has_room = warn_of_no_entry(parse, rule);
        }
    }
}

void config_log_warnings(const struct config *config)
{
    for (size_t i = 0; i < config->warnings.count; i++) {
        log_warning("%s", config->warnings.items[i]);
    }
}
