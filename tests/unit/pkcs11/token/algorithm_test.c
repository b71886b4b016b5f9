#include "tests/unit/cmocka_all.h"

#include <openssl/rsa.h>

#include "tests/unit/pkcs11/token/identities.h"

/* Verifies with OpenSSL alone. digest is what the hash made of the message. */
static void verify(const struct token_generation *generation, enum sign_scheme scheme,
                   const EVP_MD *hash, struct bytes digest, const struct outcome *outcome)
{
    EVP_PKEY *public = fixture_public(generation->key);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public, NULL);
    uint8_t *der = NULL;
    struct bytes signature = {outcome->signature, outcome->size};
    assert_int_equal(EVP_PKEY_verify_init(context), 1);
    if (scheme == SIGN_SCHEME_ECDSA) {
        int half = (int)outcome->size / 2;
        ECDSA_SIG *pair = ECDSA_SIG_new();
        assert_int_equal(ECDSA_SIG_set0(pair, BN_bin2bn(outcome->signature, half, NULL),
                                        BN_bin2bn(outcome->signature + half, half, NULL)),
                         1);
        int size = i2d_ECDSA_SIG(pair, &der);
        assert_true(size > 0);
        ECDSA_SIG_free(pair);
        signature = (struct bytes){der, (size_t)size};
    } else {
        bool is_pss = scheme == SIGN_SCHEME_RSA_PSS;
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, hash), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, is_pss ? RSA_PKCS1_PSS_PADDING
                                                                      : RSA_PKCS1_PADDING),
                         1);
        assert_true(!is_pss ||
                    EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
    }
    assert_int_equal(
        EVP_PKEY_verify(context, signature.data, signature.size, digest.data, digest.size), 1);
    OPENSSL_free(der);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
}

/* Mechanisms that hash, in one part, in several short ones, and in so many bytes that they are not
 * kept. */
static const struct {
    CK_MECHANISM_TYPE mechanism;
    enum sign_scheme scheme;
    const EVP_MD *(*hash)(void);
    CK_MECHANISM_TYPE hash_type;
    CK_RSA_PKCS_MGF_TYPE mask;
} hashing[] = {
    {CKM_ECDSA_SHA256, SIGN_SCHEME_ECDSA, EVP_sha256, 0, 0},
    {CKM_ECDSA_SHA384, SIGN_SCHEME_ECDSA, EVP_sha384, 0, 0},
    {CKM_ECDSA_SHA512, SIGN_SCHEME_ECDSA, EVP_sha512, 0, 0},
    {CKM_SHA256_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, EVP_sha256, 0, 0},
    {CKM_SHA384_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, EVP_sha384, 0, 0},
    {CKM_SHA512_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, EVP_sha512, 0, 0},
    {CKM_SHA256_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, EVP_sha256, CKM_SHA256, CKG_MGF1_SHA256},
    {CKM_SHA384_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, EVP_sha384, CKM_SHA384, CKG_MGF1_SHA384},
    {CKM_SHA512_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, EVP_sha512, CKM_SHA512, CKG_MGF1_SHA512},
};

static void check_hashing(struct identities *identities, size_t row, enum key_type type,
                          size_t parts)
{
    struct fixture *fixture = &identities->fixture;
    const EVP_MD *hash = hashing[row].hash();
    CK_RSA_PKCS_PSS_PARAMS pss = {hashing[row].hash_type, hashing[row].mask,
                                  (CK_ULONG)EVP_MD_get_size(hash)};
    CK_MECHANISM mechanism = {hashing[row].mechanism, pss.hashAlg ? &pss : NULL,
                              pss.hashAlg ? sizeof(pss) : 0};
    struct outcome outcome;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(context, hash, NULL), 1);
    assert_int_equal(
        token_sign_init(fixture->caller, fixture->session, &mechanism, key_of(identities, type)),
        CKR_OK);
    for (size_t i = 0; i < parts; i++) {
        assert_int_equal(update(identities, message, sizeof(message)), CKR_OK);
    }
    for (size_t i = 0; i < MAX(parts, 1); i++) {
        assert_int_equal(EVP_DigestUpdate(context, message, sizeof(message)), 1);
    }
    struct bytes data = parts ? (struct bytes){0} : (struct bytes){message, sizeof(message)};
    assert_int_equal(sign(identities, data, parts > 0, &outcome), CKR_OK);
    await(identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    assert_int_equal(EVP_DigestFinal_ex(context, digest, &size), 1);
    EVP_MD_CTX_free(context);
    verify(identities->generations[type], hashing[row].scheme, hash, (struct bytes){digest, size},
           &outcome);
}

static void test_hashing(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    static const size_t parts[] = {0, 1, 3, 50};
    for (size_t i = 0; i < ARRAY_SIZE(hashing); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(parts); j++) {
            if (hashing[i].scheme == SIGN_SCHEME_ECDSA) {
                check_hashing(&identities, i, KEY_TYPE_EC_P256, parts[j]);
                check_hashing(&identities, i, KEY_TYPE_EC_P384, parts[j]);
            } else {
                check_hashing(&identities, i, KEY_TYPE_RSA_2048, parts[j]);
            }
        }
    }
    tear_down(&identities);
}

