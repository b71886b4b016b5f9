#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sodium.h>

#include "pkcs11/memory/memory.h"
#include "pkcs11/memory/private_numbers.h"
#include "tests/unit/pkcs11/process_memory.h"

static int set_up(void **state)
{
    (void)state;
    return secret_init(NULL);
}

/* The value of the next DER element, which must have the tag. */
static struct bytes element(struct reader *reader, uint8_t tag)
{
    assert_int_equal(reader_u8(reader), tag);
    size_t size = reader_u8(reader);
    if (size & 0x80) {
        size_t count = size & 0x7f;
        for (size = 0; count > 0; count--) {
            size = size << 8 | reader_u8(reader);
        }
    }
    struct bytes value = reader_bytes(reader, size);
    assert_false(reader->is_bad);
    return value;
}

enum { NUMBERS_MAX = 8 };

/* The private numbers, found without OpenSSL, which would leave copies. */
static size_t private_values(struct bytes pkcs8, struct bytes values[NUMBERS_MAX])
{
    struct reader outer = reader_of(pkcs8);
    struct reader fields = reader_of(element(&outer, 0x30));
    assert_true(reader_is_done(&outer));
    (void)element(&fields, 0x02);
    (void)element(&fields, 0x30);
    struct reader key_outer = reader_of(element(&fields, 0x04));
    assert_true(reader_is_done(&fields));
    struct reader key = reader_of(element(&key_outer, 0x30));
    assert_true(reader_is_done(&key_outer));
    size_t version_size = element(&key, 0x02).size;
    assert_int_equal(version_size, 1);
    if (key.rest.data[0] == 0x04) {
        values[0] = element(&key, 0x04);
        (void)element(&key, 0xa1);
        assert_true(reader_is_done(&key));
        return 1;
    }
    (void)element(&key, 0x02); /* n and e are public */
    (void)element(&key, 0x02);
    for (size_t i = 0; i < 6; i++) {
        values[i] = element(&key, 0x02);
    }
    assert_true(reader_is_done(&key));
    return 6;
}

static void test_der_is_what_openssl_writes(void **state)
{
    (void)state;
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        _cleanup_(secret_clear) struct secret pkcs8 = {0};
        _cleanup_(buffer_clear) struct buffer spki = {0};
        assert_int_equal(delivered_key_generate((enum key_type)type, &pkcs8, &spki, NULL), 0);
        const unsigned char *at = pkcs8.data;
        EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &at, (long)pkcs8.size);
        assert_non_null(pkey);
        assert_ptr_equal(at, pkcs8.data + pkcs8.size);
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
        unsigned char *expected = NULL;
        int size = i2d_PKCS8_PRIV_KEY_INFO(info, &expected);
        assert_int_equal(size, pkcs8.size);
        assert_memory_equal(expected, pkcs8.data, pkcs8.size);
        unsigned char *public = NULL;
        size = i2d_PUBKEY(pkey, &public);
        assert_int_equal(size, spki.size);
        assert_memory_equal(public, spki.data, spki.size);
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
        assert_int_equal(EVP_PKEY_check(context), 1);
        EVP_PKEY_CTX_free(context);
        OPENSSL_free(public);
        OPENSSL_free(expected);
        PKCS8_PRIV_KEY_INFO_free(info);
        EVP_PKEY_free(pkey);
    }
}

static void check_nothing_remains(enum key_type type)
{
    _cleanup_(secret_clear) struct secret pkcs8 = {0};
    _cleanup_(buffer_clear) struct buffer spki = {0};
    struct bytes values[NUMBERS_MAX];
    struct needle needles[NUMBERS_MAX];
    assert_int_equal(delivered_key_generate(type, &pkcs8, &spki, NULL), 0);
    size_t count = private_values(secret_bytes(&pkcs8), values);
    for (size_t i = 0; i < count; i++) {
        needles[i] = needle_of(values[i].data, values[i].size);
        assert_int_equal(process_memory_count(&needles[i]), 1);
    }
    secret_clear(&pkcs8);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(process_memory_count(&needles[i]), 0);
    }
}

static void test_nothing_remains(void **state)
{
    (void)state;
#ifdef PROCESS_MEMORY_IS_SANITIZED
    skip(); /* A sanitizer maps terabytes, and keeps memory that was freed. */
#endif
    for (int i = 0; i < 8; i++) {
        check_nothing_remains(KEY_TYPE_EC_P256);
        check_nothing_remains(KEY_TYPE_EC_P384);
    }
    for (int i = 0; i < 3; i++) {
        check_nothing_remains(KEY_TYPE_RSA_2048);
    }
}

static void check_search_finds(const uint8_t *copy, size_t size)
{
    struct needle needle = needle_of(copy, size);
    assert_int_equal(process_memory_count(&needle), 1);
}

/* The search is worth nothing unless it sees heap, stack and data. */
static void test_search_finds(void **state)
{
    (void)state;
#ifdef PROCESS_MEMORY_IS_SANITIZED
    skip();
#endif
    static uint8_t data[32];
    uint8_t stack[32];
    uint8_t *heap = calloc(1, 32);
    uint8_t *places[] = {data, stack, heap};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        randombytes_buf(places[i], 32);
        check_search_finds(places[i], 32);
        for (size_t j = 0; j < 16; j++) { /* little endian */
            uint8_t swap = places[i][j];
            places[i][j] = places[i][31 - j];
            places[i][31 - j] = swap;
        }
        check_search_finds(places[i], 32);
    }
    free(heap);
}

/* A guarded key at rest is in its guarded place alone, also after it has signed. */
static void check_guarded_at_rest(enum key_type type)
{
    _cleanup_(private_numbers_clear) struct private_numbers numbers = {0};
    _cleanup_(buffer_clear) struct buffer spki = {0};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = sizeof(signature);
    const uint8_t digest[32] = {1};
    assert_int_equal(private_numbers_generate(type, &numbers, &spki, NULL), 0);
    EVP_PKEY *pkey = private_numbers_pkey(&numbers, NULL);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_sign_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()), 1);
    assert_int_equal(EVP_PKEY_sign(context, signature, &size, digest, sizeof(digest)), 1);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    private_numbers_wipe_stack();
    const uint8_t *at = numbers.values.data;
    for (const struct private_number *number = private_number_layout(type); number->param;
         number++) {
        bool is_public = strcmp(number->param, OSSL_PKEY_PARAM_RSA_N) == 0 ||
                         strcmp(number->param, OSSL_PKEY_PARAM_RSA_E) == 0;
        if (!is_public) {
            struct needle needle = needle_of(at, number->size_bytes);
            assert_int_equal(process_memory_count(&needle), 1);
        }
        at += number->size_bytes;
    }
}

static void test_guarded_at_rest(void **state)
{
    (void)state;
#ifdef PROCESS_MEMORY_IS_SANITIZED
    skip();
#endif
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        check_guarded_at_rest((enum key_type)type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_der_is_what_openssl_writes),
        cmocka_unit_test(test_search_finds),
        cmocka_unit_test(test_nothing_remains),
        cmocka_unit_test(test_guarded_at_rest),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
