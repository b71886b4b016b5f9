#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

#include "tests/unit/pkcs11/memory_keystore.h"

struct fixture {
    struct keystore *keystore;
    EVP_PKEY *pkeys[KEY_TYPE_COUNT], *plain[KEY_TYPE_COUNT];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.keystore = memory_keystore(&keystore_driver_memory);
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        fixture.pkeys[i] = memory_pkey(fixture.keystore, (enum key_type)i);
        fixture.plain[i] = plain_public(fixture.pkeys[i]);
    }
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        EVP_PKEY_free(fixture->pkeys[i]);
        EVP_PKEY_free(fixture->plain[i]);
    }
    keystore_free(fixture->keystore);
    return 0;
}

/* A failure must leave nothing in the way of what comes next. */
static int before_test(void **state)
{
    (void)state;
    ERR_clear_error();
    return 0;
}

static const char text[] = "the impression, not the ring";

static const struct {
    const char *digest;
    enum key_type type;
    bool is_pss;
} signings[] = {
    {"SHA256", KEY_TYPE_EC_P256, false},   {"SHA384", KEY_TYPE_EC_P256, false},
    {"SHA384", KEY_TYPE_EC_P384, false},   {"SHA512", KEY_TYPE_EC_P384, false},
    {"SHA256", KEY_TYPE_RSA_2048, false},  {"SHA384", KEY_TYPE_RSA_2048, false},
    {"SHA512", KEY_TYPE_RSA_2048, false},  {"SHA256", KEY_TYPE_RSA_2048, true},
    {"SHA384", KEY_TYPE_RSA_2048, true},   {"SHA512", KEY_TYPE_RSA_2048, true},
    {"SHA2-256", KEY_TYPE_EC_P256, false}, {NULL, KEY_TYPE_RSA_2048, false},
    {NULL, KEY_TYPE_EC_P384, false},
};

static void set_pss(EVP_PKEY_CTX *context, bool is_pss)
{
    if (is_pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST), 1);
    }
}

static bool verifies(EVP_PKEY *pkey, const char *digest, bool is_pss, const uint8_t *signature,
                     size_t size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL;
    assert_int_equal(EVP_DigestVerifyInit_ex(context, &key_context, digest, NULL, NULL, pkey, NULL),
                     1);
    set_pss(key_context, is_pss);
    int result = EVP_DigestVerify(context, signature, size, (const uint8_t *)text, sizeof(text));
    EVP_MD_CTX_free(context);
    return result == 1;
}

static void check_verifies(struct fixture *fixture, size_t i, const uint8_t *signature, size_t size)
{
    EVP_PKEY *plain = fixture->plain[signings[i].type];
    EVP_PKEY *ours = fixture->pkeys[signings[i].type];
    uint8_t changed[512];
    memcpy(changed, signature, size);
    changed[size - 1] ^= 1;
    assert_true(verifies(plain, signings[i].digest, signings[i].is_pss, signature, size));
    assert_true(verifies(ours, signings[i].digest, signings[i].is_pss, signature, size));
    assert_false(verifies(ours, signings[i].digest, signings[i].is_pss, changed, size));
}

static void test_digest_sign_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(signings); i++) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *key_context = NULL;
        uint8_t signature[512];
        size_t size = 0;
        assert_int_equal(EVP_DigestSignInit_ex(context, &key_context, signings[i].digest, NULL,
                                               NULL, fixture->pkeys[signings[i].type], NULL),
                         1);
        set_pss(key_context, signings[i].is_pss);
        assert_int_equal(EVP_DigestSign(context, NULL, &size, (const uint8_t *)text, sizeof(text)),
                         1);
        assert_int_equal(size, EVP_PKEY_get_size(fixture->plain[signings[i].type]));
        assert_int_equal(
            EVP_DigestSign(context, signature, &size, (const uint8_t *)text, sizeof(text)), 1);
        check_verifies(fixture, i, signature, size);
        EVP_MD_CTX_free(context);
    }
}

