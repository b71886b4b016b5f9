#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "attest/pcr.h"
#include "lib/base/memory.h"

static void selection_is_read_and_written(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        TPM2_ALG_ID first;
        uint32_t mask;
    } cases[] = {
        {"sha256:0", 1, TPM2_ALG_SHA256, 1},
        {"sha256:0,2,7", 1, TPM2_ALG_SHA256, 0x85},
        {"sha1:4+sha256:0,23", 2, TPM2_ALG_SHA1, 0x10},
        {"sha384:1+sha512:2+sha1:3+sha256:4", 4, TPM2_ALG_SHA384, 2},
        {"sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23", 1, TPM2_ALG_SHA256,
         0xffffff},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err;
        struct pcr_selection selection;
        assert_int_equal(pcr_selection_parse(cases[i].text, &selection, &err), 0);
        assert_int_equal(selection.count, cases[i].count);
        assert_int_equal(selection.banks[0].bank, cases[i].first);
        assert_int_equal(selection.banks[0].mask, cases[i].mask);
        _cleanup_(free_cleanup) char *text = pcr_selection_text(&selection);
        assert_string_equal(text, cases[i].text);
    }
}

static void selection_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",          "sha256",        "sha256:",    "sha256:,",          ":0",
        "sha256:24", "sha256:-1",     "sha256:0,0", "sha256:7,0",        "sha256:0,",
        "sha256:a",  "md5:0",         "SHA256:0",   "sha256:0+",         "+sha256:0",
        "sha256: 0", "sha256:0+sha1", "sha256:0-7", "sha256:0+sha256:1", "sha256:0;sha1:1",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct error err;
        struct pcr_selection selection;
        if (pcr_selection_parse(wrong[i], &selection, &err) == 0) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, "sha256:0,2,7+sha1:4"));
        assert_int_equal(pcr_selection_parse(wrong[i], &selection, NULL), -1);
    }
}

static void selection_is_quoted_bit_for_bit(void **state)
{
    struct pcr_selection selection;
    TPML_PCR_SELECTION quoted;
    (void)state;
    assert_int_equal(pcr_selection_parse("sha256:0,7,16+sha1:4", &selection, NULL), 0);
    pcr_selection_tpm(&selection, &quoted);
    assert_int_equal(quoted.count, 2);
    assert_int_equal(quoted.pcrSelections[0].hash, TPM2_ALG_SHA256);
    assert_int_equal(quoted.pcrSelections[0].sizeofSelect, 3);
    assert_memory_equal(quoted.pcrSelections[0].pcrSelect, "\x81\x00\x01", 3);
    assert_true(pcr_selection_is_quoted(&selection, &quoted));

    TPML_PCR_SELECTION other = quoted;
    other.pcrSelections[1].pcrSelect[0] ^=
        0x10; /* as a TPM answers for a bank that is not active */
    assert_false(pcr_selection_is_quoted(&selection, &other));
    other = quoted;
    other.count = 1;
    assert_false(pcr_selection_is_quoted(&selection, &other));
    other = quoted;
    other.pcrSelections[0].hash = TPM2_ALG_SHA384;
    assert_false(pcr_selection_is_quoted(&selection, &other));
    other = quoted;
    other.pcrSelections[0].sizeofSelect = 2;
    assert_false(pcr_selection_is_quoted(&selection, &other));
    other = quoted;
    other.pcrSelections[0] = quoted.pcrSelections[1];
    other.pcrSelections[1] = quoted.pcrSelections[0];
    assert_false(pcr_selection_is_quoted(&selection, &other));
    other = quoted;
    other.count = 3;
    other.pcrSelections[2] = quoted.pcrSelections[0];
    assert_false(pcr_selection_is_quoted(&selection, &other));
}

static const uint8_t value[HASH_MAX_BYTES] = {1, 2, 3};

