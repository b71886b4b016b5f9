#include "agent/policy/rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/memory.h"

static void add(struct rules *rules, const char *pattern, const char *keystore)
{
    rules->items = memory_resize_array(rules->items, rules->count + 1, sizeof(*rules->items));
    rules->items[rules->count++] = (struct rule){
        .pattern = memory_copy_text(pattern),
        .keystore = memory_copy_text(keystore),
        .key_type = KEY_TYPE_EC_P384,
    };
}

static void built_in(void **state)
{
    (void)state;
    const struct rules none = {0};
    const struct rule *rule = rules_find(&none, "spiffe://a/b");
    assert_non_null(rule);
    assert_int_equal(rule->protection, KEY_PROTECTION_HARDWARE);
    assert_int_equal(rule->key_type, KEY_TYPE_EC_P256);
    assert_null(rule->keystore);
}

static void first_match_wins(void **state)
{
    (void)state;
    _cleanup_(rules_clear) struct rules rules = {0};
    add(&rules, "spiffe://a/b/c", "one");
    add(&rules, "spiffe://a/b/*", "two");
    add(&rules, "spiffe://a/b/d", "three");
    assert_string_equal(rules_find(&rules, "spiffe://a/b/c")->keystore, "one");
    assert_string_equal(rules_find(&rules, "spiffe://a/b/d")->keystore, "two");
    assert_null(rules_find(&rules, "spiffe://a/b"));
    assert_null(rules_find(&rules, "spiffe://a/c"));
    add(&rules, "*", NULL);
    assert_ptr_equal(rules_find(&rules, "spiffe://a/c"), &rules.items[3]);
    rules_clear(&rules);
    assert_int_equal(rules.count, 0);
    assert_null(rules.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in),
        cmocka_unit_test(first_match_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
