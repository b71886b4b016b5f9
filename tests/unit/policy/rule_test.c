#include "agent/policy/rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "lib/base/bytes.h"
#include "lib/base/clock.h"
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

static void many(struct rules *rules, unsigned seed, size_t count)
{
    static const char *const ends[] = {"", "/*", "/b", "/b/*", "/b/c", "/*"};
    for (size_t i = 0; i < count; i++) {
        char pattern[64];
        unsigned number = seed = seed * 1103515245 + 12345;
        (void)snprintf(pattern, sizeof(pattern), "spiffe://t%u/a%u%s", number >> 30,
                       (number >> 20) % 32, ends[(number >> 8) % ARRAY_SIZE(ends)]);
        add(rules, (number >> 16) % 97 == 0 ? "*" : pattern, NULL);
    }
}

static void index_finds_what_looking_at_each_finds(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "/", "/b", "/b/c", "/b/c/d", "/c"};
    for (unsigned seed = 0; seed < 20; seed++) {
        _cleanup_(rules_clear) struct rules linear = {0}, fast = {0};
        many(&linear, seed, seed * 10 + 1);
        many(&fast, seed, seed * 10 + 1);
        rules_prepare(&fast);
        for (unsigned i = 0; i < ARRAY_SIZE(ends) * 4 * 33; i++) {
            char id[64];
            (void)snprintf(id, sizeof(id), "spiffe://t%u/a%u%s", i % 4, i / 4 % 33,
                           ends[i / 4 / 33]);
            const struct rule *expected = rules_find(&linear, id), *found = rules_find(&fast, id);
            assert_int_equal(found ? found - fast.items : -1,
                             expected ? expected - linear.items : -1);
        }
        for (size_t i = 0; i < fast.count; i++) {
            const struct rule *expected = rules_shadowing(&linear, i);
            const struct rule *found = rules_shadowing(&fast, i);
            assert_int_equal(found ? found - fast.items : -1,
                             expected ? expected - linear.items : -1);
        }
    }
}

static void an_id_is_no_pattern(void **state)
{
    (void)state;
    _cleanup_(rules_clear) struct rules rules = {0};
    add(&rules, "spiffe://a/b/*", NULL);
    add(&rules, "spiffe://a/c/", NULL);
    rules_prepare(&rules);
    assert_null(rules_find(&rules, "spiffe://a/b/"));
    assert_null(rules_find(&rules, "spiffe://a/b"));
    assert_null(rules_find(&rules, ""));
    assert_null(rules_find(&rules, "*"));
    assert_null(rules_find(&rules, "spiffe://a/c/d"));
    assert_non_null(rules_find(&rules, "spiffe://a/c/"));
}

static void shadows(void **state)
{
    (void)state;
    static const struct {
        const char *earlier, *later;
        bool is_shadowed;
    } cases[] = {
        {"*", "*", true},
        {"*", "spiffe://a/b", true},
        {"*", "spiffe://a/*", true},
        {"spiffe://a/*", "*", false},
        {"spiffe://a/*", "spiffe://a/b", true},
        {"spiffe://a/*", "spiffe://a/b/*", true},
        {"spiffe://a/*", "spiffe://a/*", true},
        {"spiffe://a/b", "spiffe://a/b", true},
        {"spiffe://a/b", "spiffe://a/b/*", false},
        {"spiffe://a/b/*", "spiffe://a/b", false},
        {"spiffe://a/b/*", "spiffe://a/*", false},
        {"spiffe://a/b/*", "spiffe://a/bc/*", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(rules_clear) struct rules rules = {0};
        add(&rules, cases[i].earlier, NULL);
        add(&rules, cases[i].later, NULL);
        const struct rule *expected = cases[i].is_shadowed ? &rules.items[0] : NULL;
        assert_ptr_equal(rules_shadowing(&rules, 1), expected);
        rules_prepare(&rules);
        assert_ptr_equal(rules_shadowing(&rules, 1), expected);
        assert_null(rules_shadowing(&rules, 0));
    }
}

static void a_copy_is_of_its_own(void **state)
{
    (void)state;
    _cleanup_(rules_clear) struct rules rules = {0};
    struct error err;
    add(&rules, "spiffe://a/b", "hsm");
    struct rule *rule = &rules.items[0];
    rule->sign_rate = 5;
    text_list_add(&rule->jwt_audiences, "x*");
    text_list_add(&rule->executables, "unix:sha256:00");
    assert_int_equal(schedule_new("08:00-09:00", "UTC", &rule->hours, &err), 0);
    struct rules *copy = rules_copy(&rules);
    rules_clear(&rules);
    const struct rule *found = rules_find(copy, "spiffe://a/b");
    assert_non_null(copy->index);
    assert_string_equal(found->pattern, "spiffe://a/b");
    assert_string_equal(found->keystore, "hsm");
    assert_int_equal(found->sign_rate, 5);
    assert_string_equal(found->jwt_audiences.items[0], "x*");
    assert_string_equal(found->executables.items[0], "unix:sha256:00");
    assert_string_equal(schedule_text(found->hours), "08:00-09:00 UTC");
    rules_clear(copy);
    free(copy);
    copy = rules_copy(&(struct rules){0});
    assert_non_null(rules_find(copy, "spiffe://a/b"));
    rules_clear(copy);
    free(copy);
}

static void audiences(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *audience;
        bool is_match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"**", "", true},
        {"a", "a", true},
        {"a", "ab", false},
        {"a*", "a", true},
        {"a*", "ba", false},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"a*b", "ab", true},
        {"a*b", "a*b", true},
        {"a*b", "axxb", true},
        {"a*b", "a", false},
        {"ab*ba", "aba", false},
        {"ab*ba", "abba", true},
        {"*ab*", "xaby", true},
        {"*ab*cd*", "cdab", false},
        {"*ab*cd*", "abxcd", true},
        {"*aab", "aaab", true},
        {"*a*a", "a", false},
        {"https://*.example.org/*", "https://x.example.org/y", true},
        {"https://*.example.org", "https://example.org", false},
        {"A", "a", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (audience_matches(cases[i].pattern, cases[i].audience) != cases[i].is_match) {
            fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].audience);
        }
    }
}

/* What takes forever where each asterisk is tried at each place. */
static void audiences_take_linear_time(void **state)
{
    (void)state;
    enum { REPEATS = 100000 };
    _cleanup_(buffer_clear) struct buffer pattern = {0}, audience = {0};
    for (unsigned i = 0; i < REPEATS; i++) {
        buffer_append_text(&pattern, i % 2 ? "a" : "*");
        buffer_append_text(&audience, "a");
    }
    buffer_append_text(&pattern, "*aaaaaaaaaaaaaaaab*c");
    buffer_append_u8(&pattern, 0);
    buffer_append_u8(&audience, 0);
    uint64_t start_ms = clock_monotonic_ms();
    assert_false(audience_matches((const char *)pattern.data, (const char *)audience.data));
    assert_true(clock_monotonic_ms() - start_ms < 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in),
        cmocka_unit_test(first_match_wins),
        cmocka_unit_test(index_finds_what_looking_at_each_finds),
        cmocka_unit_test(an_id_is_no_pattern),
        cmocka_unit_test(shadows),
        cmocka_unit_test(a_copy_is_of_its_own),
        cmocka_unit_test(audiences),
        cmocka_unit_test(audiences_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
