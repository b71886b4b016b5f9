#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "agent/issuer/entry.h"
#include "lib/base/memory.h"

#define LABEL_63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

struct sample {
    const char *spiffe_id;
    const char *selectors[4], *dns_names[4];
    const char *hint;
    uint32_t x509_svid_ttl_s, jwt_svid_ttl_s;
    const char *complaint; /* NULL: it is good */
};

static const struct sample samples[] = {
    {.spiffe_id = "spiffe://example.org/a", .selectors = {"unix:uid:1"}},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1", "unix:path:/bin/sh"},
     .dns_names = {"a.example.org", "localhost", "_x._tcp.example", LABEL_63 ".org"},
     .hint = "internal",
     .x509_svid_ttl_s = 31536000,
     .jwt_svid_ttl_s = 31536000},
    {.spiffe_id = "spiffe://example.org/spired", .selectors = {"unix:uid:1"}},
    {.spiffe_id = "", .selectors = {"unix:uid:1"}, .complaint = "SPIFFE ID"},
    {.spiffe_id = "spiffe://example.org", .selectors = {"unix:uid:1"}, .complaint = "path"},
    {.spiffe_id = "spiffe://other.org/a", .selectors = {"unix:uid:1"}, .complaint = "example.org"},
    {.spiffe_id = "spiffe://example.org/a//b", .selectors = {"unix:uid:1"}, .complaint = "empty"},
    {.spiffe_id = "spiffe://example.org/spire", .selectors = {"unix:uid:1"}, .complaint = "/spire"},
    {.spiffe_id = "spiffe://example.org/spire/agent",
     .selectors = {"unix:uid:1"},
     .complaint = "/spire"},
    {.spiffe_id = "spiffe://example.org/a", .complaint = "0 selectors"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1", "unix:gid:1", "unix:uid:1"},
     .complaint = "twice"},
    {.spiffe_id = "spiffe://example.org/a", .selectors = {"unix:uid:"}, .complaint = "unix:uid:"},
    {.spiffe_id = "spiffe://example.org/a", .selectors = {"magic:x"}, .complaint = "magic"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {"a..b"},
     .complaint = "1 to 63"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {"a."},
     .complaint = "1 to 63"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {LABEL_63 "x.org"},
     .complaint = "1 to 63"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63},
     .complaint = "253"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {""},
     .complaint = "253"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {"-a.org"},
     .complaint = "hyphen"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {"*.example.org"},
     .complaint = "only letters"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .dns_names = {"a.org", "A.ORG"},
     .complaint = "twice"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .hint = "a\nb",
     .complaint = "printable"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .hint = "\xff",
     .complaint = "printable"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .x509_svid_ttl_s = 31536001,
     .complaint = "a year"},
    {.spiffe_id = "spiffe://example.org/a",
     .selectors = {"unix:uid:1"},
     .jwt_svid_ttl_s = UINT32_MAX,
     .complaint = "a year"},
};

static struct entry *make(const struct sample *sample)
{
    struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->spiffe_id = memory_copy_text(sample->spiffe_id);
    entry->hint = memory_copy_text(sample->hint);
    for (size_t i = 0; i < ARRAY_SIZE(sample->selectors) && sample->selectors[i]; i++) {
        text_list_add(&entry->selectors, sample->selectors[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sample->dns_names) && sample->dns_names[i]; i++) {
        text_list_add(&entry->dns_names, sample->dns_names[i]);
    }
    entry->x509_svid_ttl_s = sample->x509_svid_ttl_s;
    entry->jwt_svid_ttl_s = sample->jwt_svid_ttl_s;
    return entry;
}

static void test_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        _cleanup_(entry_unref_cleanup) struct entry *entry = make(&samples[i]);
        struct error failure = {0};
        int result = entry_check(entry, "example.org", &failure);
        if ((result == 0) != (samples[i].complaint == NULL)) {
            fail_msg("sample %zu: %d %s", i, result, failure.text);
        }
        if (result < 0) {
            assert_int_equal(failure.code, ERROR_INVALID_ARGUMENT);
            const char *complaint = samples[i].complaint ? samples[i].complaint : "";
            if (!strstr(failure.text, complaint)) {
                fail_msg("sample %zu: \"%s\" does not say \"%s\"", i, failure.text, complaint);
            }
        }
    }
}

static void test_too_many(void **state)
{
    (void)state;
    struct error failure;
    _cleanup_(entry_unref_cleanup) struct entry *entry = make(&samples[0]);
    for (size_t i = entry->selectors.count; i < SELECTORS_MAX; i++) {
        _cleanup_(free_cleanup) char *selector = text_format("unix:gid:%zu", i);
        text_list_add(&entry->selectors, selector);
    }
    for (size_t i = 0; i < ENTRY_DNS_NAMES_MAX; i++) {
        _cleanup_(free_cleanup) char *name = text_format("h%zu", i);
        text_list_add(&entry->dns_names, name);
    }
    assert_int_equal(entry_check(entry, "example.org", &failure), 0);
    text_list_add(&entry->dns_names, "more");
    assert_int_equal(entry_check(entry, "example.org", &failure), -1);
    free(entry->dns_names.items[--entry->dns_names.count]);
    text_list_add(&entry->selectors, "unix:uid:7");
    assert_int_equal(entry_check(entry, "example.org", &failure), -1);
}

static void test_identity(void **state)
{
    (void)state;
    struct error failure;
    struct sample sample = {.spiffe_id = "spiffe://example.org/a",
                            .selectors = {"unix:uid:1", "unix:gid:2"}};
    _cleanup_(entry_unref_cleanup) struct entry *first = make(&sample);
    sample.selectors[0] = "unix:gid:2";
    sample.selectors[1] = "unix:uid:1";
    sample.hint = "other";
    _cleanup_(entry_unref_cleanup) struct entry *second = make(&sample);
    sample.selectors[0] = "unix:gid:3";
    _cleanup_(entry_unref_cleanup) struct entry *third = make(&sample);
    assert_int_equal(entry_check(first, "example.org", &failure), 0);
    assert_int_equal(entry_check(second, "example.org", &failure), 0);
    assert_int_equal(entry_check(third, "example.org", &failure), 0);
    assert_non_null(first->spiffe_id);
    _cleanup_(free_cleanup) char *first_id = entry_configured_id(first);
    _cleanup_(free_cleanup) char *second_id = entry_configured_id(second);
    _cleanup_(free_cleanup) char *third_id = entry_configured_id(third);
    assert_int_equal(strlen(first_id), 5 + 16);
    assert_memory_equal(first_id, "conf:", 5);
    /* Neither the order of selectors nor the hint makes it another entry. */
    assert_string_equal(first_id, second_id);
    assert_string_not_equal(first_id, third_id);
    _cleanup_(entry_unref_cleanup) struct entry *copy = entry_copy(second);
    assert_true(entry_is_same(copy, second));
    copy->jwt_svid_ttl_s = 5;
    assert_false(entry_is_same(copy, second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
