#include "tests/unit/cmocka_all.h"

#include <openssl/sha.h>

#include "tests/unit/pkcs11/token/fixture.h"

#define LEAF OBJECT_LEAF
#define PRIVATE OBJECT_PRIVATE_KEY
#define PUBLIC OBJECT_PUBLIC_KEY

static void assert_bytes(struct bytes value, const void *expected, size_t size)
{
    assert_int_equal(value.size, size);
    assert_memory_equal(value.data, expected, size);
}

/* What programs ask for and fail without: each of them, with its value, for keys of both kinds. */
static const struct {
    const char *trap;
    unsigned object;
    CK_ATTRIBUTE_TYPE type;
    size_t size; /* of a CK_BBOOL or a CK_ULONG */
    CK_ULONG value;
} numbers[] = {
    {"class of a certificate", LEAF, CKA_CLASS, 8, CKO_CERTIFICATE},
    {"gnutls, curl, provider: certificate type", LEAF, CKA_CERTIFICATE_TYPE, 8, CKC_X_509},
    {"java, nss: certificate without TOKEN", LEAF, CKA_TOKEN, 1, CK_TRUE},
    {"certificate is public", LEAF, CKA_PRIVATE, 1, CK_FALSE},
    {"certificate is fixed", LEAF, CKA_MODIFIABLE, 1, CK_FALSE},
    {"leaf is no authority", LEAF, CKA_CERTIFICATE_CATEGORY, 8, 1},
    {"leaf is no anchor", LEAF, CKA_TRUSTED, 1, CK_FALSE},
    {"class of a private key", PRIVATE, CKA_CLASS, 8, CKO_PRIVATE_KEY},
    {"java: private key without TOKEN", PRIVATE, CKA_TOKEN, 1, CK_TRUE},
    {"java: private key without SENSITIVE", PRIVATE, CKA_SENSITIVE, 1, CK_TRUE},
    {"java: private key without EXTRACTABLE", PRIVATE, CKA_EXTRACTABLE, 1, CK_FALSE},
    {"always sensitive", PRIVATE, CKA_ALWAYS_SENSITIVE, 1, CK_TRUE},
    {"never extractable", PRIVATE, CKA_NEVER_EXTRACTABLE, 1, CK_TRUE},
    {"a key behind a login is not seen without", PRIVATE, CKA_PRIVATE, 1, CK_FALSE},
    {"fixed", PRIVATE, CKA_MODIFIABLE, 1, CK_FALSE},
    {"made here", PRIVATE, CKA_LOCAL, 1, CK_TRUE},
    {"gnutls with tls 1.3, ssh: SIGN", PRIVATE, CKA_SIGN, 1, CK_TRUE},
    {"signs only: decrypt", PRIVATE, CKA_DECRYPT, 1, CK_FALSE},
    {"signs only: unwrap", PRIVATE, CKA_UNWRAP, 1, CK_FALSE},
    {"signs only: derive", PRIVATE, CKA_DERIVE, 1, CK_FALSE},
    {"signs only: sign with recovery", PRIVATE, CKA_SIGN_RECOVER, 1, CK_FALSE},
    {"engine, ssh prompt: ALWAYS_AUTHENTICATE", PRIVATE, CKA_ALWAYS_AUTHENTICATE, 1, CK_FALSE},
    {"class of a public key", PUBLIC, CKA_CLASS, 8, CKO_PUBLIC_KEY},
    {"verify", PUBLIC, CKA_VERIFY, 1, CK_TRUE},
    {"no encryption", PUBLIC, CKA_ENCRYPT, 1, CK_FALSE},
    {"no wrapping", PUBLIC, CKA_WRAP, 1, CK_FALSE},
    {"public key with TOKEN", PUBLIC, CKA_TOKEN, 1, CK_TRUE},
};

static void check_numbers(struct fixture *fixture, const struct token_generation *generation)
{
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct bytes value = fixture_attribute(
            fixture, fixture_handle(generation, numbers[i].object), numbers[i].type);
        CK_ULONG number = 0;
        if (value.size != numbers[i].size) {
            fail_msg("%s: %zu bytes", numbers[i].trap, value.size);
        }
        memcpy(&number, value.data, value.size);
        if (number != numbers[i].value) {
            fail_msg("%s: 0x%lx", numbers[i].trap, number);
        }
    }
}

/* Programs pair certificate and key by ID or by label, so all three objects have the same. */
static void check_pairing(struct fixture *fixture, const struct token_generation *generation,
                          const char *label)
{
    for (unsigned object = LEAF; object <= PUBLIC; object++) {
        CK_OBJECT_HANDLE handle = fixture_handle(generation, object);
        assert_bytes(fixture_attribute(fixture, handle, CKA_LABEL), label, strlen(label));
        assert_bytes(fixture_attribute(fixture, handle, CKA_ID), key_id(generation->key),
                     KEY_ID_BYTES);
        struct bytes public = key_public_der(generation->key);
        assert_bytes(fixture_attribute(fixture, handle, CKA_PUBLIC_KEY_INFO), public.data,
                     public.size);
    }
}

