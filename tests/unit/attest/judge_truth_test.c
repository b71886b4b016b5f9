/* What is true and looks odd is believed, and what a verdict tells is what was found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "tests/unit/attest/judge_scene.h"

static void without_challenge(struct scene *scene)
{
    scene->request.challenge_secret = (struct bytes){0};
    buffer_reset(&scene->evidence.activated);
}

static void without_issuers(struct scene *scene)
{
    scene->request.issuers = NULL;
}

static void without_certificate_of_ak(struct scene *scene)
{
    scene_drop_chain(&scene->evidence.ak_certificates);
}

static void answer_that_nobody_asked_for(struct scene *scene)
{
    scene->request.challenge_secret = (struct bytes){0};
}

static void unbound_is_let_pass(struct scene *scene)
{
    without_challenge(scene);
    without_certificate_of_ak(scene);
    scene->policy.may_lack_ak_binding = true;
}

/* The text that people are shown is the one that they write down. */
static void an_ek_by_its_hash_alone(struct scene *scene)
{
    char fingerprint[80];
    assert_int_equal(judge_ek_fingerprint(&scene->a.ek_public, fingerprint, NULL), 0);
    ek_trust_free(scene->policy.ek_trust);
    scene->policy.ek_trust = ek_trust_new();
    assert_int_equal(ek_trust_add_hash(scene->policy.ek_trust, fingerprint, NULL), 0);
    scene_drop_chain(&scene->evidence.ek_certificates);
}

static void no_ek_asked_for(struct scene *scene)
{
    ek_trust_free(take_ptr(scene->policy.ek_trust));
    scene_drop_chain(&scene->evidence.ek_certificates);
}

static void without_memory(struct scene *scene)
{
    scene->request.memory = NULL;
}

static void nothing_remembered(struct scene *scene)
{
    scene->memory.is_known = false;
}

static void a_reboot(struct scene *scene)
{
    scene->memory.is_same_boot = false;
    scene->memory.clock.resetCount -= 3;
}

static void a_reset_that_is_allowed(struct scene *scene)
{
    scene->policy.resets = RESET_ALLOW;
    scene->memory.clock.resetCount--;
}

/* The offset of an AK may be anything, so counts may wrap. */
static void counts_that_wrap(struct scene *scene)
{
    scene->a.clock.resetCount = 1;
    scene->memory.is_same_boot = false;
    scene->memory.clock.resetCount = UINT32_MAX;
    scene->memory.clock.restartCount = UINT32_MAX;
    scene_make(scene, &scene->a, &scene->evidence);
}

/* As after a stop without a shutdown. */
static void an_unsure_clock_after_a_reboot(struct scene *scene)
{
    scene->a.clock.safe = 0;
    scene->memory.is_same_boot = false;
    scene->memory.clock.resetCount--;
    scene->memory.clock.clock = scene->a.clock.clock + 5000;
    scene_make(scene, &scene->a, &scene->evidence);
}

static void a_new_ak(struct scene *scene)
{
    scene->memory.is_same_boot = false;
    scene->memory.ak_name.data[5] ^= 1;
}

static void nothing_asked_of_pcrs(struct scene *scene)
{
    scene->policy.selection = (struct pcr_selection){0};
    baselines_clear(&scene->policy.baselines);
}

static void no_registers_at_all(struct scene *scene)
{
    nothing_asked_of_pcrs(scene);
    text_list_clear(&scene->policy.facts);
    scene->policy.requires_event_log = false;
    scene->policy.requires_ima = false;
    scene->selection = (struct pcr_selection){0};
    scene_make(scene, &scene->a, &scene->evidence);
}

static void logs_that_nobody_asked_for_are_left_out(struct scene *scene)
{
    text_list_clear(&scene->policy.facts);
    scene->policy.requires_event_log = false;
    scene->policy.requires_ima = false;
    buffer_reset(&scene->evidence.event_log);
    buffer_reset(&scene->evidence.ima_list);
}

static void no_key(struct scene *scene)
{
    scene->request.wants_key = false;
    buffer_reset(&scene->evidence.key_public);
    scene_drop_chain(&scene->evidence.key_certificates);
}

/* The firmware's own types are its own business. */
static void event_types_rewritten(struct scene *scene)
{
    struct event_log log;
    struct bytes bytes = buffer_bytes(&scene->evidence.event_log);
    assert_int_equal(event_log_parse(bytes, &log, NULL), 0);
    for (size_t i = 0; i < log.count; i++) {
        if (log.events[i].digest_count == ARRAY_SIZE(software_banks)) {
            size_t at = (size_t)(log.events[i].data.data - bytes.data) - 4 - 34 - 22 - 4 - 4;
            memcpy(scene->evidence.event_log.data + at, "\x02\0\0", 4);
        }
    }
    event_log_clear(&log);
}

