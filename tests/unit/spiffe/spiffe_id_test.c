#include "agent/spiffe_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

/* The place and the rule that the error has to name; NULL: accepted. */
struct id_case {
    const char *id;
    unsigned byte;
    const char *rule;
};

static void check_cases(const struct id_case *cases, size_t count,
                        int (*check)(const char *, struct error *))
{
    for (size_t i = 0; i < count; i++) {
        struct error err = {0};
        int result = check(cases[i].id, &err);
        if (!cases[i].rule) {
            if (result < 0) {
                fail_msg("%s: %s", cases[i].id, err.text);
            }
            continue;
        }
        _cleanup_(free_cleanup) char *place = text_format("at byte %u: ", cases[i].byte);
        if (result == 0 || err.code != ERROR_INVALID_ARGUMENT || !strstr(err.text, place) ||
            !strstr(err.text, cases[i].rule)) {
            fail_msg("%s: %s, expected %s%s", cases[i].id, result ? err.text : "accepted", place,
                     cases[i].rule);
        }
    }
}

static void trust_domains(void **state)
{
    static const struct id_case cases[] = {
        {"example.org", 0, NULL},
        {"a", 0, NULL},
        {"0", 0, NULL},
        {"a-b_c.d-", 0, NULL},
        {"..", 0, NULL},
        {"", 1, "missing"},
        {"Example.org", 1, "lower case"},
        {"exaMple.org", 4, "lower case"},
        {"example.org:80", 12, "a port"},
        {"user@example.org", 5, "user information"},
        {"exam%70le.org", 5, "percent-encoding"},
        {"example.org?a", 12, "a query"},
        {"example.org#a", 12, "a fragment"},
        {"example.org/", 12, "has only a-z"},
        {"ex ample", 3, "has only a-z"},
        {"ex\xc3\xa4mple", 3, "has only a-z"},
        {"spiffe://example.org", 1, "without \"spiffe://\""},
    };
    (void)state;
    check_cases(cases, ARRAY_SIZE(cases), trust_domain_check);
}

static void ids(void **state)
{
    static const struct id_case cases[] = {
        {"spiffe://example.org", 0, NULL},
        {"spiffe://example.org/a", 0, NULL},
        {"spiffe://example.org/a/B/0-9_.x/...", 0, NULL},
        {"spiffe://example.org/.a/a.", 0, NULL},
        {"spiffe://0/..a", 0, NULL},
        {"", 1, "begins with \"spiffe://\""},
        {"spiff", 6, "begins with"},
        {"spiffe:/", 9, "begins with"},
        {"Spiffe://example.org/a", 1, "begins with"},
        {"https://example.org/a", 1, "begins with"},
        {"spiffe:///a", 10, "name is missing"},
        {"spiffe://", 10, "name is missing"},
        {"spiffe://Example.org/a", 10, "lower case"},
        {"spiffe://user@example.org/a", 14, "user information"},
        {"spiffe://example.org:443/a", 21, "a port"},
        {"spiffe://example.org?q", 21, "a query"},
        {"spiffe://example.org#f", 21, "a fragment"},
        {"spiffe://example.org/", 22, "end in a slash"},
        {"spiffe://example.org/a/", 24, "end in a slash"},
        {"spiffe://example.org//a", 22, "is not empty"},
        {"spiffe://example.org/a//b", 24, "is not empty"},
        {"spiffe://example.org/.", 22, "\".\" or \"..\""},
        {"spiffe://example.org/a/../b", 24, "\".\" or \"..\""},
        {"spiffe://example.org/a/./b", 24, "\".\" or \"..\""},
        {"spiffe://example.org/a?q", 23, "a query"},
        {"spiffe://example.org/a#f", 23, "a fragment"},
        {"spiffe://example.org/%61", 22, "percent-encoding"},
        {"spiffe://example.org/a b", 23, "has only a-z, A-Z"},
        {"spiffe://example.org/a:b", 23, "has only a-z, A-Z"},
        {"spiffe://example.org/a@b", 23, "has only a-z, A-Z"},
        {"spiffe://example.org/a*", 23, "has only a-z, A-Z"},
        {"spiffe://example.org/\xc3\xa4", 22, "has only a-z, A-Z"},
        {"spiffe://example.org/a\n", 23, "has only a-z, A-Z"},
    };
    (void)state;
    check_cases(cases, ARRAY_SIZE(cases), spiffe_id_check);
}

/* Text and then the letter so often that all of it has size bytes; the caller frees it. */
static char *padded(const char *text, size_t size)
{
    char *whole = memory_new(size + 1);
    memset(whole, 'a', size);
    for (size_t i = 0; text[i]; i++) {
        whole[i] = text[i];
    }
    return whole;
}