/* In pieces, and the state copied in between. */
static void test_digest_sign_in_pieces(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(signings); i++) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_MD_CTX *copy = EVP_MD_CTX_new();
        EVP_PKEY_CTX *key_context = NULL;
        uint8_t signature[512];
        size_t size = sizeof(signature);
        assert_int_equal(EVP_DigestSignInit_ex(context, &key_context, signings[i].digest, NULL,
                                               NULL, fixture->pkeys[signings[i].type], NULL),
                         1);
        set_pss(key_context, signings[i].is_pss);
        assert_int_equal(EVP_DigestSignUpdate(context, text, 5), 1);
        assert_int_equal(EVP_MD_CTX_copy_ex(copy, context), 1);
        assert_int_equal(EVP_DigestSignUpdate(context, "something else", 14), 1);
        assert_int_equal(EVP_DigestSignUpdate(copy, text + 5, sizeof(text) - 5), 1);
        EVP_MD_CTX_free(context);
        assert_int_equal(EVP_DigestSignFinal(copy, signature, &size), 1);
        check_verifies(fixture, i, signature, size);
        EVP_MD_CTX_free(copy);
    }
}

static void test_raw_sign(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(signings); i++) {
        if (!signings[i].digest) {
            continue;
        }
        uint8_t digest[EVP_MAX_MD_SIZE];
        uint8_t signature[512];
        size_t size = 0;
        size_t digest_size = 0;
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(fixture->pkeys[signings[i].type], NULL);
        const EVP_MD *md = EVP_get_digestbyname(
            strcmp(signings[i].digest, "SHA2-256") == 0 ? "SHA256" : signings[i].digest);
        assert_int_equal(
            EVP_Q_digest(NULL, signings[i].digest, NULL, text, sizeof(text), digest, &digest_size),
            1);
        assert_int_equal(EVP_PKEY_sign_init(context), 1);
        set_pss(context, signings[i].is_pss);
        if (signings[i].type == KEY_TYPE_RSA_2048) {
            assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, md), 1);
        }
        assert_int_equal(EVP_PKEY_sign(context, NULL, &size, digest, digest_size), 1);
        assert_int_equal(EVP_PKEY_sign(context, signature, &size, digest, digest_size), 1);
        check_verifies(fixture, i, signature, size);
        EVP_PKEY_CTX_free(context);
    }
}

static void test_certificates(void **state)
{
    static const struct {
        enum key_type type;
        int digest_nid, expected_nid;
    } cases[] = {
        {KEY_TYPE_EC_P256, NID_sha256, NID_ecdsa_with_SHA256},
        {KEY_TYPE_EC_P384, NID_sha384, NID_ecdsa_with_SHA384},
        {KEY_TYPE_EC_P256, NID_undef, NID_ecdsa_with_SHA256},
        {KEY_TYPE_RSA_2048, NID_sha256, NID_sha256WithRSAEncryption},
        {KEY_TYPE_RSA_2048, NID_sha512, NID_sha512WithRSAEncryption},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        EVP_PKEY *pkey = fixture->pkeys[cases[i].type];
        const EVP_MD *md = cases[i].digest_nid ? EVP_get_digestbynid(cases[i].digest_nid) : NULL;
        X509 *certificate = certificate_of(pkey, "ca", md);
        assert_int_equal(X509_get_signature_nid(certificate), cases[i].expected_nid);
        assert_int_equal(X509_verify(certificate, fixture->plain[cases[i].type]), 1);
        assert_int_equal(X509_verify(certificate, pkey), 1);
        assert_int_equal(X509_check_private_key(certificate, pkey), 1);
        /* Others read it from its DER, where no trace of our provider is left. */
        unsigned char *der = NULL;
        int size = i2d_X509(certificate, &der);
        const unsigned char *at = der;
        X509 *read = d2i_X509(NULL, &at, size);
        assert_int_equal(X509_verify(read, X509_get0_pubkey(read)), 1);
        assert_int_equal(X509_check_private_key(read, pkey), 1);
        X509_free(read);
        OPENSSL_free(der);
        X509_free(certificate);
    }
}

