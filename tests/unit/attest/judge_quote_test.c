/* Lies about the quote and what it is over: each is signed again by the AK where that can be, so
 * that the meaning alone is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

/* ---- signed again by the same AK, so that only the meaning is wrong ---- */

static void resign_quote(struct scene *scene, const TPMS_ATTEST *attest)
{
    software_sign(scene->a.ak, attest, &scene->evidence.quote);
}

static TPMS_ATTEST own_quote(struct scene *scene)
{
    return software_quote(&scene->a, &scene->selection, scene_nonce(scene));
}

static void quote_magic(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.magic ^= 1;
    resign_quote(scene, &attest);
}

static void quote_nonce(struct scene *scene)
{
    TPMS_ATTEST attest =
        software_quote(&scene->a, &scene->selection, (struct bytes){scene->other_nonce, 32});
    resign_quote(scene, &attest);
}

static void quote_short_nonce(struct scene *scene)
{
    TPMS_ATTEST attest =
        software_quote(&scene->a, &scene->selection, (struct bytes){scene->nonce, 31});
    resign_quote(scene, &attest);
}

static void quote_no_nonce(struct scene *scene)
{
    TPMS_ATTEST attest = software_quote(&scene->a, &scene->selection, (struct bytes){0});
    resign_quote(scene, &attest);
}

/* An old quote, and the evidence says honestly for which nonce. */
static void replay_all(struct scene *scene)
{
    scene->request.nonce = (struct bytes){scene->other_nonce, 32};
}

/* The same, and the evidence says the new nonce. */
static void replay_quote(struct scene *scene)
{
    scene->request.nonce = (struct bytes){scene->other_nonce, 32};
    buffer_reset(&scene->evidence.nonce);
    buffer_append(&scene->evidence.nonce, scene->other_nonce, 32);
}

static void evidence_nonce(struct scene *scene)
{
    scene->evidence.nonce.data[0] ^= 1;
}

static void quote_is_certify(struct scene *scene)
{
    TPMS_ATTEST attest = software_certify(&scene->a, &scene->a.key_public, scene_nonce(scene));
    resign_quote(scene, &attest);
}

static void quote_is_time(struct scene *scene)
{
    TPMS_ATTEST attest = software_attest(&scene->a, TPM2_ST_ATTEST_TIME, scene_nonce(scene));
    resign_quote(scene, &attest);
}

static void quote_trailing(struct scene *scene)
{
    buffer_append_u8(&scene->evidence.quote.attested, 0);
    software_sign_bytes(scene->a.ak, buffer_bytes(&scene->evidence.quote.attested),
                        &scene->evidence.quote.signature);
}

static void quote_cut(struct scene *scene)
{
    scene->evidence.quote.attested.size--;
    software_sign_bytes(scene->a.ak, buffer_bytes(&scene->evidence.quote.attested),
                        &scene->evidence.quote.signature);
}

static void quote_by_key(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    software_sign(scene->a.key, &attest, &scene->evidence.quote);
}

static void quote_by_b(struct scene *scene)
{
    scene_set_quote(scene, &scene->b, &scene->evidence);
}

static void quote_another_selection(struct scene *scene, const char *text)
{
    struct pcr_selection selection;
    assert_int_equal(pcr_selection_parse(text, &selection, NULL), 0);
    TPMS_ATTEST attest = software_quote(&scene->a, &selection, scene_nonce(scene));
    resign_quote(scene, &attest);
    software_pcrs(&scene->a, &selection, &scene->evidence.pcrs);
}

static void selection_fewer(struct scene *scene)
{
    quote_another_selection(scene, "sha256:0,4,10+sha1:0,7");
}

static void selection_more(struct scene *scene)
{
    quote_another_selection(scene, "sha256:0,1,4,7,10+sha1:0,7");
}

static void selection_order(struct scene *scene)
{
    quote_another_selection(scene, "sha1:0,7+sha256:0,4,7,10");
}

static void selection_one_bank(struct scene *scene)
{
    quote_another_selection(scene, "sha256:0,4,7,10");
}

/* The weaker bank in place of the stronger one. */
static void bank_confusion(struct scene *scene)
{
    quote_another_selection(scene, "sha1:0,4,7,10+sha256:0,7");
}

