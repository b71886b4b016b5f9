#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

#include "tests/unit/pkcs11/memory_keystore.h"

/* The first test: nothing is prepared yet. */
static void test_needs_guarded_memory(void **state)
{
    struct keystore *keystore = NULL;
    struct error err = {0};
    _cleanup_(secret_clear) struct secret pkcs8 = {0};
    _cleanup_(buffer_clear) struct buffer spki = {0};
    const struct keystore_config config = {.name = "memory", .driver = &keystore_driver_memory};
    (void)state;
    assert_int_equal(keystore_new(&config, &keystore, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_int_equal(delivered_key_generate(KEY_TYPE_EC_P256, &pkcs8, &spki, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

static const struct {
    enum key_type type;
    enum sign_scheme scheme;
    enum sign_digest digest;
    size_t size;
} signings[] = {
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 64},
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA512, 64},
    {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 96},
    {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 96},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA256, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA384, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA512, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA256, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA384, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA512, 256},
};

static size_t to_der(const uint8_t *raw, size_t size, uint8_t *ret_der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    int half = (int)size / 2;
    assert_int_equal(
        ECDSA_SIG_set0(pair, BN_bin2bn(raw, half, NULL), BN_bin2bn(raw + half, half, NULL)), 1);
    int der_size = i2d_ECDSA_SIG(pair, &ret_der);
    ECDSA_SIG_free(pair);
    assert_true(der_size > 0);
    return (size_t)der_size;
}

static bool verifies(struct bytes spki, const struct sign_request *request, const uint8_t *raw,
                     size_t raw_size)
{
    static const char *const names[] = {"SHA256", "SHA384", "SHA512"};
    uint8_t signature[512];
    const unsigned char *at = spki.data;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &at, (long)spki.size);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public, NULL);
    memcpy(signature, raw, raw_size);
    assert_int_equal(EVP_PKEY_verify_init(context), 1);
    if (request->scheme == SIGN_SCHEME_ECDSA) {
        raw_size = to_der(raw, raw_size, signature);
    } else {
        assert_int_equal(
            EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(names[request->digest])),
            1);
    }
    if (request->scheme == SIGN_SCHEME_RSA_PSS) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    int result =
        EVP_PKEY_verify(context, signature, raw_size, request->value.data, request->value.size);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
    return result == 1;
}

static void check_signature(struct key *key, size_t i)
{
    uint8_t digest[64] = {(uint8_t)i, 1, 2, 3};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        signings[i].scheme, signings[i].digest, {digest, sign_digest_size(signings[i].digest)}};
    assert_int_equal(key_sign(key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, NULL), 0);
    assert_int_equal(size, signings[i].size);
    assert_true(verifies(key_public_der(key), &request, signature, size));
    signature[size - 1] ^= 1;
    assert_false(verifies(key_public_der(key), &request, signature, size));
}

static void test_signatures(void **state)
{
    (void)state;
    struct keystore *keystore = memory_keystore(&keystore_driver_memory);
    struct key *keys[KEY_TYPE_COUNT];
    assert_int_equal(keystore_protection(keystore), KEY_PROTECTION_GUARDED);
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        assert_int_equal(keystore_key_generate(keystore, (enum key_type)i, NULL,
                                               KEYSTORE_PRIORITY_ISSUE, &keys[i], NULL),
                         0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signings); i++) {
        check_signature(keys[signings[i].type], i);
    }
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        key_unref(keys[i]);
    }
    keystore_free(keystore);
}

/* r and s keep their leading zeros: one in 128 signatures has one. */
static void test_numbers_are_padded(void **state)
{
    (void)state;
    struct keystore *keystore = memory_keystore(&keystore_driver_memory);
    struct key *key = NULL;
    unsigned padded = 0;
    assert_int_equal(keystore_key_generate(keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &key, NULL),
                     0);
    for (unsigned i = 0; i < 4000 && padded < 3; i++) {
        const uint8_t digest[32] = {(uint8_t)i, (uint8_t)(i >> 8)};
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        const struct sign_request request = {
            SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, sizeof(digest)}};
        assert_int_equal(key_sign(key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, NULL),
                         0);
        assert_int_equal(size, 64);
        if (signature[0] == 0 || signature[32] == 0) {
            padded++;
            assert_true(verifies(key_public_der(key), &request, signature, size));
        }
    }
    assert_int_equal(padded, 3);
    key_unref(key);
    keystore_free(keystore);
}

static void test_nothing_lasts(void **state)
{
    (void)state;
    struct keystore *keystore = memory_keystore(&keystore_driver_memory);
    struct key *key = NULL;
    struct error err = {0};
    const uint8_t id[16] = {1};
    assert_int_equal(
        keystore_key_generate(keystore, KEY_TYPE_EC_P256, id, KEYSTORE_PRIORITY_ISSUE, &key, &err),
        -1);
    assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
    assert_int_equal(
        keystore_key_open(keystore, KEY_TYPE_EC_P256, id, (struct bytes){id, 16}, &key, &err), -1);
    assert_int_equal(keystore_destroy_id(keystore, id, NULL), 0);
    keystore_free(keystore);
}

static void *make_keys(void *argument)
{
    for (int i = 0; i < 20; i++) {
        struct key *key = NULL;
        if (keystore_key_generate(argument, KEY_TYPE_EC_P384, NULL, KEYSTORE_PRIORITY_BACKGROUND,
                                  &key, NULL) < 0) {
            abort();
        }
        key_unref(key);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct keystore *keystore = memory_keystore(&keystore_driver_memory);
    struct keystore_status status;
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, make_keys, keystore), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    keystore_status(keystore, &status);
    assert_int_equal(status.generations, 80);
    keystore_free(keystore);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_guarded_memory),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_numbers_are_padded),
        cmocka_unit_test(test_nothing_lasts),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