static void test_certificate_with_pss(void **state)
{
    static const int digests[] = {NID_sha256, NID_sha384, NID_sha512};
    struct fixture *fixture = *state;
    EVP_PKEY *pkey = fixture->pkeys[KEY_TYPE_RSA_2048];
    for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
        const EVP_MD *md = EVP_get_digestbynid(digests[i]);
        X509 *certificate = certificate_of(pkey, "ca", md);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *key_context = NULL;
        int digest_nid = NID_undef;
        int security_bits = 0;
        assert_int_equal(EVP_DigestSignInit(context, &key_context, md, NULL, pkey), 1);
        set_pss(key_context, true);
        assert_true(X509_sign_ctx(certificate, context) > 0);
        assert_int_equal(X509_get_signature_nid(certificate), NID_rsassaPss);
        assert_int_equal(
            X509_get_signature_info(certificate, &digest_nid, NULL, &security_bits, NULL), 1);
        assert_int_equal(digest_nid, digests[i]);
        assert_int_equal(X509_verify(certificate, fixture->plain[KEY_TYPE_RSA_2048]), 1);
        EVP_MD_CTX_free(context);
        X509_free(certificate);
    }
}

static void test_requests(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        X509_REQ *request = X509_REQ_new();
        assert_int_equal(X509_REQ_set_version(request, X509_REQ_VERSION_1), 1);
        assert_int_equal(X509_REQ_set_pubkey(request, fixture->pkeys[i]), 1);
        assert_true(X509_REQ_sign(request, fixture->pkeys[i], EVP_sha256()) > 0);
        assert_int_equal(X509_REQ_verify(request, fixture->plain[i]), 1);
        assert_int_equal(X509_REQ_check_private_key(request, fixture->pkeys[i]), 1);
        X509_REQ_free(request);
    }
}

static void test_public_parts(void **state)
{
    static const struct {
        const char *name;
        int bits, size, security_bits;
    } expected[] = {{"EC", 256, 72, 128}, {"EC", 384, 104, 192}, {"RSA", 2048, 256, 112}};
    static const char *const groups[] = {SN_X9_62_prime256v1, SN_secp384r1};
    struct fixture *fixture = *state;
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        EVP_PKEY *pkey = fixture->pkeys[i];
        char group[32] = "";
        assert_true(EVP_PKEY_is_a(pkey, expected[i].name));
        assert_int_equal(EVP_PKEY_get_bits(pkey), expected[i].bits);
        assert_int_equal(EVP_PKEY_get_size(pkey), expected[i].size);
        assert_int_equal(EVP_PKEY_get_security_bits(pkey), expected[i].security_bits);
        assert_int_equal(EVP_PKEY_eq(pkey, fixture->plain[i]), 1);
        assert_int_equal(EVP_PKEY_eq(fixture->plain[i], pkey), 1);
        assert_int_equal(EVP_PKEY_eq(pkey, pkey), 1);
        assert_int_not_equal(EVP_PKEY_eq(pkey, fixture->plain[(i + 1) % KEY_TYPE_COUNT]), 1);
        if (i < 2) {
            size_t size = 0;
            assert_int_equal(EVP_PKEY_get_group_name(pkey, group, sizeof(group), &size), 1);
            assert_string_equal(group, groups[i]);
            assert_int_equal(
                EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, NULL, 0, &size), 1);
            assert_int_equal(EVP_PKEY_get_ec_point_conv_form(pkey), POINT_CONVERSION_UNCOMPRESSED);
        } else {
            BIGNUM *modulus = NULL;
            assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
            assert_int_equal(BN_num_bits(modulus), 2048);
            BN_free(modulus);
        }
    }
}

