#include "pkcs11/module/login.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "lib/base/log.h"
#include "pkcs11/module/host_protocol.h"

enum { REFUSED_MAX = 64, DIGEST_BYTES = 32 };

/* The PINs that tokens refused, as keyed hashes in guarded memory. It belongs to the process and
 * not to a keystore, because the token counts the tries of all keystores and of each time one is
 * opened. */
static struct {
    pthread_mutex_t lock; /* also held while a PIN is tried, so that two never try one at once */
    struct secret memory; /* the key, then the digests */
    size_t count;
} refused = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint8_t *refused_digest(size_t index)
{
    return refused.memory.data + DIGEST_BYTES * (1 + index);
}

static int prepare_refused(struct error *err)
{
    if (!refused.memory.data) {
        TRY(secret_new((size_t)DIGEST_BYTES * (1 + REFUSED_MAX), &refused.memory, err));
        randombytes_buf(refused.memory.data, DIGEST_BYTES);
    }
    return 0;
}

static void digest_pin(const struct module_token *token, const struct secret *pin,
                       uint8_t digest[DIGEST_BYTES])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, refused.memory.data, DIGEST_BYTES, DIGEST_BYTES);
    (void)crypto_generichash_update(&state, token->identity, sizeof(token->identity));
    (void)crypto_generichash_update(&state, pin->data, pin->size);
    (void)crypto_generichash_final(&state, digest, DIGEST_BYTES);
    sodium_memzero(&state, sizeof(state));
}

static bool was_refused(const uint8_t digest[DIGEST_BYTES])
{
    for (size_t i = 0; i < refused.count; i++) {
        if (sodium_memcmp(refused_digest(i), digest, DIGEST_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static int refuse(struct error *err, const struct module_where *where, const char *pin_path,
                  const char *reason)
{
    return error_set(err, ERROR_FAILED_PRECONDITION,
                     "logging in to token \"%s\" of module %s with the PIN in %s: %s", where->token,
                     where->module, pin_path, reason);
}

static int check_before(const struct module_token *token, const struct module_where *where,
                        const char *pin_path, const struct secret *pin, struct error *err)
{
    if (pin->size == 0 || pin->size > HOST_PIN_MAX_BYTES || pin->size < token->pin_min_bytes ||
        (token->pin_max_bytes > 0 && pin->size > token->pin_max_bytes)) {
        return refuse(err, where, pin_path,
                      "not tried, because its length is none that the token allows; put the right "
                      "PIN into the file");
    }
    if (!(token->flags & CKF_USER_PIN_INITIALIZED)) {
        return refuse(err, where, pin_path,
                      "the token has no user PIN yet; set it with the token's own tool");
    }
    if (token->flags & CKF_USER_PIN_LOCKED) {
        return refuse(err, where, pin_path,
                      "the PIN is locked after too many wrong ones; unlock the token with its "
                      "security officer's PIN");
    }
    if (token->flags & CKF_USER_PIN_FINAL_TRY) {
        return refuse(err, where, pin_path,
                      "not tried, because one more wrong PIN locks the token; check the file, and "
                      "log in once with the token's own tool, which resets the count");
    }
    if (token->flags & CKF_USER_PIN_COUNT_LOW) {
        log_warning("a wrong PIN was tried since the last login module=%s token=%s", where->module,
                    where->token);
    }
    return 0;
}

static bool is_pin_wrong(CK_RV rv)
{
    return rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE;
}

/* With the lock held. */
static int try_pin(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                   const struct module_token *token, const struct module_where *where,
                   const char *pin_path, const struct secret *pin, struct error *err)
{
    uint8_t digest[DIGEST_BYTES];
    digest_pin(token, pin, digest);
    if (was_refused(digest)) {
        return refuse(
            err, where, pin_path,
            "not tried, because the token refused this PIN before and would lock; put "
            "the right PIN into the file (if this one has become right: restart signetd)");
    }
    if (refused.count == REFUSED_MAX) {
        return refuse(err, where, pin_path,
                      "not tried, because too many wrong PINs were tried already; restart signetd");
    }
    CK_RV rv = module_library_login(library, lane, session, pin);
    if (is_pin_wrong(rv)) {
        memcpy(refused_digest(refused.count++), digest, DIGEST_BYTES);
        return refuse(err, where, pin_path,
                      "the token says that it is wrong; it is not tried again. Put the right PIN "
                      "into the file");
    }
    if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
        return module_status_set(err, rv, "C_Login", where);
    }
    return 0;
}

static int login_without_file(struct module_library *library, unsigned lane,
                              CK_SESSION_HANDLE session, const struct module_token *token,
                              const struct module_where *where, struct error *err)
{
    if (!(token->flags & CKF_LOGIN_REQUIRED)) {
        return 0;
    }
    if (!(token->flags & CKF_PROTECTED_AUTHENTICATION_PATH)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "logging in to token \"%s\" of module %s: it wants a PIN and none is "
                         "configured; set pin = \"file:...\"",
                         where->token, where->module);
    }
    CK_RV rv = module_library_login(library, lane, session, NULL);
    if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
        return module_status_set(err, rv, "C_Login", where);
    }
    return 0;
}

/* One byte more than is of use, to see that there is too much. */
static int read_pin(const struct module_config *config, struct secret *ret_pin, struct error *err)
{
    const size_t limit_bytes = HOST_PIN_MAX_BYTES + 1;
    return config->read_pin
               ? config->read_pin(config->pin_user, config->pin_path, limit_bytes, ret_pin, err)
               : secret_read_file(config->pin_path, limit_bytes, ret_pin, err);
}

int module_login(struct module_library *library, unsigned lane, CK_SESSION_HANDLE session,
                 const struct module_token *token, const struct module_where *where,
                 const struct module_config *config, struct error *err)
{
    const char *pin_path = config->pin_path;
    if (!pin_path) {
        return login_without_file(library, lane, session, token, where, err);
    }
    _cleanup_(secret_clear) struct secret pin = {0};
    TRY(read_pin(config, &pin, err));
    TRY(check_before(token, where, pin_path, &pin, err));
    (void)pthread_mutex_lock(&refused.lock);
    int result = prepare_refused(err);
    if (result == 0) {
        result = try_pin(library, lane, session, token, where, pin_path, &pin, err);
    }
    (void)pthread_mutex_unlock(&refused.lock);
    return result;
}
