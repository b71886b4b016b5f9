#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/macro.h"
#include "pkcs11/key_type.h"
#include "pkcs11/module/public_key.h"

enum { TAG_OCTET_STRING = 4 };

/* A key made by OpenSSL, its raw point and its SubjectPublicKeyInfo. */
struct sample {
    EVP_PKEY *key;
    uint8_t point[128];
    size_t point_size;
    uint8_t *spki;
    int spki_size;
};

static void sample_make(struct sample *sample, const char *group)
{
    sample->key = EVP_EC_gen(group);
    assert_non_null(sample->key);
    assert_int_equal(EVP_PKEY_get_octet_string_param(sample->key, OSSL_PKEY_PARAM_PUB_KEY,
                                                     sample->point, sizeof(sample->point),
                                                     &sample->point_size),
                     1);
    sample->spki_size = i2d_PUBKEY(sample->key, &sample->spki);
    assert_true(sample->spki_size > 0);
}

static void sample_free(struct sample *sample)
{
    EVP_PKEY_free(sample->key);
    OPENSSL_free(sample->spki);
}

static void test_ec_points(void **unused)
{
    (void)unused;
    for (int type = KEY_TYPE_EC_P256; type <= KEY_TYPE_EC_P384; type++) {
        struct sample sample = {0};
        sample_make(&sample, key_type_info((enum key_type)type)->group);
        struct bytes curve = module_ec_parameters((enum key_type)type);
        struct bytes expected = {sample.spki, (size_t)sample.spki_size};
        for (int is_wrapped = 0; is_wrapped < 2; is_wrapped++) {
            _cleanup_(buffer_clear) struct buffer point = {0};
            _cleanup_(buffer_clear) struct buffer spki = {0};
            if (is_wrapped) {
                buffer_append_u8(&point, TAG_OCTET_STRING);
                buffer_append_u8(&point, (uint8_t)sample.point_size);
            }
            buffer_append(&point, sample.point, sample.point_size);
            assert_int_equal(
                module_public_ec((enum key_type)type, curve, buffer_bytes(&point), &spki, NULL), 0);
            assert_true(bytes_is_equal(buffer_bytes(&spki), expected));
            /* One byte less or more is no point. */
            for (int change = -1; change <= 1; change += 2) {
                _cleanup_(buffer_clear) struct buffer none = {0};
                buffer_append_u8(&point, 0);
                struct bytes bad = {point.data, (size_t)((int)point.size - 1 + change)};
                assert_int_equal(module_public_ec((enum key_type)type, curve, bad, &none, NULL),
                                 -1);
                assert_int_equal(none.size, 0);
            }
        }
        sample_free(&sample);
    }
}

static void test_bad_ec_points(void **unused)
{
    (void)unused;
    struct sample sample = {0};
    sample_make(&sample, "P-256");
    static const struct {
        size_t at;
        uint8_t change;
    } cases[] = {
        {64, 1},   /* not on the curve */
        {0, 0x06}, /* compressed, or something else */
        {1, 0xff}, /* another x */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer spki = {0};
        uint8_t point[65];
        memcpy(point, sample.point, sizeof(point));
        point[cases[i].at] ^= cases[i].change;
        assert_int_equal(module_public_ec(KEY_TYPE_EC_P256, module_ec_parameters(KEY_TYPE_EC_P256),
                                          (struct bytes){point, sizeof(point)}, &spki, NULL),
                         -1);
        assert_int_equal(spki.size, 0);
    }
    /* Another curve than the one that was asked for, or none. */
    _cleanup_(buffer_clear) struct buffer spki = {0};
    struct bytes point = {sample.point, sample.point_size};
    assert_int_equal(module_public_ec(KEY_TYPE_EC_P256, module_ec_parameters(KEY_TYPE_EC_P384),
                                      point, &spki, NULL),
                     -1);
    assert_int_equal(module_public_ec(KEY_TYPE_EC_P256, (struct bytes){0}, point, &spki, NULL), -1);
    assert_int_equal(module_public_ec(KEY_TYPE_EC_P256, module_ec_parameters(KEY_TYPE_EC_P256),
                                      (struct bytes){0}, &spki, NULL),
                     -1);
    sample_free(&sample);
}

static void test_rsa(void **unused)
{
    (void)unused;
    uint8_t modulus[257] = {0};
    uint8_t exponent[] = {1, 0, 1};
    uint8_t other_exponent[] = {3};
    memset(modulus + 1, 0xc5, 256);
    const struct {
        struct bytes modulus, exponent;
        int result;
    } cases[] = {
        {{modulus + 1, 256}, {exponent, 3}, 0},
        {{modulus, 257}, {exponent, 3}, 0}, /* a leading zero, as some modules have it */
        {{modulus + 1, 255}, {exponent, 3}, -1},
        {{modulus + 1, 256}, {other_exponent, 1}, -1},
        {{modulus + 1, 0}, {exponent, 3}, -1},
        {{modulus + 1, 256}, {exponent, 0}, -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer spki = {0};
        assert_int_equal(module_public_rsa(cases[i].modulus, cases[i].exponent, &spki, NULL),
                         cases[i].result);
        assert_int_equal(spki.size > 0, cases[i].result == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ec_points),
        cmocka_unit_test(test_bad_ec_points),
        cmocka_unit_test(test_rsa),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
