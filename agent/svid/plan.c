#include "agent/svid/plan.h"

#include <string.h>

#include "agent/svid/manager.h"

/* Keys to be delivered are made where guarded ones live. */
static enum key_protection keystore_kind(enum key_protection protection)
{
    return protection == KEY_PROTECTION_HARDWARE ? KEY_PROTECTION_HARDWARE : KEY_PROTECTION_GUARDED;
}

int plan_find_keystore(const struct rule *rule, const struct manager_keystore *keystores,
                       size_t keystore_count, struct keystore **ret_keystore, struct error *err)
{
    enum key_protection kind = keystore_kind(rule->protection);
    for (size_t i = 0; i < keystore_count; i++) {
        bool is_kind = keystore_protection(keystores[i].keystore) == kind;
        bool is_name = !rule->keystore || strcmp(rule->keystore, keystores[i].name) == 0;
        if (is_kind && is_name) {
            *ret_keystore = keystores[i].keystore;
            return 0;
        }
    }
    return error_set(err, ERROR_FAILED_PRECONDITION,
                     "rule \"%s\" wants %s keys in keystore %s, and there is none of this name "
                     "that keeps such keys",
                     rule->pattern ? rule->pattern : "*", key_protection_name(rule->protection),
                     rule->keystore ? rule->keystore : "(default)");
}

int plan_make(const struct rules *rules, const char *spiffe_id,
              const struct manager_keystore *keystores, size_t keystore_count,
              struct key_pool *pool, struct plan *ret_plan, struct error *err)
{
    const struct rule *rule = rules_find(rules, spiffe_id);
    struct keystore *keystore = NULL;
    struct error reason;
    if (!rule) {
        return error_set(err, ERROR_PERMISSION_DENIED, "no rule matches %s", spiffe_id);
    }
    if (plan_find_keystore(rule, keystores, keystore_count, &keystore, &reason) < 0) {
        return error_set(err, ERROR_PERMISSION_DENIED, "%s", reason.text);
    }
    *ret_plan = (struct plan){
        .protection = rule->protection,
        .shelf = key_pool_shelf(pool, keystore, rule->key_type,
                                rule->protection == KEY_PROTECTION_DELIVERED),
    };
    return 0;
}