static void test_another_key_is_not_equal(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        EVP_PKEY *other = memory_pkey(fixture->keystore, (enum key_type)i);
        EVP_PKEY *plain = plain_public(other);
        assert_int_equal(EVP_PKEY_eq(fixture->pkeys[i], other), 0);
        assert_int_equal(EVP_PKEY_eq(fixture->pkeys[i], plain), 0);
        assert_int_equal(EVP_PKEY_eq(plain, fixture->pkeys[i]), 0);
        EVP_PKEY_free(other);
        EVP_PKEY_free(plain);
    }
}

static void test_private_half_stays(void **state)
{
    static const char *const secrets[] = {
        OSSL_PKEY_PARAM_PRIV_KEY,         OSSL_PKEY_PARAM_RSA_D,
        OSSL_PKEY_PARAM_RSA_FACTOR1,      OSSL_PKEY_PARAM_RSA_FACTOR2,
        OSSL_PKEY_PARAM_RSA_EXPONENT1,    OSSL_PKEY_PARAM_RSA_EXPONENT2,
        OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
    };
    struct fixture *fixture = *state;
    for (int i = 0; i < KEY_TYPE_COUNT; i++) {
        EVP_PKEY *pkey = fixture->pkeys[i];
        unsigned char *der = NULL;
        OSSL_PARAM *params = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        assert_true(i2d_PrivateKey(pkey, &der) <= 0);
        assert_null(der);
        assert_null(EVP_PKEY2PKCS8(pkey));
        assert_int_not_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
        assert_int_not_equal(EVP_PKEY_todata(pkey, EVP_PKEY_KEYPAIR, &params), 1);
        assert_int_equal(EVP_PKEY_todata(pkey, EVP_PKEY_PUBLIC_KEY, &params), 1);
        OSSL_PARAM_free(params);
        for (size_t j = 0; j < ARRAY_SIZE(secrets); j++) {
            BIGNUM *number = NULL;
            assert_int_not_equal(EVP_PKEY_get_bn_param(pkey, secrets[j], &number), 1);
            assert_null(number);
        }
        BIO_free(bio);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        enum key_type type;
        const char *digest;
        int padding, salt; /* 0: not set */
    } cases[] = {
        {KEY_TYPE_EC_P256, "SHA1", 0, 0},
        {KEY_TYPE_EC_P256, "SHA3-256", 0, 0},
        {KEY_TYPE_RSA_2048, "MD5-SHA1", 0, 0},
        {KEY_TYPE_RSA_2048, "SHA256", RSA_NO_PADDING, 0},
        {KEY_TYPE_RSA_2048, "SHA256", RSA_PKCS1_OAEP_PADDING, 0},
        {KEY_TYPE_RSA_2048, "SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_MAX},
        {KEY_TYPE_RSA_2048, "SHA256", RSA_PKCS1_PSS_PADDING, 20},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *key_context = NULL;
        uint8_t signature[512];
        size_t size = sizeof(signature);
        bool is_made = EVP_DigestSignInit_ex(context, &key_context, cases[i].digest, NULL, NULL,
                                             fixture->pkeys[cases[i].type], NULL) == 1;
        is_made = is_made && (!cases[i].padding ||
                              EVP_PKEY_CTX_set_rsa_padding(key_context, cases[i].padding) == 1);
        is_made = is_made && (!cases[i].salt ||
                              EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, cases[i].salt) == 1);
        is_made = is_made && EVP_DigestSign(context, signature, &size, (const uint8_t *)text,
                                            sizeof(text)) == 1;
        assert_false(is_made);
        EVP_MD_CTX_free(context);
    }
    EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new(fixture->pkeys[KEY_TYPE_EC_P256], NULL);
    bool is_derived = EVP_PKEY_derive_init(derive) == 1 &&
                      EVP_PKEY_derive_set_peer(derive, fixture->plain[KEY_TYPE_EC_P256]) == 1;
    assert_false(is_derived);
    EVP_PKEY_CTX_free(derive);
}

static void check_is_default(const OSSL_PROVIDER *provider)
{
    assert_string_equal(OSSL_PROVIDER_get0_name(provider), "default");
}

