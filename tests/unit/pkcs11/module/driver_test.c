#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>

#include "pkcs11/key_type.h"
#include "pkcs11/module/signature.h"
#include "tests/unit/pkcs11/module/fixture.h"

/* A second user of the module in this process, with a session of its own, to look at what the
 * driver left on the token. */
struct observer {
    CK_FUNCTION_LIST *functions;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
};

static void observer_open(struct observer *observer)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    observer->functions = p11_kit_module_load(SOFTHSM, 0);
    assert_non_null(observer->functions);
    assert_int_equal(p11_kit_module_initialize(observer->functions), CKR_OK);
    assert_int_equal(observer->functions->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        assert_int_equal(observer->functions->C_GetTokenInfo(slots[i], &info), CKR_OK);
        if (memcmp(info.label, "signet ", 7) == 0) {
            observer->slot = slots[i];
        }
    }
    assert_int_equal(observer->functions->C_OpenSession(observer->slot, CKF_SERIAL_SESSION, NULL,
                                                        NULL, &observer->session),
                     CKR_OK);
}

static void observer_close(struct observer *observer)
{
    assert_int_equal(p11_kit_module_finalize(observer->functions), CKR_OK);
    p11_kit_module_release(observer->functions);
}

/* All objects that this process sees, session objects too. */
static CK_ULONG count_objects(const struct observer *observer)
{
    CK_OBJECT_HANDLE found[256];
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *functions = observer->functions;
    assert_int_equal(functions->C_FindObjectsInit(observer->session, NULL, 0), CKR_OK);
    assert_int_equal(functions->C_FindObjects(observer->session, found, ARRAY_SIZE(found), &count),
                     CKR_OK);
    assert_int_equal(functions->C_FindObjectsFinal(observer->session), CKR_OK);
    return count;
}

/* SoftHSM numbers sessions and objects together from 1 on, and does not tell how many are open. */
static CK_ULONG count_sessions(const struct observer *observer)
{
    CK_ULONG count = 0;
    for (CK_SESSION_HANDLE session = 1; session < 4096; session++) {
        CK_SESSION_INFO info;
        count += observer->functions->C_GetSessionInfo(session, &info) == CKR_OK;
    }
    return count;
}

static const struct {
    enum key_type type;
    enum sign_scheme scheme;
    enum sign_digest digest;
    size_t signature_bytes;
} signatures[] = {
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 64},
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 64},
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA512, 64},
    {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 96},
    {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 96},
    {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA512, 96},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA256, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA384, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA512, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA256, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA384, 256},
    {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA512, 256},
};

static void test_signatures_verify(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    struct driver_key *keys[KEY_TYPE_COUNT];
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        keys[type] = fixture_generate(state, (enum key_type)type, NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
        uint8_t value[64];
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        struct error err = {0};
        memset(value, (int)i + 1, sizeof(value));
        struct driver_key *key = keys[signatures[i].type];
        struct sign_request request = {signatures[i].scheme,
                                       signatures[i].digest,
                                       {value, sign_digest_size(signatures[i].digest)}};
        if (keystore_driver_module.key_sign(state, key, &request, signature, &size, &err) < 0 ||
            module_signature_verify(buffer_bytes(&key->spki), key->type, &request,
                                    (struct bytes){signature, size}, &err) < 0) {
            fail_msg("%zu: %s", i, err.text);
        }
        assert_int_equal(size, signatures[i].signature_bytes);
        value[0] ^= 1;
        assert_int_equal(module_signature_verify(buffer_bytes(&key->spki), key->type, &request,
                                                 (struct bytes){signature, size}, &err),
                         -1);
    }
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        keystore_driver_module.key_close(state, keys[type]);
    }
    keystore_driver_module.close(state);
}