static void set_keeps_values(void **state)
{
    struct error err;
    struct pcr_set set = {0};
    (void)state;
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA256, 7, (struct bytes){value, 32}, &err), 0);
    assert_memory_equal(pcr_set_value(&set, TPM2_ALG_SHA256, 7), value, 32);
    assert_null(pcr_set_value(&set, TPM2_ALG_SHA256, 6));
    assert_null(pcr_set_value(&set, TPM2_ALG_SHA256, 31));
    assert_null(pcr_set_value(&set, TPM2_ALG_SHA256, 32 + 7));
    assert_null(pcr_set_value(&set, TPM2_ALG_SHA1, 7));
    assert_null(pcr_set_bank(&set, TPM2_ALG_SHA1));
    const uint8_t other[32] = {9};
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA256, 7, (struct bytes){other, 32}, &err), 0);
    assert_memory_equal(pcr_set_value(&set, TPM2_ALG_SHA256, 7), other, 32);
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA384, 23, (struct bytes){value, 48}, &err), 0);
    assert_int_equal(set.count, 2);
    assert_int_equal(pcr_set_bank(&set, TPM2_ALG_SHA384)->mask, 1U << 23);
}

static void set_refuses(void **state)
{
    static const struct {
        TPM2_ALG_ID bank;
        unsigned index;
        size_t size;
    } wrong[] = {
        {TPM2_ALG_SHA256, 24, 32}, {TPM2_ALG_SHA256, 0, 31}, {TPM2_ALG_SHA256, 0, 33},
        {TPM2_ALG_SHA256, 0, 0},   {TPM2_ALG_SHA1, 0, 32},   {TPM2_ALG_SM3_256, 0, 32},
        {TPM2_ALG_NULL, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct error err;
        struct pcr_set set = {0};
        assert_int_equal(pcr_set_put(&set, wrong[i].bank, wrong[i].index,
                                     (struct bytes){value, wrong[i].size}, &err),
                         -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(set.count, 0);
    }
}

#define ZEROES_32 "0000000000000000000000000000000000000000000000000000000000000000"

static void set_is_read_from_text(void **state)
{
    static const char *const wrong[] = {
        "",
        "sha256",
        "sha256:7",
        "sha256:7=",
        "sha256=" ZEROES_32,
        "sha256:24=" ZEROES_32,
        "sha256:=" ZEROES_32,
        "sha256:7=" ZEROES_32 "00",
        "sha256:7=0" ZEROES_32,
        "sha256:7=g" ZEROES_32,
        "sha256:7:" ZEROES_32,
        "sha1:7=" ZEROES_32,
        "sm3:7=" ZEROES_32,
        "sha512:7=" ZEROES_32 ZEROES_32 ZEROES_32,
    };
    struct error err;
    struct pcr_set set = {0};
    (void)state;
    assert_int_equal(pcr_set_put_text(&set,
                                      "sha256:7=0aBB"
                                      "00000000000000000000000000000000000000000000000000000000"
                                      "0000",
                                      &err),
                     0);
    assert_memory_equal(pcr_set_value(&set, TPM2_ALG_SHA256, 7), "\x0a\xbb\x00", 3);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct pcr_set untouched = {0};
        assert_int_equal(pcr_set_put_text(&untouched, wrong[i], &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(untouched.count, 0);
    }
}

static void digest_is_in_order(void **state)
{
    struct error err;
    struct pcr_set set = {0};
    struct pcr_selection selection;
    uint8_t digest[HASH_MAX_BYTES];
    uint8_t expected[HASH_MAX_BYTES];
    const uint8_t a[20] = {1};
    const uint8_t b[32] = {2};
    const uint8_t c[32] = {3};
    const struct hash_algorithm *hash = hash_by_name("sha384");
    const struct bytes parts[] = {{b, 32}, {c, 32}, {a, 20}};
    (void)state;
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA256, 9, parts[1], &err), 0);
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA1, 4, parts[2], &err), 0);
    assert_int_equal(pcr_set_put(&set, TPM2_ALG_SHA256, 2, parts[0], &err), 0);
    assert_int_equal(pcr_selection_parse("sha256:2,9+sha1:4", &selection, &err), 0);
    assert_int_equal(pcr_set_digest(&set, &selection, hash, digest, &err), 0);
    assert_int_equal(hash_compute(hash, parts, 3, expected, &err), 0);
    assert_memory_equal(digest, expected, hash->size);

    assert_int_equal(pcr_selection_parse("sha256:2,9+sha1:3,4", &selection, &err), 0);
    assert_int_equal(pcr_set_digest(&set, &selection, hash, digest, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "PCR 3 of bank sha1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selection_is_read_and_written),
        cmocka_unit_test(selection_is_refused),
        cmocka_unit_test(selection_is_quoted_bit_for_bit),
        cmocka_unit_test(set_keeps_values),
        cmocka_unit_test(set_refuses),
        cmocka_unit_test(set_is_read_from_text),
        cmocka_unit_test(digest_is_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
