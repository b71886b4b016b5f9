/* The driver under the keystore: what users of keystore.h see when the module's process dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>

#include "lib/base/clock.h"
#include "tests/unit/pkcs11/module/fixture.h"

enum { WAIT_S = 20 };

/* Told by the keystore whenever its state changes. */
struct watcher {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void tell(struct keystore *keystore, void *user)
{
    struct watcher *watcher = user;
    (void)keystore;
    (void)pthread_mutex_lock(&watcher->lock);
    (void)pthread_cond_broadcast(&watcher->changed);
    (void)pthread_mutex_unlock(&watcher->lock);
}

static bool wait_for_state(struct keystore *keystore, struct watcher *watcher,
                           enum keystore_state wanted)
{
    struct keystore_status status;
    struct timespec until;
    int result = 0;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    (void)pthread_mutex_lock(&watcher->lock);
    keystore_status(keystore, &status);
    while (status.state != wanted && result == 0) {
        result = pthread_cond_timedwait(&watcher->changed, &watcher->lock, &until);
        keystore_status(keystore, &status);
    }
    (void)pthread_mutex_unlock(&watcher->lock);
    return status.state == wanted;
}

static int sign(struct key *key, struct error *err)
{
    static const uint8_t digest[32] = {5};
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, sizeof(digest)}};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    return key_sign(key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, err);
}

static pid_t find_host(void)
{
    _cleanup_(free_cleanup) char *pattern = text_format("PPid:\t%d\n", getpid());
    DIR *processes = opendir("/proc");
    pid_t host = 0;
    const struct dirent *entry;
    while ((entry = readdir(processes))) {
        _cleanup_(free_cleanup) char *path = text_format("/proc/%s/status", entry->d_name);
        _cleanup_(buffer_clear) struct buffer status = {0};
        if (buffer_read_file(path, 65536, &status, NULL) == 0 &&
            memmem(status.data, status.size, pattern, strlen(pattern))) {
            host = (pid_t)strtol(entry->d_name, NULL, 10);
        }
    }
    (void)closedir(processes);
    return host;
}

static void test_process_killed(void **unused)
{
    (void)unused;
    static const uint8_t id[16] = {99};
    struct watcher watcher = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
    struct module_config module = fixture_config();
    module.is_isolated = true;
    const struct keystore_config config = {
        .name = "hsm", .driver = &keystore_driver_module, .driver_config = &module};
    struct keystore *keystore = NULL;
    struct key *lasting = NULL;
    struct key *ephemeral = NULL;
    struct error err = {0};
    assert_int_equal(keystore_new(&config, &keystore, &err), 0);
    keystore_on_change(keystore, tell, &watcher);
    assert_int_equal(keystore_protection(keystore), KEY_PROTECTION_HARDWARE);
    assert_int_equal(keystore_key_generate(keystore, KEY_TYPE_EC_P256, id, KEYSTORE_PRIORITY_ISSUE,
                                           &lasting, &err),
                     0);
    assert_int_equal(keystore_key_generate(keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &ephemeral, &err),
                     0);
    assert_int_equal(sign(lasting, &err), 0);
    assert_int_equal(sign(ephemeral, &err), 0);

    assert_int_equal(kill(find_host(), SIGKILL), 0);
    assert_int_equal(sign(lasting, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_true(wait_for_state(keystore, &watcher, KEYSTORE_STATE_READY));
    assert_true(key_is_alive(lasting));
    assert_false(key_is_alive(ephemeral));
    assert_int_equal(sign(lasting, &err), 0);
    assert_int_equal(sign(ephemeral, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);

    key_unref(lasting);
    key_unref(ephemeral);
    assert_int_equal(keystore_destroy_id(keystore, id, &err), 0);
    keystore_free(keystore);
    assert_int_equal(find_host(), 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--module-host") == 0) {
        _exit(module_host_main(argv[2]));
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_killed),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
