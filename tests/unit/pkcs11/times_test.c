/* How long work took, as the keystore counts it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "tests/unit/pkcs11/fake_driver.h"

static uint64_t count_of(const struct times *times)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= TIMES_BUCKETS; i++) {
        count += atomic_load(&times->counts[i]);
    }
    return count;
}

static int sign(struct key *key)
{
    const uint8_t digest[32] = {'s'};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, sizeof(digest)}};
    return key_sign(key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, NULL);
}

struct signer {
    pthread_t thread;
    struct key *key;
};

static void *signer_main(void *user)
{
    struct signer *signer = user;
    return sign(signer->key) == 0 ? NULL : signer;
}

static void signatures_and_keys(void **state)
{
    (void)state;
    struct fake fake;
    struct keystore *keystore = NULL;
    struct key *key = NULL;
    fake_init(&fake);
    const struct keystore_config config = {
        .name = "fake", .driver = &fake_driver, .driver_config = &fake};
    assert_int_equal(keystore_new(&config, &keystore, NULL), 0);
    const struct keystore_times *times = keystore_times(keystore);
    assert_int_equal(count_of(&times->signing) + count_of(&times->generating), 0);
    assert_int_equal(keystore_key_generate(keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &key, NULL),
                     0);
    assert_int_equal(count_of(&times->generating), 1);

    /* One signature is in the hardware for a while, and another one waits behind it as long. */
    uint64_t waited = count_of(&times->waiting);
    uint64_t waited_us = atomic_load(&times->waiting.sum_us);
    FAKE_SET(&fake, is_stopped = true);
    struct signer signers[2] = {{.key = key}, {.key = key}};
    for (size_t i = 0; i < ARRAY_SIZE(signers); i++) {
        assert_int_equal(pthread_create(&signers[i].thread, NULL, signer_main, &signers[i]), 0);
        FAKE_UNTIL(&fake, fake.inside == 1);
    }
    struct keystore_status status = {0};
    while (status.waiting == 0) {
        keystore_status(keystore, &status);
        (void)sched_yield();
    }
    uint64_t begin_us = times_now_us();
    while (times_now_us() - begin_us < 3000) {
        (void)sched_yield();
    }
    FAKE_SET(&fake, is_stopped = false);
    for (size_t i = 0; i < ARRAY_SIZE(signers); i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(signers[i].thread, &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(count_of(&times->signing), 2);
    assert_true(atomic_load(&times->signing.sum_us) >= 3000);
    assert_true(count_of(&times->waiting) > waited);
    assert_true(atomic_load(&times->waiting.sum_us) - waited_us >= 3000);

    /* What fails takes time too. */
    FAKE_SET(&fake, is_lost = true);
    assert_int_equal(sign(key), -1);
    assert_int_equal(count_of(&times->signing), 3);
    FAKE_SET(&fake, is_lost = false);
    key_unref(key);
    keystore_free(keystore);
    fake_destroy(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signatures_and_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