static void assert_der(struct bytes value, uint8_t *der, int size)
{
    assert_true(size > 0);
    assert_bytes(value, der, (size_t)size);
    OPENSSL_free(der);
}

/* NSS looks certificates up by ISSUER and SERIAL_NUMBER (a DER INTEGER), Java chains by SUBJECT. */
static void check_certificate(struct fixture *fixture, const struct token_generation *generation)
{
    CK_OBJECT_HANDLE leaf = fixture_handle(generation, LEAF);
    struct bytes value = fixture_attribute(fixture, leaf, CKA_VALUE);
    const uint8_t *at = value.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)value.size);
    assert_non_null(certificate);
    assert_ptr_equal(at, value.data + value.size);
    uint8_t *der = NULL;
    int size = i2d_X509_NAME(X509_get_subject_name(certificate), &der);
    assert_der(fixture_attribute(fixture, leaf, CKA_SUBJECT), der, size);
    der = NULL;
    size = i2d_X509_NAME(X509_get_issuer_name(certificate), &der);
    assert_der(fixture_attribute(fixture, leaf, CKA_ISSUER), der, size);
    der = NULL;
    size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &der);
    assert_der(fixture_attribute(fixture, leaf, CKA_SERIAL_NUMBER), der, size);
    char date[16];
    struct tm moment;
    assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &moment), 1);
    assert_int_equal(strftime(date, sizeof(date), "%Y%m%d", &moment), sizeof(CK_DATE));
    assert_bytes(fixture_attribute(fixture, leaf, CKA_END_DATE), date, sizeof(CK_DATE));
    X509_free(certificate);
}

static void check_key_numbers(struct fixture *fixture, const struct token_generation *generation,
                              CK_OBJECT_HANDLE key, enum key_type type)
{
    static const uint8_t exponent[] = {1, 0, 1};
    EVP_PKEY *public = fixture_public(generation->key);
    CK_KEY_TYPE kind = type == KEY_TYPE_RSA_2048 ? CKK_RSA : CKK_EC;
    assert_bytes(fixture_attribute(fixture, key, CKA_KEY_TYPE), &kind, sizeof(kind));
    if (type == KEY_TYPE_RSA_2048) {
        BIGNUM *modulus = NULL;
        uint8_t expected[256];
        assert_int_equal(EVP_PKEY_get_bn_param(public, "n", &modulus), 1);
        assert_int_equal(BN_bn2bin(modulus, expected), sizeof(expected));
        BN_free(modulus);
        assert_bytes(fixture_attribute(fixture, key, CKA_MODULUS), expected, sizeof(expected));
        /* The engine of OpenSSL crashes where a private key has none. */
        assert_bytes(fixture_attribute(fixture, key, CKA_PUBLIC_EXPONENT), exponent,
                     sizeof(exponent));
    } else {
        uint8_t point[2 + 97] = {0x04};
        size_t size = 0;
        assert_int_equal(
            EVP_PKEY_get_octet_string_param(public, "pub", point + 2, sizeof(point) - 2, &size), 1);
        point[1] = (uint8_t)size;
        /* A DER OCTET STRING; the bare point is not understood by all. */
        assert_bytes(fixture_attribute(fixture, key, CKA_EC_POINT), point, size + 2);
        struct bytes curve = fixture_attribute(fixture, key, CKA_EC_PARAMS);
        const uint8_t *at = curve.data;
        ASN1_OBJECT *object = d2i_ASN1_OBJECT(NULL, &at, (long)curve.size);
        assert_int_equal(OBJ_obj2nid(object),
                         type == KEY_TYPE_EC_P256 ? NID_X9_62_prime256v1 : NID_secp384r1);
        ASN1_OBJECT_free(object);
    }
    EVP_PKEY_free(public);
}

static void test_objects(void **state)
{
    (void)state;
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        struct fixture fixture;
        fixture_set_up(&fixture);
        struct token_generation *generation =
            fixture_generation(&fixture, "payments/api", (enum key_type)type, (struct bytes){0});
        fixture_publish(&fixture, &generation, 1, 1, NULL);
        check_numbers(&fixture, generation);
        check_pairing(&fixture, generation, "payments/api");
        check_certificate(&fixture, generation);
        check_key_numbers(&fixture, generation, fixture_handle(generation, PRIVATE),
                          (enum key_type)type);
        check_key_numbers(&fixture, generation, fixture_handle(generation, PUBLIC),
                          (enum key_type)type);
        if (type == KEY_TYPE_RSA_2048) {
            CK_ULONG bits = 2048;
            assert_bytes(
                fixture_attribute(&fixture, fixture_handle(generation, PUBLIC), CKA_MODULUS_BITS),
                &bits, sizeof(bits));
        }
        token_generation_unref(generation);
        fixture_tear_down(&fixture);
    }
}

