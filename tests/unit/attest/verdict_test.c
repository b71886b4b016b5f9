/* What a verdict says, and which finding decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/verdict.h"

/* Each has a name of its own, which programs look for. */
static void test_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CLAIM_COUNT; i++) {
        assert_true(strlen(claim_name((enum claim)i)) > 0);
        assert_true(strlen(claim_text((enum claim)i)) > 0);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(claim_name((enum claim)i), claim_name((enum claim)j));
        }
    }
    for (unsigned i = 0; i < VERDICT_REASON_COUNT; i++) {
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(verdict_reason_name((enum verdict_reason)i),
                                    verdict_reason_name((enum verdict_reason)j));
        }
    }
    assert_string_equal(claim_name(CLAIM_AK_IN_TPM), "ak-in-tpm");
    assert_string_equal(claim_result_name(CLAIM_NOT_PROVEN), "not-proven");
    assert_string_equal(verdict_reason_name(VERDICT_PCR_CHANGED), "pcr-changed");
    assert_string_equal(verdict_reason_name(VERDICT_NONE), "");
    assert_string_equal(verdict_reason_name((enum verdict_reason)VERDICT_REASON_COUNT), "");
    assert_string_equal(claim_name((enum claim)CLAIM_COUNT), "");
}

static const struct {
    const char *name;
    enum claim_result ek, quote, counters;
    uint32_t required;
    bool is_allowed;
    enum claim flaw;
} cases[] = {
    {"nothing asked", CLAIM_NOT_JUDGED, CLAIM_NOT_JUDGED, CLAIM_NOT_JUDGED, 0, true, 0},
    {"all proven", CLAIM_PROVEN, CLAIM_PROVEN, CLAIM_PROVEN, 1 << CLAIM_QUOTE, true, 0},
    {"required, not judged", CLAIM_PROVEN, CLAIM_NOT_JUDGED, CLAIM_PROVEN, 1 << CLAIM_QUOTE, false,
     CLAIM_QUOTE},
    {"not proven, not required", CLAIM_NOT_PROVEN, CLAIM_PROVEN, CLAIM_PROVEN, 1 << CLAIM_QUOTE,
     true, 0},
    {"refuted, not required", CLAIM_PROVEN, CLAIM_PROVEN, CLAIM_REFUTED, 0, false, CLAIM_COUNTERS},
    {"refuted before lacking", CLAIM_NOT_PROVEN, CLAIM_PROVEN, CLAIM_REFUTED,
     1 << CLAIM_EK_GENUINE | 1 << CLAIM_QUOTE, false, CLAIM_COUNTERS},
    {"first refuted", CLAIM_PROVEN, CLAIM_REFUTED, CLAIM_REFUTED, 0, false, CLAIM_QUOTE},
    {"first lacking", CLAIM_NOT_PROVEN, CLAIM_NOT_PROVEN, CLAIM_PROVEN,
     1 << CLAIM_EK_GENUINE | 1 << CLAIM_QUOTE, false, CLAIM_EK_GENUINE},
};

static void test_flaws(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct verdict verdict = {.required = cases[i].required};
        enum claim claim = CLAIM_DATA_FRESH;
        verdict_set(&verdict, CLAIM_EK_GENUINE, cases[i].ek, VERDICT_NONE, "ek");
        verdict_set(&verdict, CLAIM_QUOTE, cases[i].quote, VERDICT_NONE, "quote");
        verdict_set(&verdict, CLAIM_COUNTERS, cases[i].counters, VERDICT_NONE, "counters");
        const struct finding *flaw = verdict_first_flaw(&verdict, &claim);
        if (verdict_allows(&verdict) != cases[i].is_allowed ||
            (flaw == NULL) != cases[i].is_allowed || (flaw && claim != cases[i].flaw)) {
            fail_msg("%s", cases[i].name);
        }
        verdict_clear(&verdict);
    }
}

static void test_texts_are_printable_and_cut(void **state)
{
    (void)state;
    struct verdict verdict = {0};
    char longer[1024];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    verdict_set(&verdict, CLAIM_QUOTE, CLAIM_REFUTED, VERDICT_NONCE, "a\n\x1b[31mb\xff%s", longer);
    assert_null(strpbrk(verdict.claims[CLAIM_QUOTE].text, "\n\x1b\xff"));
    assert_int_equal(strlen(verdict.claims[CLAIM_QUOTE].text),
                     sizeof(verdict.claims[CLAIM_QUOTE].text) - 1);
    verdict_clear(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_flaws),
        cmocka_unit_test(test_texts_are_printable_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
