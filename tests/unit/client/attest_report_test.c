#include "client/attest_report.h"

#include <string.h>

#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

static char escape[] = "red \033[31m", odd[] = "\xff\xfe", bank[] = "sha256",
            name[] = "secure_boot";

/* Names and values of a boot are the host's, and it may be anybody's. */
static void what_the_agent_says_is_made_printable(void **state)
{
    (void)state;
    _cleanup_(attest_report_clear) struct attest_report report = {0};
    uint8_t value[] = {0xab, 0xcd};
    Admin__Finding finding = ADMIN__FINDING__INIT;
    Admin__Fact fact = ADMIN__FACT__INIT;
    Admin__Pcr pcr = ADMIN__PCR__INIT;
    Admin__Finding *findings[] = {&finding};
    Admin__Fact *facts[] = {&fact};
    Admin__Pcr *pcrs[] = {&pcr};
    Admin__GetAttestationResponse response = ADMIN__GET_ATTESTATION_RESPONSE__INIT;
    finding.claim = finding.text = escape;
    finding.result = finding.reason = odd;
    finding.required = true;
    fact.name = name;
    fact.value = odd;
    fact.pcr = 7;
    pcr.bank = bank;
    pcr.index = 23;
    pcr.value = (ProtobufCBinaryData){.data = value, .len = sizeof(value)};
    response.findings = findings;
    response.facts = facts;
    response.pcrs = pcrs;
    response.n_findings = response.n_facts = response.n_pcrs = 1;
    attest_report_of_agent(&response, &report);
    assert_string_equal(report.claims[0].text, "red ?[31m");
    assert_string_equal(report.claims[0].reason, "??");
    assert_true(report.claims[0].is_required);
    assert_string_equal(report.facts[0].value, "??");
    assert_string_equal(report.pcrs[0].value, "abcd");
    json_t *object = json_object();
    attest_report_json(&report, object);
    assert_int_equal(json_array_size(json_object_get(object, "claims")), 1);
    json_t *first = json_array_get(json_object_get(object, "pcrs"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "index")), 23);
    json_decref(object);
}

static void a_verdict_is_told_without_what_nobody_judges(void **state)
{
    (void)state;
    _cleanup_(attest_report_clear) struct attest_report report = {0};
    struct verdict verdict = {.required = UINT32_C(1) << CLAIM_QUOTE};
    static const uint8_t zeros[32] = {0};
    verdict_set(&verdict, CLAIM_EK_GENUINE, CLAIM_PROVEN, VERDICT_NONE, "yes");
    verdict_set(&verdict, CLAIM_QUOTE, CLAIM_REFUTED, VERDICT_NONCE, "another nonce");
    verdict_set(&verdict, CLAIM_IMA, CLAIM_NOT_JUDGED, VERDICT_NONE, "nothing there");
    assert_int_equal(
        pcr_set_put(&verdict.pcrs, TPM2_ALG_SHA256, 9, (struct bytes){zeros, sizeof(zeros)}, NULL),
        0);
    attest_report_of_verdict(&verdict, &report);
    assert_int_equal(report.claim_count, 3);
    assert_string_equal(report.claims[1].claim, "quote");
    assert_string_equal(report.claims[1].result, "refuted");
    assert_string_equal(report.claims[1].reason, "nonce");
    assert_true(report.claims[1].is_required);
    assert_false(report.claims[0].is_required);
    assert_int_equal(report.pcr_count, 1);
    assert_int_equal(report.pcrs[0].index, 9);
    assert_int_equal(strlen(report.pcrs[0].value), 64);
    verdict_clear(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_agent_says_is_made_printable),
        cmocka_unit_test(a_verdict_is_told_without_what_nobody_judges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