static void test_wrong_requests_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        enum key_type type;
        enum sign_scheme scheme;
        size_t size;
    } cases[] = {
        {KEY_TYPE_EC_P256, SIGN_SCHEME_RSA_PKCS1, 32},  {KEY_TYPE_EC_P256, SIGN_SCHEME_RSA_PSS, 32},
        {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, 31},      {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, 0},
        {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, 64},      {KEY_TYPE_RSA_2048, SIGN_SCHEME_ECDSA, 32},
        {KEY_TYPE_RSA_2048, SIGN_SCHEME_RSA_PKCS1, 33},
    };
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    static const uint8_t value[64];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct driver_key *key = fixture_generate(state, cases[i].type, NULL);
        struct sign_request request = {cases[i].scheme, SIGN_DIGEST_SHA256, {value, cases[i].size}};
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        struct error err = {0};
        assert_int_equal(
            keystore_driver_module.key_sign(state, key, &request, signature, &size, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        fixture_sign_well(state, key);
        keystore_driver_module.key_close(state, key);
    }
    keystore_driver_module.close(state);
}

static void test_nothing_is_left_behind(void **unused)
{
    (void)unused;
    static const uint8_t id[16] = {7};
    struct observer observer = {0};
    struct error err = {0};
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    observer_open(&observer);
    CK_ULONG sessions = count_sessions(&observer);
    assert_int_equal(count_objects(&observer), 0);
    for (int i = 0; i < 12; i++) {
        enum key_type type = (enum key_type)(i % KEY_TYPE_COUNT);
        struct driver_key *key = fixture_generate(state, type, NULL);
        fixture_sign_well(state, key);
        /* The public object is gone already. */
        assert_int_equal(count_objects(&observer), 1);
        keystore_driver_module.key_close(state, key);
        assert_int_equal(count_objects(&observer), 0);
    }
    /* The one to sign with came on demand. */
    assert_int_equal(count_sessions(&observer), sessions + 1);
    struct driver_key *lasting = fixture_generate(state, KEY_TYPE_EC_P256, id);
    keystore_driver_module.key_close(state, lasting);
    assert_int_equal(count_objects(&observer), 2);
    assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
    assert_int_equal(count_objects(&observer), 0);
    struct driver_key *forgotten = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
    keystore_driver_module.key_close(state, forgotten);
    keystore_driver_module.close(state);
    assert_int_equal(count_sessions(&observer), 1);
    observer_close(&observer);
}

static void test_private_key_attributes(void **unused)
{
    (void)unused;
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        CK_BBOOL value;
    } expected[] = {
        {CKA_TOKEN, CK_FALSE},        {CKA_PRIVATE, CK_TRUE},
        {CKA_SENSITIVE, CK_TRUE},     {CKA_ALWAYS_SENSITIVE, CK_TRUE},
        {CKA_EXTRACTABLE, CK_FALSE},  {CKA_NEVER_EXTRACTABLE, CK_TRUE},
        {CKA_LOCAL, CK_TRUE},         {CKA_SIGN, CK_TRUE},
        {CKA_DECRYPT, CK_FALSE},      {CKA_UNWRAP, CK_FALSE},
        {CKA_SIGN_RECOVER, CK_FALSE}, {CKA_DERIVE, CK_FALSE},
    };
    struct observer observer = {0};
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    observer_open(&observer);
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        struct driver_key *key = fixture_generate(state, (enum key_type)type, NULL);
        CK_OBJECT_HANDLE object = 0;
        CK_ULONG count = 0;
        CK_FUNCTION_LIST *functions = observer.functions;
        assert_int_equal(functions->C_FindObjectsInit(observer.session, NULL, 0), CKR_OK);
        assert_int_equal(functions->C_FindObjects(observer.session, &object, 1, &count), CKR_OK);
        assert_int_equal(functions->C_FindObjectsFinal(observer.session), CKR_OK);
        assert_int_equal(count, 1);
        for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
            CK_BBOOL value = 2;
            CK_ATTRIBUTE attribute = {expected[i].type, &value, sizeof(value)};
            assert_int_equal(
                functions->C_GetAttributeValue(observer.session, object, &attribute, 1), CKR_OK);
            assert_int_equal(value, expected[i].value);
        }
        keystore_driver_module.key_close(state, key);
    }
    observer_close(&observer);
    keystore_driver_module.close(state);
}

