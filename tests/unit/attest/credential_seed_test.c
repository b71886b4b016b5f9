/* The seed for an ECC EK where a coordinate begins with zeros, as one in 256 does: every one is
 * padded to the size of the curve's field. The EK's side is computed here from the numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <string.h>

#include "attest/credential_seed.h"

static const struct curve {
    const char *name, *hash;
    int nid;
    size_t size;
} curves[] = {
    {"P-256", "sha256", NID_X9_62_prime256v1, 32},
    {"P-384", "sha384", NID_secp384r1, 48},
    {"P-521", "sha512", NID_secp521r1, 66},
};

/* A key pair by its private number. */
struct pair {
    const struct curve *curve;
    BIGNUM *number;
    EC_POINT *point;
    uint8_t encoded[1 + 2 * CREDENTIAL_COORDINATE_MAX_BYTES];
};

static void pair_new(const struct curve *curve, const EC_GROUP *group, BN_ULONG number,
                     struct pair *ret)
{
    *ret = (struct pair){.curve = curve, .number = BN_new(), .point = EC_POINT_new(group)};
    assert_int_equal(BN_set_word(ret->number, number), 1);
    assert_int_equal(EC_POINT_mul(group, ret->point, ret->number, NULL, NULL, NULL), 1);
    assert_int_equal(EC_POINT_point2oct(group, ret->point, POINT_CONVERSION_UNCOMPRESSED,
                                        ret->encoded, sizeof(ret->encoded), NULL),
                     1 + 2 * curve->size);
}

static void pair_clear(struct pair *pair)
{
    BN_free(pair->number);
    EC_POINT_free(pair->point);
}

static EVP_PKEY *pair_pkey(const struct pair *pair)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_int_equal(
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, pair->curve->name, 0),
        1);
    assert_int_equal(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, pair->number), 1);
    assert_int_equal(OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY,
                                                      pair->encoded, 1 + 2 * pair->curve->size),
                     1);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, parameters), 1);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    return pkey;
}

/* The x coordinate of the shared point, as the EK's TPM pads it. */
static void share(const EC_GROUP *group, const struct pair *ek, const struct pair *own,
                  uint8_t *ret_shared)
{
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *x = BN_new();
    assert_int_equal(EC_POINT_mul(group, point, NULL, own->point, ek->number, NULL), 1);
    assert_int_equal(EC_POINT_get_affine_coordinates(group, point, x, NULL, NULL), 1);
    assert_int_equal(BN_bn2binpad(x, ret_shared, (int)ek->curve->size), ek->curve->size);
    BN_free(x);
    EC_POINT_free(point);
}

/* KDFe of one block. */
static void derive_seed(const struct pair *ek, const struct pair *own, const uint8_t *shared,
                        uint8_t ret_seed[HASH_MAX_BYTES])
{
    static const uint8_t counter[] = {0, 0, 0, 1};
    struct error err;
    const size_t size = ek->curve->size;
    const struct bytes parts[] = {{counter, sizeof(counter)},
                                  {shared, size},
                                  {(const uint8_t *)"IDENTITY", sizeof("IDENTITY")},
                                  {own->encoded + 1, size},
                                  {ek->encoded + 1, size}};
    assert_int_equal(
        hash_compute(hash_by_name(ek->curve->hash), parts, ARRAY_SIZE(parts), ret_seed, &err), 0);
}

static void assert_seed(const struct pair *ek, const struct pair *own, const uint8_t *shared)
{
    struct error err;
    struct credential_secrets secrets = {0};
    uint8_t expected[HASH_MAX_BYTES];
    EVP_PKEY *ek_pkey = pair_pkey(ek);
    EVP_PKEY *own_pkey = pair_pkey(own);
    const struct hash_algorithm *hash = hash_by_name(ek->curve->hash);
    const size_t size = ek->curve->size;
    _cleanup_(buffer_clear) struct buffer encrypted = {0};
    assert_int_equal(credential_seed_make_ecc(own_pkey, ek_pkey, hash, &secrets, &encrypted, &err),
                     0);
    derive_seed(ek, own, shared, expected);
    assert_memory_equal(secrets.seed, expected, hash->size);
    assert_int_equal(encrypted.size, 2 * (2 + size));
    assert_int_equal(encrypted.data[0] << 8 | encrypted.data[1], size);
    assert_memory_equal(encrypted.data + 2, own->encoded + 1, size);
    assert_memory_equal(encrypted.data + 4 + size, own->encoded + 1 + size, size);
    EVP_PKEY_free(ek_pkey);
    EVP_PKEY_free(own_pkey);
}

/* Of key pairs in turn, the first whose shared point and the first whose own one begins with a
 * zero. */
static void check_curve(const struct curve *curve)
{
    enum { TRIES = 5000 };
    EC_GROUP *group = EC_GROUP_new_by_curve_name(curve->nid);
    struct pair ek;
    bool has_shared_zero = false;
    bool has_own_zero = false;
    pair_new(curve, group, 987654321, &ek);
    for (BN_ULONG number = 1000; number < 1000 + TRIES && !(has_shared_zero && has_own_zero);
         number++) {
        uint8_t shared[CREDENTIAL_COORDINATE_MAX_BYTES];
        struct pair own;
        pair_new(curve, group, number, &own);
        share(group, &ek, &own, shared);
        if (shared[0] == 0 || own.encoded[1] == 0) {
            assert_seed(&ek, &own, shared);
        }
        has_shared_zero |= shared[0] == 0;
        has_own_zero |= own.encoded[1] == 0;
        pair_clear(&own);
    }
    assert_true(has_shared_zero && has_own_zero);
    pair_clear(&ek);
    EC_GROUP_free(group);
}

static void coordinates_are_padded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(curves); i++) {
        check_curve(&curves[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinates_are_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