/* Raw ECDSA takes what any hash makes, for any curve. */
static void test_raw_ecdsa(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 20, 28, 31, 32, 33, 47, 48, 49, 64};
    static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_EC_P384};
    struct identities identities;
    struct outcome outcome;
    uint8_t digest[64];
    set_up(&identities);
    memset(digest, 0xa5, sizeof(digest));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(types); j++) {
            struct bytes data = {digest, sizes[i]};
            CK_ULONG size = 0;
            assert_int_equal(begin(&identities, CKM_ECDSA, key_of(&identities, types[j])), CKR_OK);
            assert_int_equal(
                token_signature_size(identities.fixture.caller, identities.fixture.session, &size),
                CKR_OK);
            assert_int_equal(sign(&identities, data, false, &outcome), CKR_OK);
            await(&identities, &outcome);
            assert_int_equal(outcome.rv, CKR_OK);
            assert_int_equal(outcome.size, size);
            verify(identities.generations[types[j]], SIGN_SCHEME_ECDSA, NULL, data, &outcome);
        }
    }
    tear_down(&identities);
}

static const uint8_t info_sha256[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
static const uint8_t info_sha384[] = {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30};
static const uint8_t info_sha512[] = {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40};
static const uint8_t info_sha1[] = {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e,
                                    0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14};

/* CKM_RSA_PKCS is no oracle: it signs the digests of three hashes and nothing else. */
static const struct {
    const char *what;
    struct bytes prefix;
    size_t size; /* of the digest behind it */
    const EVP_MD *(*hash)(void);
    CK_RV rv;
} infos[] = {
    {"SHA-256", {info_sha256, sizeof(info_sha256)}, 32, EVP_sha256, CKR_OK},
    {"SHA-384", {info_sha384, sizeof(info_sha384)}, 48, EVP_sha384, CKR_OK},
    {"SHA-512, 83 bytes, as ssh", {info_sha512, sizeof(info_sha512)}, 64, EVP_sha512, CKR_OK},
    {"SHA-1", {info_sha1, sizeof(info_sha1)}, 20, NULL, CKR_DATA_INVALID},
    {"bare digest", {NULL, 0}, 32, NULL, CKR_DATA_INVALID},
    {"MD5 and SHA-1 of TLS 1.1", {NULL, 0}, 36, NULL, CKR_DATA_INVALID},
    {"nothing", {NULL, 0}, 0, NULL, CKR_DATA_INVALID},
    {"digest too short", {info_sha256, sizeof(info_sha256)}, 31, NULL, CKR_DATA_INVALID},
    {"something behind it", {info_sha256, sizeof(info_sha256)}, 33, NULL, CKR_DATA_INVALID},
    {"as long as with SHA-256", {NULL, 0}, 51, NULL, CKR_DATA_INVALID},
    {"as long as with SHA-512", {NULL, 0}, 83, NULL, CKR_DATA_INVALID},
    {"digest of another hash", {info_sha384, sizeof(info_sha384)}, 32, NULL, CKR_DATA_INVALID},
    {"a whole block", {NULL, 0}, 245, NULL, CKR_DATA_INVALID},
    {"more than a block", {NULL, 0}, 1000, NULL, CKR_DATA_INVALID},
};

static void test_digest_info(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
        uint8_t data[1024];
        struct outcome outcome;
        size_t prefix = infos[i].prefix.size;
        memset(data, 0x5a, sizeof(data));
        if (prefix > 0) {
            memcpy(data, infos[i].prefix.data, prefix);
        }
        assert_int_equal(begin(&identities, CKM_RSA_PKCS, key_of(&identities, KEY_TYPE_RSA_2048)),
                         CKR_OK);
        CK_RV rv = sign(&identities, (struct bytes){data, prefix + infos[i].size}, false, &outcome);
        if (rv != infos[i].rv) {
            fail_msg("%s: 0x%lx", infos[i].what, rv);
        }
        if (rv == CKR_OK) {
            await(&identities, &outcome);
            assert_int_equal(outcome.rv, CKR_OK);
            verify(identities.generations[KEY_TYPE_RSA_2048], SIGN_SCHEME_RSA_PKCS1,
                   infos[i].hash(), (struct bytes){data + prefix, infos[i].size}, &outcome);
        }
    }
    tear_down(&identities);
}