static void check_software_key(EVP_PKEY *pkey)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL;
    uint8_t signature[512];
    size_t size = sizeof(signature);
    assert_non_null(pkey);
    check_is_default(EVP_PKEY_get0_provider(pkey));
    assert_int_equal(EVP_DigestSignInit_ex(context, &key_context, "SHA256", NULL, NULL, pkey, NULL),
                     1);
    check_is_default(EVP_PKEY_CTX_get0_provider(key_context));
    assert_int_equal(EVP_DigestSign(context, signature, &size, (const uint8_t *)text, sizeof(text)),
                     1);
    assert_true(verifies(pkey, "SHA256", false, signature, size));
    EVP_MD_CTX_free(context);
}

/* Keys in software, with our provider loaded, do not notice. */
static void test_software_keys_as_ever(void **state)
{
    struct fixture *fixture = *state;
    check_is_default(EVP_PKEY_get0_provider(fixture->plain[KEY_TYPE_EC_P256]));
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    check_software_key(ec);
    check_software_key(rsa);
    EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new(ec, NULL);
    uint8_t secret[64];
    size_t size = sizeof(secret);
    assert_int_equal(EVP_PKEY_derive_init(derive), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(derive, fixture->plain[KEY_TYPE_EC_P256]), 1);
    assert_int_equal(EVP_PKEY_derive(derive, secret, &size), 1);
    EVP_PKEY_CTX_free(derive);
    assert_int_equal(EVP_PKEY_eq(ec, fixture->pkeys[KEY_TYPE_EC_P256]), 0);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
}

static int refuse_to_sign(void *state, struct driver_key *key, const struct sign_request *request,
                          uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                          struct error *err)
{
    (void)state;
    (void)key;
    (void)request;
    (void)ret_signature;
    (void)ret_size;
    return error_set(err, ERROR_DATA_LOSS, "the token was taken out");
}

static void test_failure_tells_why(void **state)
{
    struct keystore_driver driver = keystore_driver_memory;
    (void)state;
    driver.key_sign = refuse_to_sign;
    struct keystore *keystore = memory_keystore(&driver);
    EVP_PKEY *pkey = memory_pkey(keystore, KEY_TYPE_EC_P256);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t signature[512];
    size_t size = sizeof(signature);
    struct error err = {0};
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey), 1);
    assert_int_not_equal(
        EVP_DigestSign(context, signature, &size, (const uint8_t *)text, sizeof(text)), 1);
    (void)error_set_openssl(&err, ERROR_INTERNAL, "signing");
    assert_non_null(strstr(err.text, "keystore memory: the token was taken out"));
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    keystore_free(keystore);
}

static void *sign_often(void *argument)
{
    struct fixture *fixture = argument;
    for (int i = 0; i < 60; i++) {
        EVP_PKEY *pkey = fixture->pkeys[i % KEY_TYPE_COUNT];
        X509_REQ *request = X509_REQ_new();
        if (!X509_REQ_set_version(request, X509_REQ_VERSION_1) ||
            !X509_REQ_set_pubkey(request, pkey) ||
            X509_REQ_sign(request, pkey, EVP_sha256()) <= 0 ||
            X509_REQ_verify(request, fixture->plain[i % KEY_TYPE_COUNT]) != 1) {
            abort();
        }
        X509_REQ_free(request);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, *state), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

#define TEST(function) cmocka_unit_test_setup(function, before_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_software_keys_as_ever),
        TEST(test_digest_sign_at_once),
        TEST(test_digest_sign_in_pieces),
        TEST(test_raw_sign),
        TEST(test_certificates),
        TEST(test_certificate_with_pss),
        TEST(test_requests),
        TEST(test_public_parts),
        TEST(test_another_key_is_not_equal),
        TEST(test_private_half_stays),
        TEST(test_what_is_refused),
        TEST(test_failure_tells_why),
        TEST(test_threads),
        TEST(test_software_keys_as_ever),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
