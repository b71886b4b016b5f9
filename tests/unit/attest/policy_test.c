/* Policies and baselines: what operators write, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/policy.h"
#include "lib/base/memory.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define BASELINE(more) "{\"name\":\"golden\",\"pcrs\":[\"sha256:7=" HEX "\"]" more "}"

static const struct {
    const char *json, *says;
} policies[] = {
    {"{\"version\":1}", NULL},
    {"{\"version\":1,\"pcrs\":\"sha256:0,7+sha1:4\",\"baselines\":[" BASELINE(
         "") "],"
             "\"facts\":[\"secure_boot=on\",\"kernel_command_line~*quiet*\"],\"event_log\":"
             "\"required\","
             "\"ima\":\"optional\",\"ak_binding\":\"optional\",\"ek_hashes\":[\"sha256:" HEX "\"]}",
     NULL},
    {"", "not JSON"},
    {"[]", "expected an object"},
    {"{\"version\":1,\"version\":1}", "not JSON"},
    {"{}", "\"version\" is missing"},
    {"{\"version\":2}", "only 1"},
    {"{\"version\":\"1\"}", "only 1"},
    {"{\"version\":1,\"pcr\":\"sha256:7\"}", "\"pcr\" is no member"},
    {"{\"version\":1,\"pcrs\":\"sha256:99\"}", "\"pcrs\""},
    {"{\"version\":1,\"pcrs\":[0]}", "\"pcrs\": expected a text"},
    {"{\"version\":1,\"facts\":[\"secure_bot=on\"]}", "\"facts\""},
    {"{\"version\":1,\"facts\":\"secure_boot=on\"}", "array"},
    {"{\"version\":1,\"facts\":[1]}", "item 1 is not a text"},
    {"{\"version\":1,\"event_log\":true}", "\"event_log\": expected \"required\""},
    {"{\"version\":1,\"ima\":\"yes\"}", "\"ima\": expected \"required\""},
    {"{\"version\":1,\"ak_binding\":\"no\"}", "\"ak_binding\": expected \"optional\""},
    {"{\"version\":1,\"ek_hashes\":[\"" HEX "\"]}", "\"ek_hashes\""},
    {"{\"version\":1,\"baselines\":{}}", "\"baselines\": expected an array"},
    {"{\"version\":1,\"baselines\":[{}]}", "baseline 1: \"name\" is missing"},
    {"{\"version\":1,\"baselines\":[" BASELINE("") "," BASELINE("") "]}", "there is one"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"golden\",\"pcrs\":[]}]}", "one value at least"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"golden\"}]}", "\"pcrs\" is missing"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"a b\",\"pcrs\":[\"sha256:7=" HEX "\"]}]}",
     "is no name"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"\",\"pcrs\":[\"sha256:7=" HEX "\"]}]}",
     "1 to 63 bytes"},
    {"{\"version\":1,\"baselines\":[{\"name\":1,\"pcrs\":[\"sha256:7=" HEX "\"]}]}",
     "1 to 63 bytes"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"a\",\"pcrs\":[\"sha256:7=" HEX "\","
     "\"sha256:7=" HEX "\"]}]}",
     "twice"},
    {"{\"version\":1,\"baselines\":[{\"name\":\"a\",\"pcrs\":[\"sha256:7=00\"]}]}", "\"pcrs\""},
    {"{\"version\":1,\"baselines\":[" BASELINE(",\"open\":[24]") "]}", "not the number of a PCR"},
    {"{\"version\":1,\"baselines\":[" BASELINE(",\"open\":[4,4]") "]}", "twice"},
    {"{\"version\":1,\"baselines\":[" BASELINE(",\"ends_at\":-1") "]}", "seconds since 1970"},
    {"{\"version\":1,\"baselines\":[" BASELINE(",\"announced_at_reset\":4294967296") "]}",
     "count of resets"},
    {"{\"version\":1,\"baselines\":[" BASELINE(",\"is_configured\":true") "]}", "no member"},
};

static void test_policies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
        struct attest_policy policy = {0};
        struct error err = {0};
        int result = attest_policy_parse(bytes_of_text(policies[i].json), &policy, &err);
        if (result != (policies[i].says ? -1 : 0) ||
            (policies[i].says &&
             (err.code != ERROR_INVALID_ARGUMENT && err.code != ERROR_ALREADY_EXISTS)) ||
            (policies[i].says && !strstr(err.text, policies[i].says))) {
            fail_msg("%s: %s", policies[i].json, result < 0 ? err.text : "taken");
        }
        attest_policy_clear(&policy);
    }
}

static void test_whole_policy(void **state)
{
    (void)state;
    struct attest_policy policy = {0};
    assert_int_equal(attest_policy_parse(bytes_of_text(policies[1].json), &policy, NULL), 0);
    assert_int_equal(policy.selection.count, 2);
    assert_int_equal(policy.selection.banks[1].mask, 1 << 4);
    assert_int_equal(policy.baselines.count, 1);
    assert_int_equal(policy.facts.count, 2);
    assert_true(policy.requires_event_log);
    assert_false(policy.requires_ima);
    assert_true(policy.may_lack_ak_binding);
    assert_int_equal(ek_trust_count(policy.ek_trust), 1);
    attest_policy_clear(&policy);
}

static struct baseline make(const char *name)
{
    static const uint8_t value[32] = {1, 2, 3};
    struct baseline baseline = {.made_at_s = 1700000000};
    (void)snprintf(baseline.name, sizeof(baseline.name), "%s", name);
    assert_int_equal(
        pcr_set_put(&baseline.pcrs, TPM2_ALG_SHA256, 7, (struct bytes){value, 32}, NULL), 0);
    return baseline;
}

static void test_baselines(void **state)
{
    (void)state;
    struct baselines baselines = {0}, again = {0};
    struct buffer json = {0};
    struct error err = {0};
    struct baseline plain = make("golden"), announced = make("next-kernel_6.1");
    announced.open_mask = 1 << 4 | 1 << 9;
    announced.announced_at_reset = UINT32_MAX;
    announced.ends_at_s = 1800000000;
    assert_int_equal(baselines_add(&baselines, &plain, &err), 0);
    assert_int_equal(baselines_add(&baselines, &announced, &err), 0);
    assert_int_equal(baselines_add(&baselines, &plain, &err), -1);
    assert_int_equal(err.code, ERROR_ALREADY_EXISTS);
    baselines_format(&baselines, &json);
    assert_int_equal(baselines_parse(buffer_bytes(&json), &again, &err), 0);
    assert_int_equal(again.count, 2);
    const struct baseline *found = baselines_find(&again, "next-kernel_6.1");
    assert_int_equal(found->open_mask, announced.open_mask);
    assert_int_equal(found->announced_at_reset, UINT32_MAX);
    assert_int_equal(found->ends_at_s, 1800000000);
    assert_int_equal(found->made_at_s, 1700000000);
    assert_int_equal(found->pcrs.banks[0].mask, 1 << 7);
    assert_int_equal(pcr_set_value(&found->pcrs, TPM2_ALG_SHA256, 7)[1], 2);
    assert_int_equal(baselines_remove(&again, "golden", &err), 0);
    assert_int_equal(baselines_remove(&again, "golden", &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(again.count, 1);
    assert_non_null(baselines_find(&again, "next-kernel_6.1"));
    baselines_clear(&again);
    for (size_t size = 0; size < json.size - 2; size++) {
        assert_int_equal(baselines_parse((struct bytes){json.data, size}, &again, &err), -1);
    }
    baselines_clear(&baselines);
    buffer_clear(&json);
}

static void test_limits(void **state)
{
    (void)state;
    struct baselines baselines = {0};
    struct error err = {0};
    for (size_t i = 0; i <= BASELINES_MAX; i++) {
        _cleanup_(free_cleanup) char *name = text_format("b%zu", i);
        struct baseline baseline = make(name);
        assert_int_equal(baselines_add(&baselines, &baseline, &err), i < BASELINES_MAX ? 0 : -1);
    }
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    struct baseline unnamed = make("");
    assert_int_equal(baselines_add(&baselines, &unnamed, &err), -1);
    memset(unnamed.name, 'a', sizeof(unnamed.name));
    assert_int_equal(baselines_add(&baselines, &unnamed, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    baselines_clear(&baselines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_whole_policy),
        cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