static const struct {
    const char *what;
    CK_RSA_PKCS_PSS_PARAMS params;
    size_t params_size, data_size;
    CK_RV init_rv, sign_rv;
    const EVP_MD *(*hash)(void); /* of those that are signed */
} pss[] = {
    {"SHA-256", {CKM_SHA256, CKG_MGF1_SHA256, 32}, 24, 32, CKR_OK, CKR_OK, EVP_sha256},
    {"SHA-384", {CKM_SHA384, CKG_MGF1_SHA384, 48}, 24, 48, CKR_OK, CKR_OK, EVP_sha384},
    {"SHA-512", {CKM_SHA512, CKG_MGF1_SHA512, 64}, 24, 64, CKR_OK, CKR_OK, EVP_sha512},
    {"other size", {CKM_SHA256, CKG_MGF1_SHA256, 32}, 24, 48, CKR_OK, CKR_DATA_LEN_RANGE, NULL},
    {"no data", {CKM_SHA256, CKG_MGF1_SHA256, 32}, 24, 0, CKR_OK, CKR_DATA_LEN_RANGE, NULL},
    {"no params", {0, 0, 0}, 0, 32, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
    {"cut params", {CKM_SHA256, CKG_MGF1_SHA256, 32}, 16, 32, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
    {"no salt", {CKM_SHA256, CKG_MGF1_SHA256, 0}, 24, 32, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
    {"other salt", {CKM_SHA256, CKG_MGF1_SHA256, 20}, 24, 32, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
    {"other mask", {CKM_SHA256, CKG_MGF1_SHA1, 32}, 24, 32, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
    {"SHA-1", {CKM_SHA_1, CKG_MGF1_SHA1, 20}, 24, 20, CKR_MECHANISM_PARAM_INVALID, 0, NULL},
};

static void test_pss(void **state)
{
    (void)state;
    struct identities identities;
    uint8_t data[64] = {1};
    set_up(&identities);
    for (size_t i = 0; i < ARRAY_SIZE(pss); i++) {
        struct outcome outcome;
        CK_RSA_PKCS_PSS_PARAMS params = pss[i].params;
        CK_MECHANISM mechanism = {CKM_RSA_PKCS_PSS, &params, pss[i].params_size};
        CK_RV rv = token_sign_init(identities.fixture.caller, identities.fixture.session,
                                   &mechanism, key_of(&identities, KEY_TYPE_RSA_2048));
        if (rv != pss[i].init_rv) {
            fail_msg("%s: 0x%lx", pss[i].what, rv);
        }
        if (rv != CKR_OK) {
            continue;
        }
        struct bytes digest = {data, pss[i].data_size};
        assert_int_equal(sign(&identities, digest, false, &outcome), pss[i].sign_rv);
        if (pss[i].hash) {
            await(&identities, &outcome);
            assert_int_equal(outcome.rv, CKR_OK);
            verify(identities.generations[KEY_TYPE_RSA_2048], SIGN_SCHEME_RSA_PSS, pss[i].hash(),
                   digest, &outcome);
        }
    }
    /* The hash of the mechanism and that of the parameters must be the same. */
    CK_RSA_PKCS_PSS_PARAMS params = {CKM_SHA384, CKG_MGF1_SHA384, 48};
    CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS_PSS, &params, sizeof(params)};
    assert_int_equal(token_sign_init(identities.fixture.caller, identities.fixture.session,
                                     &mechanism, key_of(&identities, KEY_TYPE_RSA_2048)),
                     CKR_MECHANISM_PARAM_INVALID);
    tear_down(&identities);
}

static void test_refused_mechanisms(void **state)
{
    (void)state;
    static const struct {
        CK_MECHANISM_TYPE mechanism;
        enum key_type type;
        CK_RV rv;
    } rows[] = {
        {CKM_ECDSA, KEY_TYPE_RSA_2048, CKR_KEY_TYPE_INCONSISTENT},
        {CKM_RSA_PKCS, KEY_TYPE_EC_P256, CKR_KEY_TYPE_INCONSISTENT},
        {CKM_SHA256_RSA_PKCS, KEY_TYPE_EC_P384, CKR_KEY_TYPE_INCONSISTENT},
        {CKM_RSA_X_509, KEY_TYPE_RSA_2048, CKR_MECHANISM_INVALID}, /* the raw private operation */
        {CKM_SHA256, KEY_TYPE_RSA_2048, CKR_MECHANISM_INVALID},
        {CKM_ECDSA_SHA1, KEY_TYPE_EC_P256, CKR_MECHANISM_INVALID},
        {CKM_SHA1_RSA_PKCS, KEY_TYPE_RSA_2048, CKR_MECHANISM_INVALID},
        {0x1057 /* CKM_EDDSA */, KEY_TYPE_EC_P256, CKR_MECHANISM_INVALID},
    };
    struct identities identities;
    set_up(&identities);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(begin(&identities, rows[i].mechanism, key_of(&identities, rows[i].type)),
                         rows[i].rv);
    }
    CK_MECHANISM mechanism = {CKM_ECDSA, &mechanism, 8};
    assert_int_equal(token_sign_init(identities.fixture.caller, identities.fixture.session,
                                     &mechanism, key_of(&identities, KEY_TYPE_EC_P256)),
                     CKR_MECHANISM_PARAM_INVALID);
    tear_down(&identities);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashing),
        cmocka_unit_test(test_raw_ecdsa),
        cmocka_unit_test(test_digest_info),
        cmocka_unit_test(test_pss),
        cmocka_unit_test(test_refused_mechanisms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
