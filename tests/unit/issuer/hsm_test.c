/* The embedded issuer with its keys in a real PKCS#11 token (SoftHSM), for each type of key. */
#include <fcntl.h>
#include <openssl/x509v3.h>
#include <spawn.h>
#include <sys/wait.h>

#include "agent/issuer/x509.h"
#include "lib/base/log.h"
#include "pkcs11/module/module.h"
#include "tests/unit/issuer/fixture.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

DEFINE_CLEANUP(X509, x509, X509_free);

static const char pin[] = "927364";
static const char spiffe_id[] = "spiffe://example.org/a";

static void write_file(const struct fixture *fixture, const char *name, const char *text)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture->folder, name);
    struct error failure;
    assert_int_equal(file_write_atomic(path, bytes_of_text(text), 0600, &failure), 0);
}

static void run(char *const arguments[])
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = -1;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int setup(void **state)
{
    (void)fixture_setup(state);
    const struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *conf =
        text_format("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
                    fixture->keys_dir);
    _cleanup_(free_cleanup) char *conf_path = file_join(fixture->folder, "softhsm2.conf");
    write_file(fixture, "softhsm2.conf", conf);
    write_file(fixture, "pin", pin);
    (void)setenv("SOFTHSM2_CONF", conf_path, 1);
    char *const arguments[] = {(char[]){"softhsm2-util"}, (char[]){"--init-token"},
                               (char[]){"--free"},        (char[]){"--label"},
                               (char[]){"signet"},        (char[]){"--so-pin"},
                               (char[]){"12345678"},      (char[]){"--pin"},
                               (char[]){"927364"},        NULL};
    run(arguments);
    return 0;
}

static void check_svid(struct fixture *fixture)
{
    struct error failure;
    struct fixture_x509 wanted = {0};
    fixture_x509(fixture, fixture_find(fixture, spiffe_id), EVP_EC_gen("P-256"), &wanted);
    if (wanted.is_failed) {
        fail_msg("%s", wanted.failure.text);
    }
    _cleanup_(x509_cleanup) X509 *svid = NULL;
    assert_int_equal(x509_parse(buffer_bytes(&wanted.request.chain), &svid, &failure), 0);
    unsigned signers = 0;
    for (size_t i = 0; i < fixture->bundle->authority_count; i++) {
        _cleanup_(x509_cleanup) X509 *ca = NULL;
        assert_int_equal(x509_parse(buffer_bytes(&fixture->bundle->authorities[i]), &ca, &failure),
                         0);
        signers += X509_verify(svid, X509_get0_pubkey(ca)) == 1;
    }
    assert_int_equal(signers, 1);
    fixture_x509_clear(&wanted);
    struct fixture_jwt token = {0};
    fixture_jwt(fixture, fixture_find(fixture, spiffe_id), "audience", &token);
    if (token.is_failed) {
        fail_msg("%s", token.failure.text);
    }
    fixture_jwt_clear(&token);
}

static void test_token(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_(free_cleanup) char *pin_path = file_join(fixture->folder, "pin");
    const struct module_config config = {
        .module = SOFTHSM, .token = "signet", .pin_path = pin_path, .workers = 4};
    fixture->driver = &keystore_driver_module;
    fixture->driver_config = &config;
    fixture->now_s = 1800000000;
    static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_EC_P384, KEY_TYPE_RSA_2048};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        fixture->config.ca_key_type = fixture->config.jwt_key_type = types[i];
        fixture_open(fixture);
        if (i == 0) {
            assert_false(fixture_add(fixture, fixture_entry(spiffe_id, "unix:uid:1")).is_failed);
        }
        fixture_look(fixture);
        check_svid(fixture);
        /* The same keys after a restart, with the token logged in anew. */
        uint64_t sequence = fixture->bundle->sequence;
        fixture_reopen(fixture);
        assert_int_equal(fixture->bundle->sequence, sequence);
        check_svid(fixture);
        /* The next ones, prepared while these sign, and the end of these. */
        fixture->now_s += 50000;
        fixture->monotonic_ms += 50000000;
        fixture_look(fixture);
        assert_int_equal(fixture->bundle->authority_count, 2);
        check_svid(fixture);
        fixture->now_s += 40000;
        fixture->monotonic_ms += 40000000;
        fixture_look(fixture);
        assert_int_equal(fixture->bundle->authority_count, 1);
        check_svid(fixture);
        fixture_close(fixture);
        fixture->now_s += 200000;
        fixture->monotonic_ms += 200000000;
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_token, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