/* What is refused, for each alone and with the others of the same call filled. */
static const struct {
    const char *what;
    unsigned object;
    CK_ATTRIBUTE_TYPE type;
    CK_RV rv;
} refused[] = {
    {"the private number", PRIVATE, CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE},
    {"private exponent", PRIVATE, CKA_PRIVATE_EXPONENT, CKR_ATTRIBUTE_SENSITIVE},
    {"prime 1", PRIVATE, CKA_PRIME_1, CKR_ATTRIBUTE_SENSITIVE},
    {"prime 2", PRIVATE, CKA_PRIME_2, CKR_ATTRIBUTE_SENSITIVE},
    {"exponent 1", PRIVATE, CKA_EXPONENT_1, CKR_ATTRIBUTE_SENSITIVE},
    {"exponent 2", PRIVATE, CKA_EXPONENT_2, CKR_ATTRIBUTE_SENSITIVE},
    {"coefficient", PRIVATE, CKA_COEFFICIENT, CKR_ATTRIBUTE_SENSITIVE},
    {"old p11-kit cannot ask for ALLOWED_MECHANISMS", PRIVATE, CKA_ALLOWED_MECHANISMS,
     CKR_ATTRIBUTE_TYPE_INVALID},
    {"WRAP_TEMPLATE", PUBLIC, CKA_WRAP_TEMPLATE, CKR_ATTRIBUTE_TYPE_INVALID},
    {"modulus of an EC key", PRIVATE, CKA_MODULUS, CKR_ATTRIBUTE_TYPE_INVALID},
    {"public exponent of an EC key", PRIVATE, CKA_PUBLIC_EXPONENT, CKR_ATTRIBUTE_TYPE_INVALID},
    {"modulus bits of an EC key", PUBLIC, CKA_MODULUS_BITS, CKR_ATTRIBUTE_TYPE_INVALID},
    {"value of a public key", PUBLIC, CKA_VALUE, CKR_ATTRIBUTE_TYPE_INVALID},
    {"vendor's attribute of NSS", LEAF, CKA_VENDOR_DEFINED | 0x4e534350,
     CKR_ATTRIBUTE_TYPE_INVALID},
};

static void test_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        uint8_t anything;
        CK_ATTRIBUTE attributes[] = {
            {CKA_ID, NULL, 0}, {refused[i].type, &anything, 1}, {CKA_LABEL, NULL, 0}};
        CK_RV rv = token_get_attributes(fixture.caller, fixture.session,
                                        fixture_handle(generation, refused[i].object), attributes,
                                        ARRAY_SIZE(attributes));
        if (rv != refused[i].rv || attributes[1].ulValueLen != CK_UNAVAILABLE_INFORMATION ||
            attributes[1].pValue) {
            fail_msg("%s: 0x%lx", refused[i].what, rv);
        }
        assert_int_equal(attributes[0].ulValueLen, KEY_ID_BYTES);
        assert_int_equal(attributes[2].ulValueLen, 1);
    }
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

static struct token_anchors *make_anchors(struct bytes certificates)
{
    struct token_anchors *anchors = NULL;
    assert_int_equal(token_anchors_new(certificates, &anchors, NULL), 0);
    return anchors;
}

/* Java trusts what is TRUSTED, gnutls what is an authority; an intermediate is neither listed twice
 * nor trusted. */
static void test_authorities(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    _cleanup_(buffer_clear) struct buffer middle = {0};
    _cleanup_(buffer_clear) struct buffer roots = {0};
    fixture_certify(&fixture, fixture.ca, "middle", 5, &middle);
    fixture_certify(&fixture, fixture.ca, "root", 6, &roots);
    fixture_certify(&fixture, fixture.ca, "root", 7, &roots);
    struct token_anchors *anchors = make_anchors(buffer_bytes(&roots));
    struct token_generation *generations[] = {
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, buffer_bytes(&middle)),
        fixture_generation(&fixture, "b", KEY_TYPE_EC_P384, buffer_bytes(&middle)),
    };
    fixture_publish(&fixture, generations, 2, 2, anchors);
    CK_OBJECT_HANDLE objects[16];
    CK_ULONG category = 2;
    struct bytes wanted = {(const uint8_t *)&category, sizeof(category)};
    assert_int_equal(
        fixture_find_one(&fixture, CKA_CERTIFICATE_CATEGORY, wanted, objects, ARRAY_SIZE(objects)),
        3);
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE trusted[16];
    assert_int_equal(fixture_find_one(&fixture, CKA_TRUSTED, (struct bytes){&yes, 1}, trusted,
                                      ARRAY_SIZE(trusted)),
                     2);
    assert_memory_equal(objects, trusted, 2 * sizeof(*objects));
    struct bytes labels[3];
    for (size_t i = 0; i < 3; i++) {
        labels[i] = fixture_attribute(&fixture, objects[i], CKA_LABEL);
        uint8_t hash[SHA256_DIGEST_LENGTH];
        struct bytes public = fixture_attribute(&fixture, objects[i], CKA_PUBLIC_KEY_INFO);
        (void)SHA256(public.data, public.size, hash);
        assert_bytes(fixture_attribute(&fixture, objects[i], CKA_ID), hash, KEY_ID_BYTES);
    }
    assert_memory_equal(labels[0].data, "root ", 5);
    assert_false(bytes_is_equal(labels[0], labels[1]));
    assert_memory_equal(labels[2].data, "middle ", 7);
    token_generation_unref(generations[0]);
    token_generation_unref(generations[1]);
    token_anchors_unref(anchors);
    fixture_tear_down(&fixture);
}

