#include "agent/policy/rule.h"

#include <string.h>

#include "agent/policy/rule_index.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* For a configuration without any rule. The cast is safe: nobody writes to a rule that was found.
 */
static const struct rule built_in = {
    .pattern = (char *)"*", .protection = KEY_PROTECTION_HARDWARE, .key_type = KEY_TYPE_EC_P256};

/* The first of the rules before end that matches, or RULE_INDEX_NONE. */
static size_t find_linear(const struct rules *rules, const char *spiffe_id, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        if (spiffe_pattern_matches(rules->items[i].pattern, spiffe_id)) {
            return i;
        }
    }
    return RULE_INDEX_NONE;
}

void rules_prepare(struct rules *rules)
{
    rule_index_free(rules->index);
    rules->index = rule_index_new(rules->items, rules->count);
}

const struct rule *rules_find(const struct rules *rules, const char *spiffe_id)
{
    if (rules->count == 0) {
        return &built_in;
    }
    size_t found = rules->index ? rule_index_find(rules->index, spiffe_id)
                                : find_linear(rules, spiffe_id, rules->count);
    return found == RULE_INDEX_NONE ? NULL : &rules->items[found];
}

const struct rule *rules_shadowing(const struct rules *rules, size_t index)
{
    /* A pattern matches another, read as an ID, exactly where it matches all that the other does.
     */
    const char *pattern = rules->items[index].pattern;
    size_t found =
        rules->index ? rule_index_find(rules->index, pattern) : find_linear(rules, pattern, index);
    return found < index ? &rules->items[found] : NULL;
}

static void copy_rule(struct rule *to, const struct rule *from)
{
    *to = *from;
    to->pattern = memory_copy_text(from->pattern);
    to->keystore = memory_copy_text(from->keystore);
    to->jwt_audiences = to->executables = (struct text_list){0};
    text_list_copy(&to->jwt_audiences, &from->jwt_audiences);
    text_list_copy(&to->executables, &from->executables);
    to->hours = from->hours ? schedule_ref(from->hours) : NULL;
}

struct rules *rules_copy(const struct rules *rules)
{
    struct rules *copy = NEW(struct rules);
    copy->count = rules->count;
    copy->items = memory_new_array(rules->count, sizeof(*copy->items));
    for (size_t i = 0; i < rules->count; i++) {
        copy_rule(&copy->items[i], &rules->items[i]);
    }
    rules_prepare(copy);
    return copy;
}

void rule_clear(struct rule *rule)
{
    free(rule->pattern);
    free(rule->keystore);
    text_list_clear(&rule->jwt_audiences);
    text_list_clear(&rule->executables);
    if (rule->hours) {
        schedule_unref(rule->hours);
    }
    *rule = (struct rule){0};
}

void rules_clear(struct rules *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        rule_clear(&rules->items[i]);
    }
    free(rules->items);
    rule_index_free(rules->index);
    *rules = (struct rules){0};
}

bool audience_matches(const char *pattern, const char *audience)
{
    const char *end = audience + strlen(audience);
    size_t size = strcspn(pattern, "*");
    if (pattern[size] == '\0') {
        return strcmp(pattern, audience) == 0;
    }
    if (strncmp(pattern, audience, size) != 0) {
        return false;
    }
    audience += size;
    pattern += size;
    for (;;) {
        pattern += strspn(pattern, "*");
        size = strcspn(pattern, "*");
        if (pattern[size] == '\0') {
            return (size_t)(end - audience) >= size && strcmp(end - size, pattern) == 0;
        }
        /* Where a part comes first it leaves the most for those behind it. */
        audience = memmem(audience, (size_t)(end - audience), pattern, size);
        if (!audience) {
            return false;
        }
        audience += size;
        pattern += size;
    }
}