static void selection_empty(struct scene *scene)
{
    TPMS_ATTEST attest = software_quote(&scene->a, &(struct pcr_selection){0}, scene_nonce(scene));
    resign_quote(scene, &attest);
    scene->evidence.pcrs = (struct pcr_set){0};
}

/* A fourth byte of the bit map says nothing of registers that exist, and is not what was asked. */
static void selection_wide(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrSelect.pcrSelections[0].sizeofSelect = 4;
    resign_quote(scene, &attest);
}

static void selection_beyond(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrSelect.pcrSelections[0].sizeofSelect = 4;
    attest.attested.quote.pcrSelect.pcrSelections[0].pcrSelect[3] = 1;
    resign_quote(scene, &attest);
}

static void selection_twice(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrSelect.pcrSelections[1] =
        attest.attested.quote.pcrSelect.pcrSelections[0];
    resign_quote(scene, &attest);
}

static void selection_unknown_bank(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrSelect.pcrSelections[1].hash = TPM2_ALG_SM3_256;
    resign_quote(scene, &attest);
}

/* What a TPM signs for a bank that it does not keep. */
static void bank_inactive(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    uint8_t digest[HASH_MAX_BYTES];
    const struct pcr_selection rest = {.banks = {scene->selection.banks[0]}, .count = 1};
    assert_int_equal(
        pcr_set_digest(&scene->a.boot.pcrs, &rest, hash_by_id(TPM2_ALG_SHA256), digest, NULL), 0);
    memset(attest.attested.quote.pcrSelect.pcrSelections[1].pcrSelect, 0, 4);
    memcpy(attest.attested.quote.pcrDigest.buffer, digest, 32);
    resign_quote(scene, &attest);
    software_pcrs(&scene->a, &rest, &scene->evidence.pcrs);
}

static void digest_of_others(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrDigest.buffer[31] ^= 1;
    resign_quote(scene, &attest);
}

static void digest_short(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrDigest.size = 31;
    resign_quote(scene, &attest);
}

static void digest_empty(struct scene *scene)
{
    TPMS_ATTEST attest = own_quote(scene);
    attest.attested.quote.pcrDigest.size = 0;
    resign_quote(scene, &attest);
}

/* ---- PCR values ---- */

static void pcr_changed_value(struct scene *scene)
{
    scene->evidence.pcrs.banks[0].values[7][0] ^= 1;
}

static void pcr_missing(struct scene *scene)
{
    scene->evidence.pcrs.banks[0].mask &= ~(UINT32_C(1) << 7);
}

static void pcr_more(struct scene *scene)
{
    scene->evidence.pcrs.banks[0].mask |= UINT32_C(1) << 9;
}

static void pcr_more_bank(struct scene *scene)
{
    static const uint8_t zeros[48];
    assert_int_equal(
        pcr_set_put(&scene->evidence.pcrs, TPM2_ALG_SHA384, 7, (struct bytes){zeros, 48}, NULL), 0);
}

static void pcr_none(struct scene *scene)
{
    scene->evidence.pcrs = (struct pcr_set){0};
}

/* Another boot, honestly told. */
static void boot_loader_changed(struct scene *scene)
{
    struct software_boot *boot = &scene->a.boot;
    software_event(boot, 4, 0x80000003, bytes_of_text("another"), (struct bytes){0});
    scene_set_quote(scene, &scene->a, &scene->evidence);
    scene_set_logs(&scene->a, &scene->evidence);
}

static void baseline_ended(struct scene *scene)
{
    scene->policy.baselines.items[0].ends_at_s = SCENE_NOW_S;
}

static void baseline_next_boot(struct scene *scene)
{
    scene->policy.baselines.items[0].open_mask = UINT32_C(1) << 4;
    scene->policy.baselines.items[0].announced_at_reset = SCENE_RESET;
}

static void baseline_of_another_ak(struct scene *scene)
{
    scene->policy.baselines.items[0].open_mask = UINT32_C(1) << 4;
    scene->policy.baselines.items[0].announced_at_reset = SCENE_RESET - 1;
    scene->memory.is_same_boot = false;
    scene->memory.ak_name.data[5] ^= 1;
}

