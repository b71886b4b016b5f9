/* The whole truth is believed; each field that is changed, cut, repeated, left out or swapped is
 * not, whatever else there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_fields.h"

static void test_whole_truth(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    judge_evidence(&scene.request, &verdict);
    for (unsigned i = 0; i < CLAIM_DATA_FRESH; i++) {
        if (verdict.claims[i].result != CLAIM_PROVEN || !(verdict.required >> i & 1)) {
            scene_say(&verdict, "whole truth");
            fail_msg("%s is not proven, or not required", claim_name((enum claim)i));
        }
    }
    assert_true(verdict_allows(&verdict));
    assert_string_equal(verdict.baseline, "golden");
    assert_int_equal(verdict.clock.resetCount, SCENE_RESET);
    assert_non_null(pcr_set_value(&verdict.pcrs, TPM2_ALG_SHA256, 7));
    assert_true(facts_hold(&verdict.facts, "secure_boot=on"));
    verdict_clear(&verdict);
    scene_clear(&scene);
}

static void test_fields(void **state)
{
    (void)state;
    struct scene scene;
    struct evidence other = {0};
    scene_new(&scene);
    scene_make(&scene, &scene.b, &other);
    scene.request.cache = judge_cache_new();
    expect_believed(&scene.request, "the whole truth");
    fields_check(&scene.request, &scene.evidence, &other);
    judge_cache_free(scene.request.cache);
    evidence_clear(&other);
    scene_clear(&scene);
}

/* ---- every byte of the logs ---- */

/* What is not measured (types, some data) may be changed by anybody, and then must change nothing
 * that is believed. */
static void expect_same_or_refused(const struct scene *scene, const struct facts *facts,
                                   const char *what, size_t at)
{
    struct verdict verdict;
    judge_evidence(&scene->request, &verdict);
    bool is_same = verdict.facts.count <= facts->count;
    for (size_t i = 0; is_same && i < verdict.facts.count; i++) {
        bool is_known = false;
        for (size_t j = 0; j < facts->count; j++) {
            is_known =
                is_known || (strcmp(verdict.facts.items[i].name, facts->items[j].name) == 0 &&
                             strncmp(verdict.facts.items[i].value, facts->items[j].value, 40) == 0);
        }
        is_same = is_known;
    }
    if (verdict_allows(&verdict) && !is_same) {
        fail_msg("%s changed at %zu makes other facts believed", what, at);
    }
    verdict_clear(&verdict);
}

static void test_log_bytes(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    /* Only what has to do with the logs, which are judged thousands of times here. */
    scene.request.wants_key = false;
    scene.request.issuers = NULL;
    buffer_reset(&scene.evidence.key_public);
    scene_drop_chain(&scene.evidence.key_certificates);
    judge_evidence(&scene.request, &verdict);
    struct buffer *const logs[] = {&scene.evidence.event_log, &scene.evidence.ima_list};
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        for (size_t at = 0; at < logs[i]->size; at++) {
            logs[i]->data[at] ^= (uint8_t)(1 << (at % FIELD_BITS));
            expect_same_or_refused(&scene, &verdict.facts, i ? "the list" : "the log", at);
            logs[i]->data[at] ^= (uint8_t)(1 << (at % FIELD_BITS));
        }
    }
    verdict_clear(&verdict);
    expect_believed(&scene.request, "logs");
    scene_clear(&scene);
}

/* ---- values of PCRs ---- */

static void test_pcr_bits(void **state)
{
    (void)state;
    static const struct field field = {"pcrs", 0, CLAIM_PCR_VALUES, 0, 0, 0};
    struct scene scene;
    scene_new(&scene);
    for (size_t i = 0; i < scene.evidence.pcrs.count; i++) {
        struct pcr_bank *bank = &scene.evidence.pcrs.banks[i];
        size_t size = hash_by_id(bank->bank)->size;
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            uint32_t bit = UINT32_C(1) << index;
            bank->mask ^= bit;
            expect_refused(&scene.request, &field, REASON(MISSING) | REASON(PCR_SELECTION),
                           "the mask", index);
            bank->mask ^= bit;
            for (size_t at = 0; (bank->mask & bit) && at < size; at += 5) {
                bank->values[index][at] ^= 0x10;
                expect_refused(&scene.request, &field, REASON(PCR_DIGEST), "a value", index);
                bank->values[index][at] ^= 0x10;
            }
        }
    }
    expect_believed(&scene.request, "PCRs");
    scene_clear(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_truth),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_log_bytes),
        cmocka_unit_test(test_pcr_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
