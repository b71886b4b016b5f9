/* The driver by its vtable, on a swtpm that behaves. */
#include "tests/unit/pkcs11/tpm/device.h"

static const struct {
    enum key_type type;
    enum sign_scheme scheme;
    enum sign_digest digest;
    size_t size;
} good[] = {
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 64},
    {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 64},
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

static void signatures_verify(void **state)
{
    const struct swtpm *swtpm = *state;
    struct driver_key *keys[KEY_TYPE_COUNT];
    void *device = device_open(swtpm->tcti, NULL);
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        keys[type] = device_key(device, type);
        assert_int_equal(keys[type]->type, type);
        assert_false(keys[type]->is_lasting);
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct error err;
        struct device_digest digest;
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        device_digest_new(&digest, good[i].scheme, good[i].digest);
        assert_done(keystore_driver_tpm.key_sign(device, keys[good[i].type], &digest.request,
                                                 signature, &size, &err),
                    err);
        assert_int_equal(size, good[i].size);
        assert_true(device_verify(keys[good[i].type], &digest.request, signature, size));
        digest.value[0] ^= 1;
        assert_false(device_verify(keys[good[i].type], &digest.request, signature, size));
    }
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        keystore_driver_tpm.key_close(device, keys[type]);
    }
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void requests_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        enum key_type type;
        enum sign_scheme scheme;
        enum sign_digest digest;
        size_t size;
    } bad[] = {
        {KEY_TYPE_EC_P256, SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA256, 32},
        {KEY_TYPE_EC_P256, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA256, 32},
        {KEY_TYPE_RSA_2048, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 32},
        {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 31},
        {KEY_TYPE_EC_P256, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 48},
        {KEY_TYPE_EC_P384, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 0},
    };
    const struct swtpm *swtpm = *state;
    void *device = device_open(swtpm->tcti, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err;
        const uint8_t value[64] = {0};
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        const struct sign_request request = {bad[i].scheme, bad[i].digest, {value, bad[i].size}};
        struct driver_key *key = device_key(device, bad[i].type);
        assert_int_equal(
            keystore_driver_tpm.key_sign(device, key, &request, signature, &size, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        keystore_driver_tpm.key_close(device, key);
    }
    keystore_driver_tpm.close(device);
}

static void a_salt_that_does_not_fit_is_refused(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    struct device_digest digest;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_RSA_2048);
    device_digest_new(&digest, SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA256);
    device->pss = TPM_PSS_DIFFERS;
    assert_int_equal(
        keystore_driver_tpm.key_sign(device, key, &digest.request, signature, &size, &err), -1);
    assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
    assert_non_null(strstr(err.text, "salt"));
    device->pss = TPM_PSS_UNKNOWN;
    assert_done(keystore_driver_tpm.key_sign(device, key, &digest.request, signature, &size, &err),
                err);
    assert_int_equal(device->pss, TPM_PSS_FITS);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
}

/* A key per slot and many more, in an order that nobody can foresee. */
static void a_hundred_keys_share_three_slots(void **state)
{
    enum { KEYS = 100, SIGNATURES = 400 };
    const struct swtpm *swtpm = *state;
    struct driver_key *keys[KEYS];
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    assert_int_equal(device->cache.limit, 3);
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = device_key(device, i % 2 ? KEY_TYPE_EC_P256 : KEY_TYPE_EC_P384);
    }
    for (size_t i = 0; i < SIGNATURES; i++) {
        uint8_t chosen = 0;
        assert_int_equal(RAND_bytes(&chosen, 1), 1);
        device_assert_signs(device, keys[chosen % KEYS]);
        if (i % 50 == 0) {
            struct device_load load = device_load_of(swtpm->tcti);
            assert_in_range(load.objects, 1, 3);
            assert_int_equal(load.sessions, 1);
        }
    }
    for (size_t i = 0; i < KEYS; i++) {
        keystore_driver_tpm.key_close(device, keys[i]);
    }
    assert_in_range(device_load_of(swtpm->tcti).objects, 0, 1);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void a_used_up_session_is_replaced(void **state)
{
    const struct swtpm *swtpm = *state;
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    device->session.commands = UINT32_MAX;
    device_assert_signs(device, key);
    assert_int_equal(device->session.commands, 1);
    assert_int_equal(device_load_of(swtpm->tcti).sessions, 1);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void lasting_keys_open_again(void **state)
{
    const uint8_t id[16] = {1, 2, 3};
    const struct swtpm *swtpm = *state;
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        struct error err;
        _cleanup_(buffer_clear) struct buffer reference = {0};
        _cleanup_(buffer_clear) struct buffer spki = {0};
        struct driver_key *key = NULL;
        void *device = device_open(swtpm->tcti, NULL);
        assert_done(keystore_driver_tpm.key_generate(device, type, id, &key, &err), err);
        assert_true(key->is_lasting);
        assert_memory_equal(key->id, id, sizeof(id));
        device_assert_signs(device, key);
        keystore_driver_tpm.key_reference(device, key, &reference);
        buffer_append(&spki, key->spki.data, key->spki.size);
        keystore_driver_tpm.key_close(device, key);
        keystore_driver_tpm.close(device);

        device = device_open(swtpm->tcti, NULL);
        assert_done(
            keystore_driver_tpm.key_open(device, type, id, buffer_bytes(&reference), &key, &err),
            err);
        assert_true(key->is_lasting);
        assert_true(bytes_is_equal(buffer_bytes(&key->spki), buffer_bytes(&spki)));
        device_assert_signs(device, key);
        assert_done(keystore_driver_tpm.destroy_id(device, id, &err), err);
        keystore_driver_tpm.key_close(device, key);
        keystore_driver_tpm.close(device);
    }
    device_assert_empty(swtpm->tcti);
}

static void another_tpm_does_not_open_a_key(void **state)
{
    const uint8_t id[16] = {9};
    const struct swtpm *swtpm = *state;
    struct swtpm other;
    struct error err;
    struct driver_key *key = NULL;
    _cleanup_(buffer_clear) struct buffer reference = {0};
    void *device = device_open(swtpm->tcti, NULL);
    assert_done(keystore_driver_tpm.key_generate(device, KEY_TYPE_EC_P256, id, &key, &err), err);
    keystore_driver_tpm.key_reference(device, key, &reference);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);

    swtpm_new(&other);
    device = device_open(other.tcti, NULL);
    assert_int_equal(keystore_driver_tpm.key_open(device, KEY_TYPE_EC_P256, id,
                                                  buffer_bytes(&reference), &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, "another TPM"));
    keystore_driver_tpm.close(device);
    device_assert_empty(other.tcti);
    swtpm_remove(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_verify),
        cmocka_unit_test(requests_that_do_not_fit_are_refused),
        cmocka_unit_test(a_salt_that_does_not_fit_is_refused),
        cmocka_unit_test(a_hundred_keys_share_three_slots),
        cmocka_unit_test(a_used_up_session_is_replaced),
        cmocka_unit_test(lasting_keys_open_again),
        cmocka_unit_test(another_tpm_does_not_open_a_key),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
