#include "agent/policy/rule.h"

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* For a configuration without any rule. The cast is safe: nobody writes to a rule that was found.
 */
static const struct rule built_in = {(char *)"*", KEY_PROTECTION_HARDWARE, NULL, KEY_TYPE_EC_P256};

const struct rule *rules_find(const struct rules *rules, const char *spiffe_id)
{
    if (rules->count == 0) {
        return &built_in;
    }
    for (size_t i = 0; i < rules->count; i++) {
        if (spiffe_pattern_matches(rules->items[i].pattern, spiffe_id)) {
            return &rules->items[i];
        }
    }
    return NULL;
}

void rules_clear(struct rules *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        free(rules->items[i].pattern);
        free(rules->items[i].keystore);
    }
    free(rules->items);
    *rules = (struct rules){0};
}
