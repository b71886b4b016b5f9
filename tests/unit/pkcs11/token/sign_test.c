#include "tests/unit/cmocka_all.h"

#include <openssl/rsa.h>
#include <semaphore.h>

#include "pkcs11/key_type.h"
#include "tests/unit/pkcs11/token/fixture.h"

struct identities {
    struct fixture fixture;
    struct token_generation *generations[KEY_TYPE_COUNT]; /* one of each type */
};

static void set_up(struct identities *identities)
{
    fixture_set_up(&identities->fixture);
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        identities->generations[type] =
            fixture_generation(&identities->fixture, key_type_name((enum key_type)type),
                               (enum key_type)type, (struct bytes){0});
    }
    fixture_publish(&identities->fixture, identities->generations, KEY_TYPE_COUNT, KEY_TYPE_COUNT,
                    NULL);
}

static void tear_down(struct identities *identities)
{
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        token_generation_unref(identities->generations[type]);
    }
    fixture_tear_down(&identities->fixture);
}

static CK_OBJECT_HANDLE key_of(const struct identities *identities, enum key_type type)
{
    return fixture_handle(identities->generations[type], OBJECT_PRIVATE_KEY);
}

static CK_RV begin(struct identities *identities, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key)
{
    CK_MECHANISM mechanism = {.mechanism = type};
    return token_sign_init(identities->fixture.caller, identities->fixture.session, &mechanism,
                           key);
}

static CK_RV sign(struct identities *identities, struct bytes data, bool is_final,
                  struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    return token_sign(identities->fixture.caller, identities->fixture.session, data, is_final,
                      fixture_note, outcome);
}

static CK_RV update(struct identities *identities, const void *data, size_t size)
{
    return token_sign_update(identities->fixture.caller, identities->fixture.session,
                             (struct bytes){data, size});
}

static void await(struct identities *identities, const struct outcome *outcome)
{
    while (outcome->calls == 0) {
        fixture_deliver(&identities->fixture);
    }
    assert_int_equal(outcome->calls, 1);
}

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

static const uint8_t message[100] = "a message that is going to be signed, whole or in parts";

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

/* PKCS#11 v2.40 5.11. */
static void test_order_of_calls(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    CK_ULONG size = 0;
    set_up(&identities);
    struct fixture *fixture = &identities.fixture;
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    struct bytes digest = {message, 32};
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(update(&identities, message, 1), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size),
                     CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OPERATION_ACTIVE);
    /* gnutls asks for the size first: that ends nothing. */
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size), CKR_OK);
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size), CKR_OK);
    assert_int_equal(size, 64);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OK);
    /* One at a time. */
    struct outcome second;
    assert_int_equal(sign(&identities, digest, false, &second), CKR_OPERATION_ACTIVE);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OPERATION_ACTIVE);
    assert_int_equal(token_sign_init(fixture->caller, fixture->session, NULL, 0),
                     CKR_OPERATION_ACTIVE);
    await(&identities, &outcome);
    assert_int_equal(second.calls, 0);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    /* No mechanism cancels. */
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(token_sign_init(fixture->caller, fixture->session, NULL, 0), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    /* C_Sign does not end what C_SignUpdate began, and C_SignFinal ends both kinds. */
    assert_int_equal(begin(&identities, CKM_ECDSA_SHA256, key), CKR_OK);
    assert_int_equal(update(&identities, message, 1), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(sign(&identities, digest, true, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA_SHA256, key), CKR_OK);
    assert_int_equal(sign(&identities, (struct bytes){0}, true, &outcome), CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    tear_down(&identities);
}

/* A wrong length ends the operation. */
static void test_wrong_lengths(void **state)
{
    (void)state;
    static const uint8_t many[TOKEN_SIGN_DATA_MAX + 1];
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    static const size_t sizes[] = {0, 65, sizeof(many)};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
        assert_int_equal(sign(&identities, (struct bytes){many, sizes[i]}, false, &outcome),
                         CKR_DATA_LEN_RANGE);
        assert_int_equal(sign(&identities, (struct bytes){many, 32}, false, &outcome),
                         CKR_OPERATION_NOT_INITIALIZED);
    }
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(update(&identities, many, sizeof(many) - 1), CKR_OK);
    assert_int_equal(update(&identities, many, 1), CKR_DATA_LEN_RANGE);
    assert_int_equal(update(&identities, many, 1), CKR_OPERATION_NOT_INITIALIZED);
    tear_down(&identities);
}

static void test_handles(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    const struct token_generation *generation = identities.generations[KEY_TYPE_EC_P256];
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    assert_int_equal(begin(&identities, CKM_ECDSA, 0), CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, key + 16), CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, fixture_handle(generation, OBJECT_LEAF)),
                     CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, fixture_handle(generation, OBJECT_PUBLIC_KEY)),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    assert_int_equal(token_sign_init(identities.fixture.caller, 99, &mechanism, key),
                     CKR_SESSION_HANDLE_INVALID);
    tear_down(&identities);
}