static void lengths(void **state)
{
    (void)state;
    struct error err = {0};
    _cleanup_(free_cleanup) char *longest_id = padded("spiffe://a/", 2048);
    assert_int_equal(spiffe_id_check(longest_id, &err), 0);
    _cleanup_(free_cleanup) char *long_id = padded("spiffe://a/", 2049);
    assert_int_equal(spiffe_id_check(long_id, &err), -1);
    assert_non_null(strstr(err.text, "at byte 2049: a SPIFFE ID has at most 2048 bytes"));
    _cleanup_(free_cleanup) char *longest_name = padded("", 255);
    assert_int_equal(trust_domain_check(longest_name, &err), 0);
    _cleanup_(free_cleanup) char *long_name = padded("", 256);
    assert_int_equal(trust_domain_check(long_name, &err), -1);
    assert_non_null(strstr(err.text, "at byte 256: a trust domain name has at most 255 bytes"));
    _cleanup_(free_cleanup) char *id_of_long_name = text_format("spiffe://%s/a", long_name);
    assert_int_equal(spiffe_id_check(id_of_long_name, &err), -1);
    assert_non_null(strstr(err.text, "at byte 265: a trust domain name has at most 255 bytes"));
}

static void workload_ids(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(spiffe_id_check_workload("spiffe://a.b/c", "a.b", &err), 0);
    assert_int_equal(spiffe_id_check_workload("spiffe://a.b/c", "a", &err), -1);
    assert_non_null(strstr(err.text, "of another trust domain"));
    assert_int_equal(spiffe_id_check_workload("spiffe://a/c", "a.b", &err), -1);
    assert_int_equal(spiffe_id_check_workload("spiffe://a.b", "a.b", &err), -1);
    assert_non_null(strstr(err.text, "has a path"));
    assert_int_equal(spiffe_id_check_workload("spiffe://a.b/c/", "a.b", &err), -1);
}

static void parts(void **state)
{
    (void)state;
    assert_int_equal(spiffe_id_trust_domain_size("spiffe://a.b/c/d"), 3);
    assert_int_equal(spiffe_id_trust_domain_size("spiffe://a.b"), 3);
    assert_string_equal(spiffe_id_path("spiffe://a.b/c/d"), "/c/d");
    assert_string_equal(spiffe_id_path("spiffe://a.b"), "");
    assert_true(spiffe_id_is_in("spiffe://a.b/c", "a.b"));
    assert_false(spiffe_id_is_in("spiffe://a.b/c", "a."));
    assert_false(spiffe_id_is_in("spiffe://a.b/c", "a.b/c"));
}

static void patterns(void **state)
{
    static const struct id_case cases[] = {
        {"*", 0, NULL},
        {"spiffe://a", 0, NULL},
        {"spiffe://a/*", 0, NULL},
        {"spiffe://a/b", 0, NULL},
        {"spiffe://a/b/*", 0, NULL},
        {"", 1, "begins with"},
        {"**", 1, "'*' stands alone"},
        {"/*", 2, "'*' stands alone"},
        {"spiffe://*", 10, "'*' stands alone"},
        {"spiffe://*/a", 10, "'*' stands alone"},
        {"spiffe://a/b*", 13, "'*' stands alone"},
        {"spiffe://a/*b", 12, "'*' stands alone"},
        {"spiffe://a/*/b", 12, "'*' stands alone"},
        {"spiffe://a/*/*", 12, "'*' stands alone"},
        {"spiffe://a/**", 12, "'*' stands alone"},
        {"spiffe://a//*", 12, "end in a slash"},
        {"spiffe:///*", 10, "name is missing"},
        {"spiffe://A/*", 10, "lower case"},
    };
    (void)state;
    check_cases(cases, ARRAY_SIZE(cases), spiffe_pattern_check);
}

static void matches(void **state)
{
    static const struct {
        const char *pattern, *id;
        bool is_match;
    } cases[] = {
        {"*", "spiffe://a", true},
        {"*", "spiffe://b/c", true},
        {"spiffe://a/b", "spiffe://a/b", true},
        {"spiffe://a/b", "spiffe://a/b/c", false},
        {"spiffe://a/b", "spiffe://a/bc", false},
        {"spiffe://a/b", "spiffe://a", false},
        {"spiffe://a/b/*", "spiffe://a/b/c", true},
        {"spiffe://a/b/*", "spiffe://a/b/c/d", true},
        {"spiffe://a/b/*", "spiffe://a/b", false},
        {"spiffe://a/b/*", "spiffe://a/bc/d", false},
        {"spiffe://a/*", "spiffe://a/b", true},
        {"spiffe://a/*", "spiffe://a", false},
        {"spiffe://a/*", "spiffe://a/", false},
        {"spiffe://a/*", "spiffe://ab/c", false},
        {"spiffe://a/*", "spiffe://a.b/c", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (spiffe_pattern_matches(cases[i].pattern, cases[i].id) != cases[i].is_match) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].id);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trust_domains), cmocka_unit_test(ids),   cmocka_unit_test(lengths),
        cmocka_unit_test(workload_ids),  cmocka_unit_test(parts), cmocka_unit_test(patterns),
        cmocka_unit_test(matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
