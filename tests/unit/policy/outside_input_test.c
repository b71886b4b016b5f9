#include "agent/policy/outside_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/memory.h"

static char *const selectors[] = {(char *)"unix:gid:5", (char *)"unix:uid:1000"};
static char *const audiences[] = {(char *)"ledger", (char *)"b\"ank"};
static const struct text_list selector_list = {(char **)selectors, 2};
static const struct text_list audience_list = {(char **)audiences, 2};

static struct audit_process whole_process(void)
{
    return (struct audit_process){.pid = 42,
                                  .uid = 1000,
                                  .gid = 4294967295,
                                  .start_time = 77,
                                  .started_at_ms = 1700000000123,
                                  .executable = "/usr/bin/payments",
                                  .sha256 = "aa55",
                                  .container_id = "c0ffee",
                                  .unit = "payments.service",
                                  .selectors = &selector_list};
}

static struct outside_question whole_question(const struct audit_process *process)
{
    return (struct outside_question){.action = "jwt",
                                     .spiffe_id = "spiffe://example.org/payments/api",
                                     .entry_id = "e1",
                                     .rule = "spiffe://example.org/*",
                                     .process = process,
                                     .audience = &audience_list};
}

static void documents(void **state)
{
    (void)state;
    const struct audit_process process = whole_process();
    const struct outside_question question = whole_question(&process);
    _cleanup_(free_cleanup) char *whole = outside_input(&question);
    assert_string_equal(
        whole,
        "{\"input\":{\"action\":\"jwt\",\"spiffe_id\":\"spiffe://example.org/payments/api\","
        "\"trust_domain\":\"example.org\",\"entry\":\"e1\",\"rule\":\"spiffe://example.org/*\","
        "\"audience\":[\"ledger\",\"b\\\"ank\"],\"process\":{\"pid\":42,\"uid\":1000,"
        "\"gid\":4294967295,\"started_at\":\"2023-11-14T22:13:20.123Z\","
        "\"executable\":\"/usr/bin/payments\",\"sha256\":\"aa55\",\"unit\":\"payments.service\","
        "\"container_id\":\"c0ffee\",\"selectors\":[\"unix:gid:5\",\"unix:uid:1000\"]}}}");

    const struct outside_question least = {.action = "issue", .spiffe_id = "spiffe://a/b"};
    _cleanup_(free_cleanup) char *short_text = outside_input(&least);
    assert_string_equal(
        short_text,
        "{\"input\":{\"action\":\"issue\",\"spiffe_id\":\"spiffe://a/b\",\"trust_domain\":\"a\","
        "\"entry\":null,\"rule\":null,\"audience\":null,\"process\":null}}");

    /* A path that is not text, and one that would end the string. */
    const struct audit_process odd = {.pid = 1, .executable = "/a\xff\"\n/b"};
    const struct outside_question odd_question = {
        .action = "use", .spiffe_id = "spiffe://a/b", .process = &odd};
    _cleanup_(free_cleanup) char *odd_text = outside_input(&odd_question);
    assert_non_null(strstr(odd_text, "\"executable\":\"/a?\\\"?/b\",\"sha256\":null"));
    assert_non_null(strstr(odd_text, "\"started_at\":null"));
}

static bool is_same(const struct outside_question *a, const struct outside_question *b)
{
    struct outside_key key_a = outside_key_of(a);
    struct outside_key key_b = outside_key_of(b);
    return memcmp(&key_a, &key_b, sizeof(key_a)) == 0;
}

static void keys(void **state)
{
    (void)state;
    const struct audit_process process = whole_process();
    const struct outside_question question = whole_question(&process);
    struct audit_process other = process;
    struct outside_question changed = whole_question(&other);
    assert_true(is_same(&question, &changed));
    other.started_at_ms++;
    assert_true(is_same(&question, &changed));
    other.start_time++; /* the same pid, later */
    assert_false(is_same(&question, &changed));
    other = process;
    other.executable = "/usr/bin/other";
    assert_false(is_same(&question, &changed));
    other = process;
    changed.audience = NULL;
    assert_false(is_same(&question, &changed));
    changed = whole_question(&other);
    changed.action = "use";
    assert_false(is_same(&question, &changed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(documents), cmocka_unit_test(keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