static void files_measured_after_the_quote(struct scene *scene)
{
    software_measured_file(&scene->a.boot, "/usr/bin/later");
    scene_set_logs(&scene->a, &scene->evidence);
}

static void a_second_baseline(struct scene *scene)
{
    struct baseline other = scene->policy.baselines.items[0];
    (void)snprintf(other.name, sizeof(other.name), "another");
    other.pcrs.banks[0].values[7][0] ^= 1;
    assert_int_equal(baselines_add(&scene->policy.baselines, &other, NULL), 0);
    struct baseline swap = scene->policy.baselines.items[0];
    scene->policy.baselines.items[0] = scene->policy.baselines.items[1];
    scene->policy.baselines.items[1] = swap;
}

static void an_announced_baseline_at_the_next_boot(struct scene *scene)
{
    struct baseline *baseline = &scene->policy.baselines.items[0];
    baseline->open_mask = 1 << 4;
    baseline->announced_at_reset = SCENE_RESET - 1;
    baseline->ends_at_s = SCENE_NOW_S + 1;
    baseline->pcrs.banks[0].values[4][0] ^= 1;
}

static void an_intermediate_is_trusted_itself(struct scene *scene)
{
    (void)sk_X509_set(scene->issuers, 0, scene->intermediate.certificate);
}

#define TRUTH(apply)                                                                               \
    {                                                                                              \
#apply, apply                                                                              \
    }
static const struct {
    const char *name;
    void (*apply)(struct scene *scene);
} truths[] = {
    TRUTH(without_challenge),
    TRUTH(without_issuers),
    TRUTH(without_certificate_of_ak),
    TRUTH(answer_that_nobody_asked_for),
    TRUTH(unbound_is_let_pass),
    TRUTH(an_ek_by_its_hash_alone),
    TRUTH(no_ek_asked_for),
    TRUTH(without_memory),
    TRUTH(nothing_remembered),
    TRUTH(a_reboot),
    TRUTH(a_reset_that_is_allowed),
    TRUTH(counts_that_wrap),
    TRUTH(an_unsure_clock_after_a_reboot),
    TRUTH(a_new_ak),
    TRUTH(nothing_asked_of_pcrs),
    TRUTH(no_registers_at_all),
    TRUTH(logs_that_nobody_asked_for_are_left_out),
    TRUTH(no_key),
    TRUTH(event_types_rewritten),
    TRUTH(files_measured_after_the_quote),
    TRUTH(a_second_baseline),
    TRUTH(an_announced_baseline_at_the_next_boot),
    TRUTH(an_intermediate_is_trusted_itself),
};

static void test_truths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(truths); i++) {
        struct scene scene;
        struct verdict verdict;
        scene_new(&scene);
        truths[i].apply(&scene);
        judge_evidence(&scene.request, &verdict);
        if (!verdict_allows(&verdict)) {
            scene_say(&verdict, truths[i].name);
            fail_msg("%s is not believed", truths[i].name);
        }
        verdict_clear(&verdict);
        scene_clear(&scene);
    }
}

/* The nearest of two baselines is told, and what differs from it. */
static void test_changed_registers_are_told(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    struct baseline far = scene.policy.baselines.items[0];
    (void)snprintf(far.name, sizeof(far.name), "far");
    for (unsigned index = 0; index < PCR_COUNT; index++) {
        far.pcrs.banks[0].values[index][0] ^= 1;
    }
    scene.policy.baselines.items[0].pcrs.banks[0].values[7][0] ^= 1;
    scene.policy.baselines.items[0].pcrs.banks[1].values[0][0] ^= 1;
    assert_int_equal(baselines_add(&scene.policy.baselines, &far, NULL), 0);
    judge_evidence(&scene.request, &verdict);
    const char *text = verdict.claims[CLAIM_PCR_ACCEPTED].text;
    char *value = text_hex((struct bytes){pcr_set_value(&verdict.pcrs, TPM2_ALG_SHA256, 7), 6});
    assert_true(verdict.has_changed_pcrs);
    assert_int_equal(verdict.changed_pcrs, 1 << 7 | 1 << 0);
    assert_non_null(strstr(text, "sha256:7"));
    assert_non_null(strstr(text, value));
    assert_non_null(strstr(text, "\"golden\""));
    assert_non_null(strstr(text, "PCR 0"));
    assert_string_equal(verdict.baseline, "");
    free(value);
    verdict_clear(&verdict);
    scene_clear(&scene);
}