/* An anchor that is also in a chain is one object, the trusted one. */
static void test_anchor_in_chain(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    _cleanup_(buffer_clear) struct buffer root = {0};
    fixture_certify(&fixture, fixture.ca, "root", 6, &root);
    struct token_anchors *anchors = make_anchors(buffer_bytes(&root));
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, buffer_bytes(&root));
    fixture_publish(&fixture, &generation, 1, 1, anchors);
    CK_OBJECT_HANDLE objects[8];
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, ARRAY_SIZE(objects)), 4);
    assert_int_equal(*fixture_attribute(&fixture, objects[3], CKA_TRUSTED).data, CK_TRUE);
    token_generation_unref(generation);
    token_anchors_unref(anchors);
    fixture_tear_down(&fixture);
}

/* Handles survive a restart of the agent: they are made of what the objects are. */
static void test_handles(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    uint64_t prefix = 0;
    for (size_t i = 0; i < 7; i++) {
        prefix = prefix << 8 | key_id(generation->key)[i];
    }
    for (unsigned object = LEAF; object <= PUBLIC; object++) {
        assert_int_equal(fixture_handle(generation, object), prefix << 4 | object);
    }
    uint8_t zeros[32] = {0};
    uint8_t ones[32];
    memset(ones, 0xff, sizeof(ones));
    assert_int_not_equal(object_handle_of_key(zeros, LEAF), 0);
    assert_int_equal(object_handle_of_authority(zeros), UINT64_C(1) << 60);
    assert_true(object_handle_of_authority(ones) >> 61 == 0);
    assert_true(object_handle_of_key(ones, PUBLIC) < object_handle_of_authority(zeros));
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

static void check_refusal(struct fixture *fixture, const char *label, struct key *key,
                          struct bytes chain, const char *reason)
{
    struct token_generation *generation = NULL;
    struct error err = {0};
    const struct token_generation_config config = {.label = label, .key = key, .chain = chain};
    (void)fixture;
    assert_int_equal(token_generation_new(&config, &generation, &err), -1);
    assert_null(generation);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    if (!strstr(err.text, reason)) {
        fail_msg("%s", err.text);
    }
}

static void test_bad_chains(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct key *key = fixture_key(&fixture, KEY_TYPE_EC_P256);
    EVP_PKEY *public = fixture_public(key);
    _cleanup_(buffer_clear) struct buffer good = {0};
    _cleanup_(buffer_clear) struct buffer other = {0};
    fixture_certify(&fixture, public, "a", 1, &good);
    fixture_certify(&fixture, fixture.ca, "a", 1, &other);
    check_refusal(&fixture, "a", key, (struct bytes){0}, "reading a DER certificate");
    check_refusal(&fixture, "a", key, buffer_bytes(&other), "not that of the key");
    check_refusal(&fixture, "", key, buffer_bytes(&good), "a label of 0 bytes");
    check_refusal(&fixture, "a", key, (struct bytes){good.data, good.size - 1},
                  "reading a DER certificate");
    for (int i = 0; i <= GENERATION_INTERMEDIATES_MAX; i++) {
        buffer_append(&good, other.data, other.size);
    }
    check_refusal(&fixture, "a", key, buffer_bytes(&good), "more than 12 certificates");
    struct token_anchors *anchors = NULL;
    struct error err = {0};
    assert_int_equal(token_anchors_new((struct bytes){other.data, other.size - 1}, &anchors, &err),
                     -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    EVP_PKEY_free(public);
    key_unref(key);
    fixture_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_authorities), cmocka_unit_test(test_anchor_in_chain),
        cmocka_unit_test(test_handles),     cmocka_unit_test(test_bad_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