static void baseline_not_quoted(struct scene *scene)
{
    struct software_tpm *a = &scene->a;
    struct bytes value = {pcr_set_value(&a->boot.pcrs, TPM2_ALG_SHA256, 9), 32};
    assert_int_equal(
        pcr_set_put(&scene->policy.baselines.items[0].pcrs, TPM2_ALG_SHA256, 9, value, NULL), 0);
}

static void baseline_other_bank(struct scene *scene)
{
    struct software_tpm *a = &scene->a;
    struct bytes value = {pcr_set_value(&a->boot.pcrs, TPM2_ALG_SHA1, 4), 20};
    assert_int_equal(
        pcr_set_put(&scene->policy.baselines.items[0].pcrs, TPM2_ALG_SHA1, 4, value, NULL), 0);
}

static void baseline_empty(struct scene *scene)
{
    scene->policy.baselines.items[0].pcrs = (struct pcr_set){0};
}

static const struct lie lies[] = {
    LIE(quote_magic, QUOTE, NOT_BY_TPM),
    LIE(quote_nonce, QUOTE, NONCE),
    LIE(quote_short_nonce, QUOTE, NONCE),
    LIE(quote_no_nonce, QUOTE, NONCE),
    LIE(replay_all, QUOTE, NONCE),
    LIE(replay_quote, QUOTE, NONCE),
    LIE(evidence_nonce, QUOTE, NONCE),
    LIE(quote_is_certify, QUOTE, WRONG_TYPE),
    LIE(quote_is_time, QUOTE, WRONG_TYPE),
    LIE(quote_trailing, QUOTE, MALFORMED),
    LIE(quote_cut, QUOTE, MALFORMED),
    LIE(quote_by_key, QUOTE, SIGNATURE),
    LIE(quote_by_b, QUOTE, SIGNATURE),
    LIE(selection_fewer, PCR_VALUES, PCR_SELECTION),
    LIE(selection_more, PCR_VALUES, PCR_SELECTION),
    LIE(selection_order, PCR_VALUES, PCR_SELECTION),
    LIE(selection_one_bank, PCR_VALUES, PCR_SELECTION),
    LIE(bank_confusion, PCR_VALUES, PCR_SELECTION),
    LIE(selection_empty, PCR_VALUES, PCR_SELECTION),
    LIE(selection_wide, PCR_VALUES, PCR_SELECTION),
    LIE(selection_beyond, PCR_VALUES, PCR_SELECTION),
    LIE(selection_twice, PCR_VALUES, PCR_SELECTION),
    LIE(selection_unknown_bank, PCR_VALUES, PCR_SELECTION),
    LIE(bank_inactive, PCR_VALUES, PCR_BANK),
    LIE(digest_of_others, PCR_VALUES, PCR_DIGEST),
    LIE(digest_short, PCR_VALUES, PCR_DIGEST),
    LIE(digest_empty, PCR_VALUES, PCR_DIGEST),
    LIE(pcr_changed_value, PCR_VALUES, PCR_DIGEST),
    LIE(pcr_missing, PCR_VALUES, MISSING),
    LIE(pcr_more, PCR_VALUES, PCR_SELECTION),
    LIE(pcr_more_bank, PCR_VALUES, PCR_SELECTION),
    LIE(pcr_none, PCR_VALUES, MISSING),
    LIE(boot_loader_changed, PCR_ACCEPTED, PCR_CHANGED),
    LIE(baseline_ended, PCR_ACCEPTED, NO_BASELINE),
    LIE(baseline_next_boot, PCR_ACCEPTED, NO_BASELINE),
    LIE(baseline_of_another_ak, PCR_ACCEPTED, NO_BASELINE),
    LIE(baseline_not_quoted, PCR_ACCEPTED, PCR_CHANGED),
    LIE(baseline_other_bank, PCR_ACCEPTED, PCR_CHANGED),
    LIE(baseline_empty, PCR_ACCEPTED, NO_BASELINE),
};

static void test_lies(void **state)
{
    (void)state;
    scene_check_lies(lies, ARRAY_SIZE(lies));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