static void test_lasting_key_is_found_again(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        uint8_t id[16] = {1, (uint8_t)type};
        struct error err = {0};
        _cleanup_(buffer_clear) struct buffer reference = {0};
        _cleanup_(buffer_clear) struct buffer spki = {0};
        void *state = fixture_open(&config);
        struct driver_key *key = fixture_generate(state, (enum key_type)type, id);
        keystore_driver_module.key_reference(state, key, &reference);
        buffer_append(&spki, key->spki.data, key->spki.size);
        keystore_driver_module.key_close(state, key);
        keystore_driver_module.close(state);

        state = fixture_open(&config);
        if (keystore_driver_module.key_open(state, (enum key_type)type, id,
                                            buffer_bytes(&reference), &key, &err) < 0) {
            fail_msg("%s", err.text);
        }
        assert_true(bytes_is_equal(buffer_bytes(&spki), buffer_bytes(&key->spki)));
        assert_memory_equal(key->id, id, sizeof(id));
        fixture_sign_well(state, key);
        keystore_driver_module.key_close(state, key);
        assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
        /* Success when there is none. */
        assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
        assert_int_equal(keystore_driver_module.key_open(state, (enum key_type)type, id,
                                                         buffer_bytes(&reference), &key, &err),
                         -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        keystore_driver_module.close(state);
    }
}

static void test_open_refuses(void **unused)
{
    (void)unused;
    static const uint8_t id[16] = {9};
    static const uint8_t other_id[16] = {8};
    static const uint8_t reference[17] = {1, 9};
    static const uint8_t unversioned[17] = {2, 9};
    static const uint8_t longer[18] = {1, 9};
    static const struct {
        const uint8_t *id;
        struct bytes reference;
        enum key_type type;
        enum error_code code;
    } cases[] = {
        {id, {unversioned, 17}, KEY_TYPE_EC_P256, ERROR_INVALID_ARGUMENT},
        {id, {reference, 16}, KEY_TYPE_EC_P256, ERROR_INVALID_ARGUMENT},
        {id, {longer, 18}, KEY_TYPE_EC_P256, ERROR_INVALID_ARGUMENT},
        {id, {NULL, 0}, KEY_TYPE_EC_P256, ERROR_INVALID_ARGUMENT},
        {other_id, {reference, 17}, KEY_TYPE_EC_P256, ERROR_INVALID_ARGUMENT},
        {id, {reference, 17}, KEY_TYPE_EC_P384, ERROR_INTERNAL},
        {id, {reference, 17}, KEY_TYPE_RSA_2048, ERROR_NOT_FOUND},
        {id, {reference, 17}, KEY_TYPE_EC_P256, ERROR_OK},
    };
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    struct driver_key *made = fixture_generate(state, KEY_TYPE_EC_P256, id);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        struct driver_key *key = NULL;
        int result = keystore_driver_module.key_open(state, cases[i].type, cases[i].id,
                                                     cases[i].reference, &key, &err);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(result, cases[i].code == ERROR_OK ? 0 : -1);
        if (key) {
            keystore_driver_module.key_close(state, key);
        }
    }
    /* A second private key with the id: nobody knows which one is right. */
    struct error err = {0};
    struct driver_key *key = NULL;
    struct driver_key *twin = fixture_generate(state, KEY_TYPE_EC_P256, id);
    assert_int_equal(keystore_driver_module.key_open(state, KEY_TYPE_EC_P256, id,
                                                     (struct bytes){reference, 17}, &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_contains(err.text, "2 private keys");
    keystore_driver_module.key_close(state, twin);
    keystore_driver_module.key_close(state, made);
    assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
    keystore_driver_module.close(state);
}

/* Somebody with access to the token exchanges the public object for that of a key of their own. */
static void test_open_refuses_exchanged_public_key(void **unused)
{
    (void)unused;
    static const uint8_t id[16] = {10};
    static const uint8_t id_of_another[16] = {11};
    static const uint8_t reference[17] = {1, 10};
    struct observer observer = {0};
    struct error err = {0};
    struct module_config config = fixture_config();
    void *state = fixture_open(&config);
    struct driver_key *key = fixture_generate(state, KEY_TYPE_EC_P256, id);
    struct driver_key *another = fixture_generate(state, KEY_TYPE_EC_P256, id_of_another);
    observer_open(&observer);
    CK_FUNCTION_LIST *functions = observer.functions;
    CK_SESSION_HANDLE session = 0;
    assert_int_equal(functions->C_OpenSession(observer.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION,
                                              NULL, NULL, &session),
                     CKR_OK);
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    for (int i = 0; i < 2; i++) {
        CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)},
                                   {CKA_ID, (void *)(i ? id_of_another : id), 16}};
        CK_OBJECT_HANDLE object = 0;
        CK_ULONG count = 0;
        assert_int_equal(functions->C_FindObjectsInit(session, template, 2), CKR_OK);
        assert_int_equal(functions->C_FindObjects(session, &object, 1, &count), CKR_OK);
        assert_int_equal(functions->C_FindObjectsFinal(session), CKR_OK);
        assert_int_equal(count, 1);
        CK_ATTRIBUTE new_id = {CKA_ID, (void *)id, 16};
        assert_int_equal(i ? functions->C_SetAttributeValue(session, object, &new_id, 1)
                           : functions->C_DestroyObject(session, object),
                         CKR_OK);
    }
    struct driver_key *opened = NULL;
    assert_int_equal(keystore_driver_module.key_open(state, KEY_TYPE_EC_P256, id,
                                                     (struct bytes){reference, 17}, &opened, &err),
                     -1);
    assert_contains(err.text, "no pair");
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    observer_close(&observer);
    keystore_driver_module.key_close(state, key);
    keystore_driver_module.key_close(state, another);
    assert_int_equal(keystore_driver_module.destroy_id(state, id, &err), 0);
    assert_int_equal(keystore_driver_module.destroy_id(state, id_of_another, &err), 0);
    keystore_driver_module.close(state);
}