/* Nothing that was not quoted is told as if it were. */
static void test_untrue_values_are_not_told(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    scene.evidence.quote.signature.data[20] ^= 1;
    judge_evidence(&scene.request, &verdict);
    assert_int_equal(verdict.pcrs.count, 0);
    assert_int_equal(verdict.facts.count, 0);
    assert_int_equal(verdict.clock.resetCount, 0);
    assert_int_equal(verdict.clock.clock, 0);
    verdict_clear(&verdict);
    scene_clear(&scene);
}

/* A key that nobody asked about, and that is a lie, is not let pass with the rest. */
static void test_lies_beside_the_question(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    scene.request.wants_key = false;
    scene_set_public(&scene.evidence.key_public, &scene.b.key_public);
    judge_evidence(&scene.request, &verdict);
    assert_false(verdict_allows(&verdict));
    assert_int_equal(verdict.claims[CLAIM_KEY_IN_TPM].reason, VERDICT_KEY_MISMATCH);
    verdict_clear(&verdict);
    scene_clear(&scene);
}

static void test_a_short_nonce_is_none(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    const struct bytes nonce = {scene.nonce, EVIDENCE_NONCE_MIN_BYTES - 1};
    const TPMS_ATTEST quote = software_quote(&scene.a, &scene.selection, nonce);
    software_sign(scene.a.ak, &quote, &scene.evidence.quote);
    scene.evidence.nonce.size = nonce.size;
    scene.request.nonce = nonce;
    judge_evidence(&scene.request, &verdict);
    assert_int_equal(verdict.claims[CLAIM_QUOTE].reason, VERDICT_NONCE);
    assert_false(verdict_allows(&verdict));
    verdict_clear(&verdict);
    scene_clear(&scene);
}

/* What was found good is good for its time, its issuers and its keys alone. */
static void test_cache(void **state)
{
    (void)state;
    struct scene scene;
    struct verdict verdict;
    scene_new(&scene);
    scene.request.cache = judge_cache_new();
    for (size_t i = 0; i < 3; i++) {
        judge_evidence(&scene.request, &verdict);
        assert_true(verdict_allows(&verdict));
        verdict_clear(&verdict);
    }
    scene.request.now_s = SOFTWARE_CA_EPOCH_S + SOFTWARE_CA_LIFE_S;
    judge_evidence(&scene.request, &verdict);
    assert_int_equal(verdict.claims[CLAIM_AK_IN_TPM].reason, VERDICT_AK_CERTIFICATE);
    assert_int_equal(verdict.claims[CLAIM_KEY_CERTIFICATE].reason, VERDICT_KEY_CERTIFICATE);
    verdict_clear(&verdict);
    scene.request.now_s = SCENE_NOW_S;
    (void)sk_X509_set(scene.issuers, 0, scene.stranger.certificate);
    judge_evidence(&scene.request, &verdict);
    assert_int_equal(verdict.claims[CLAIM_AK_IN_TPM].reason, VERDICT_AK_CERTIFICATE);
    assert_int_equal(verdict.claims[CLAIM_KEY_CERTIFICATE].reason, VERDICT_KEY_CERTIFICATE);
    verdict_clear(&verdict);
    judge_cache_free(scene.request.cache);
    scene_clear(&scene);
}

enum { THREADS = 4, ROUNDS = 25 };

static void *judge_often(void *argument)
{
    const struct judge_request *request = argument;
    size_t believed = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct verdict verdict;
        judge_evidence(request, &verdict);
        believed += verdict_allows(&verdict);
        verdict_clear(&verdict);
    }
    return believed == ROUNDS ? argument : NULL;
}

/* Policy, issuers and cache serve several threads at once. */
static void test_threads(void **state)
{
    (void)state;
    struct scene scene;
    pthread_t threads[THREADS];
    scene_new(&scene);
    scene.request.cache = judge_cache_new();
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, judge_often, &scene.request), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &scene.request);
    }
    judge_cache_free(scene.request.cache);
    scene_clear(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truths),
        cmocka_unit_test(test_changed_registers_are_told),
        cmocka_unit_test(test_untrue_values_are_not_told),
        cmocka_unit_test(test_lies_beside_the_question),
        cmocka_unit_test(test_a_short_nonce_is_none),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
