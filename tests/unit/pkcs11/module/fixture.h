/* A SoftHSM token of the test's own, and the driver on it. Include after cmocka.h. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <p11-kit/p11-kit.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "lib/base/text.h"
#include "pkcs11/module/module.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

/* One for the whole program: SoftHSM reads its configuration once a process. */
struct fixture {
    char folder[64];
    char pin[17];
    char *pin_path, *control_path;
};
static struct fixture fixture;

static inline void fixture_write(const char *name, const char *text)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture.folder, name);
    struct error err = {0};
    if (file_write_atomic(path, bytes_of_text(text), 0600, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void fixture_run(char *const arguments[])
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

/* Makes a token; several may have one label. */
static inline void fixture_make_token(const char *label)
{
    _cleanup_(free_cleanup) char *name = memory_copy_text(label);
    char *const arguments[] = {(char[]){"softhsm2-util"},
                               (char[]){"--init-token"},
                               (char[]){"--free"},
                               (char[]){"--label"},
                               name,
                               (char[]){"--so-pin"},
                               (char[]){"12345678"},
                               (char[]){"--pin"},
                               fixture.pin,
                               NULL};
    fixture_run(arguments);
}

static inline int fixture_setup(void **state)
{
    (void)state;
    struct error err = {0};
    uint8_t random[8];
    assert_int_equal(secret_init(&err), 0);
    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/signet-module-test-XXXXXX");
    assert_non_null(mkdtemp(fixture.folder));
    assert_int_equal(getentropy(random, sizeof(random)), 0);
    _cleanup_(free_cleanup) char *pin = text_hex((struct bytes){random, sizeof(random)});
    (void)snprintf(fixture.pin, sizeof(fixture.pin), "%s", pin);
    fixture.pin_path = file_join(fixture.folder, "pin");
    fixture.control_path = file_join(fixture.folder, "control");
    _cleanup_(free_cleanup) char *tokens = file_join(fixture.folder, "tokens");
    _cleanup_(free_cleanup) char *configuration = file_join(fixture.folder, "softhsm2.conf");
    assert_int_equal(mkdir(tokens, 0700), 0);
    _cleanup_(free_cleanup) char *text = text_format(
        "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens);
    fixture_write("softhsm2.conf", text);
    fixture_write("pin", pin);
    (void)setenv("SOFTHSM2_CONF", configuration, 1);
    (void)setenv("SIGNET_FAULTY_MODULE", SOFTHSM, 1);
    (void)setenv("SIGNET_FAULTY_CONTROL", fixture.control_path, 1);
    fixture_make_token("signet");
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *status, int kind,
                                 struct FTW *position)
{
    (void)status;
    (void)kind;
    (void)position;
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    (void)nftw(fixture.folder, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture.pin_path);
    free(fixture.control_path);
    return 0;
}

static inline struct module_config fixture_config(void)
{
    return (struct module_config){
        .module = SOFTHSM, .token = "signet", .pin_path = fixture.pin_path, .workers = 4};
}

static inline void *fixture_open(const struct module_config *config)
{
    void *state = NULL;
    struct error err = {0};
    if (keystore_driver_module.open(config, "test", &state, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return state;
}

/* The error of an open that has to fail. */
static inline struct error fixture_open_error(const struct module_config *config)
{
    void *state = NULL;
    struct error err = {0};
    assert_int_equal(keystore_driver_module.open(config, "test", &state, &err), -1);
    assert_null(state);
    return err;
}

static inline struct driver_key *fixture_generate(void *state, enum key_type type,
                                                  const uint8_t *id)
{
    struct driver_key *key = NULL;
    struct error err = {0};
    if (keystore_driver_module.key_generate(state, type, id, &key, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(key->type, type);
    assert_int_equal(key->is_lasting, id != NULL);
    assert_false(key->is_lost);
    return key;
}

/* Signs a SHA-256 digest in the scheme that is natural for the key. */
static inline int fixture_sign(void *state, struct driver_key *key, struct error *err)
{
    static const uint8_t digest[32] = {1, 2, 3};
    const struct sign_request request = {key->type == KEY_TYPE_RSA_2048 ? SIGN_SCHEME_RSA_PSS
                                                                        : SIGN_SCHEME_ECDSA,
                                         SIGN_DIGEST_SHA256,
                                         {digest, sizeof(digest)}};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    return keystore_driver_module.key_sign(state, key, &request, signature, &size, err);
}

static inline void fixture_sign_well(void *state, struct driver_key *key)
{
    struct error err = {0};
    if (fixture_sign(state, key, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

/* How many entries a folder of /proc/self has: fd, task. */
static inline size_t fixture_count_own(const char *folder)
{
    _cleanup_(free_cleanup) char *path = text_format("/proc/self/%s", folder);
    DIR *entries = opendir(path);
    size_t count = 0;
    assert_non_null(entries);
    while (readdir(entries)) {
        count++;
    }
    (void)closedir(entries);
    return count;
}