/* Programs keep handles for days: the one before goes on signing, until its certificate ends. */
static void test_old_handle_signs_until_expiry(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    struct bytes digest = {message, 32};
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    fixture_publish(&identities.fixture, identities.generations, 0, 1, NULL);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    fixture_now_s += FIXTURE_HOUR_S;
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    tear_down(&identities);
}

/* Withdrawn: refused in C_SignInit, and again in C_Sign, with the code that no client takes for a
 * missing PIN or for a reason to try again. */
static void test_withdrawn(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    fixture_publish(&identities.fixture, identities.generations + 1, 2, 2, NULL);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &outcome),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &outcome),
                     CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key + 16), CKR_KEY_HANDLE_INVALID);
    CK_ATTRIBUTE label = {.type = CKA_LABEL};
    assert_int_equal(
        token_get_attributes(identities.fixture.caller, identities.fixture.session, key, &label, 1),
        CKR_OBJECT_HANDLE_INVALID);
    /* And allowed again. */
    fixture_publish(&identities.fixture, identities.generations, 3, 3, NULL);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    tear_down(&identities);
}

/* Keeps a worker busy until it is let go. */
struct obstacle {
    struct keystore_job job;
    sem_t begun, go, ended;
};

static void stand_in_the_way(struct keystore_job *job)
{
    struct obstacle *obstacle = container_of(job, struct obstacle, job);
    (void)sem_post(&obstacle->begun);
    (void)sem_wait(&obstacle->go);
    (void)sem_post(&obstacle->ended);
}

enum { WORKERS = 2 };

static void block_workers(struct identities *identities, struct obstacle *obstacles)
{
    for (size_t i = 0; i < WORKERS; i++) {
        obstacles[i] = (struct obstacle){
            .job = {.run = stand_in_the_way, .priority = KEYSTORE_PRIORITY_USE, .flow = i + 100}};
        (void)sem_init(&obstacles[i].begun, 0, 0);
        (void)sem_init(&obstacles[i].go, 0, 0);
        (void)sem_init(&obstacles[i].ended, 0, 0);
        assert_int_equal(keystore_submit(identities->fixture.keystore, &obstacles[i].job, NULL), 0);
        (void)sem_wait(&obstacles[i].begun);
    }
}

static void free_workers(struct obstacle *obstacles)
{
    for (size_t i = 0; i < WORKERS; i++) {
        (void)sem_post(&obstacles[i].go);
        (void)sem_wait(&obstacles[i].ended);
    }
}

static uint64_t signatures_made(struct identities *identities)
{
    struct keystore_status status;
    keystore_status(identities->fixture.keystore, &status);
    return status.signatures;
}