struct thread_work {
    void *state;
    struct driver_key *shared;
    pthread_t thread;
    int failures;
};

static void *sign_and_generate(void *argument)
{
    struct thread_work *work = argument;
    struct error err = {0};
    for (int i = 0; i < 25; i++) {
        struct driver_key *own = NULL;
        work->failures += fixture_sign(work->state, work->shared, &err) < 0;
        if (keystore_driver_module.key_generate(work->state, KEY_TYPE_EC_P256, NULL, &own, &err) <
            0) {
            work->failures++;
            continue;
        }
        work->failures += fixture_sign(work->state, own, &err) < 0;
        work->failures += keystore_driver_module.probe(work->state, &err) < 0;
        keystore_driver_module.key_close(work->state, own);
    }
    return NULL;
}

static void test_many_threads(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    struct thread_work works[4] = {0};
    assert_int_equal(keystore_driver_module.worker_count(&config), 4);
    void *state = fixture_open(&config);
    struct driver_key *shared = fixture_generate(state, KEY_TYPE_EC_P256, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        works[i].state = state;
        works[i].shared = shared;
        assert_int_equal(pthread_create(&works[i].thread, NULL, sign_and_generate, &works[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        assert_int_equal(pthread_join(works[i].thread, NULL), 0);
        assert_int_equal(works[i].failures, 0);
    }
    keystore_driver_module.key_close(state, shared);
    keystore_driver_module.close(state);
}

static void test_worker_count(void **unused)
{
    (void)unused;
    static const struct {
        unsigned workers, expected;
    } cases[] = {{0, 1}, {1, 1}, {4, 4}, {16, 16}, {17, 16}};
    assert_int_equal(keystore_driver_module.worker_count(NULL), 1);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct module_config config = {.workers = cases[i].workers};
        assert_int_equal(keystore_driver_module.worker_count(&config), cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_count),
        cmocka_unit_test(test_signatures_verify),
        cmocka_unit_test(test_wrong_requests_are_refused),
        cmocka_unit_test(test_nothing_is_left_behind),
        cmocka_unit_test(test_private_key_attributes),
        cmocka_unit_test(test_lasting_key_is_found_again),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_open_refuses_exchanged_public_key),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