static void begin_and_sign(struct identities *identities, struct outcome *outcome)
{
    assert_int_equal(begin(identities, CKM_ECDSA, key_of(identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(sign(identities, (struct bytes){message, 32}, false, outcome), CKR_OK);
}

/* Withdrawn while it waits for the hardware: the hardware is not asked. */
static void test_withdrawn_in_the_queue(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    token_caller_set_view(identities.fixture.caller, NULL);
    free_workers(obstacles);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(outcome.size, 0);
    assert_int_equal(signatures_made(&identities), 0);
    tear_down(&identities);
}

/* Withdrawn when the signature is made and not yet given out: nobody gets it. */
static void test_withdrawn_after_signing(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    begin_and_sign(&identities, &outcome);
    struct pollfd descriptor = {.fd = mailbox_descriptor(identities.fixture.mailbox),
                                .events = POLLIN};
    assert_int_equal(poll(&descriptor, 1, FIXTURE_WAIT_MS), 1);
    fixture_publish(&identities.fixture, identities.generations + 1, 2, 2, NULL);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(outcome.size, 0);
    assert_int_equal(signatures_made(&identities), 1);
    tear_down(&identities);
}

/* A rotation is no withdrawal. */
static void test_retired_in_the_queue(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    fixture_publish(&identities.fixture, identities.generations, 0, 3, NULL);
    free_workers(obstacles);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    tear_down(&identities);
}

/* The program is killed between C_Sign and its answer: done never runs, nothing is left behind. */
static void test_caller_freed(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    token_caller_free(take_ptr(identities.fixture.caller));
    assert_int_equal(identities.fixture.under_way, 1);
    free_workers(obstacles);
    while (identities.fixture.under_way > 0) {
        fixture_deliver(&identities.fixture);
    }
    assert_int_equal(outcome.calls, 0);
    assert_int_equal(signatures_made(&identities), 0);
    tear_down(&identities);
}

static void free_caller(void *user, CK_RV rv, struct bytes signature)
{
    struct fixture *fixture = user;
    assert_int_equal(rv, CKR_OK);
    assert_int_equal(signature.size, 64);
    token_caller_free(take_ptr(fixture->caller));
}

static void test_done_frees_caller(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    assert_int_equal(begin(&identities, CKM_ECDSA, key_of(&identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(token_sign(identities.fixture.caller, identities.fixture.session,
                                (struct bytes){message, 32}, false, free_caller,
                                &identities.fixture),
                     CKR_OK);
    while (identities.fixture.caller) {
        fixture_deliver(&identities.fixture);
    }
    tear_down(&identities);
}

static void test_session_closed(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    begin_and_sign(&identities, &outcome);
    assert_int_equal(token_close_session(identities.fixture.caller, identities.fixture.session),
                     CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_SESSION_CLOSED);
    assert_int_equal(outcome.size, 0);
    tear_down(&identities);
}

/* Sessions are independent, up to what one process may have waiting. */
static void test_full_queue(void **state)
{
    (void)state;
    enum { MOST = 64 };
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    static struct outcome outcomes[MOST];
    struct outcome refused;
    set_up(&identities);
    block_workers(&identities, obstacles);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(token_open_session(identities.fixture.caller, TOKEN_SLOT_ID,
                                            CKF_SERIAL_SESSION, &identities.fixture.session),
                         CKR_OK);
        begin_and_sign(&identities, &outcomes[i]);
    }
    assert_int_equal(token_open_session(identities.fixture.caller, TOKEN_SLOT_ID,
                                        CKF_SERIAL_SESSION, &identities.fixture.session),
                     CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key_of(&identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &refused),
                     CKR_DEVICE_MEMORY);
    free_workers(obstacles);
    while (identities.fixture.under_way > 0) {
        fixture_deliver(&identities.fixture);
    }
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rv, CKR_OK);
    }
    assert_int_equal(refused.calls, 0);
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
        cmocka_unit_test(test_order_of_calls),
        cmocka_unit_test(test_wrong_lengths),
        cmocka_unit_test(test_handles),
        cmocka_unit_test(test_old_handle_signs_until_expiry),
        cmocka_unit_test(test_withdrawn),
        cmocka_unit_test(test_withdrawn_in_the_queue),
        cmocka_unit_test(test_withdrawn_after_signing),
        cmocka_unit_test(test_retired_in_the_queue),
        cmocka_unit_test(test_caller_freed),
        cmocka_unit_test(test_done_frees_caller),
        cmocka_unit_test(test_session_closed),
        cmocka_unit_test(test_full_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
