#include "pkcs11/module/state.h"

#include <stdatomic.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/module/login.h"

static void init_locks(struct module_state *state)
{
    pthread_rwlockattr_t attributes;
    (void)pthread_rwlockattr_init(&attributes);
    /* Threads that sign without pause must not keep out the one that connects anew. */
    (void)pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&state->lock, &attributes);
    (void)pthread_rwlockattr_destroy(&attributes);
    (void)pthread_mutex_init(&state->keys_lock, NULL);
}

static int select_token(struct module_state *state, struct error *err)
{
    struct module_session *session = &state->sessions.objects;
    module_library_call_begin(state->library, session->lane);
    int result = module_token_select(session->functions, state->config->token, &state->where,
                                     &state->token, err);
    module_library_call_end(state->library, session->lane);
    return result;
}

static int log_in(struct module_state *state, struct error *err)
{
    struct module_session *session = &state->sessions.objects;
    module_library_call_begin(state->library, session->lane);
    int result = module_login(state->library, session->lane, session->handle, &state->token,
                              &state->where, state->config, err);
    module_library_call_end(state->library, session->lane);
    return result;
}

/* Where a module that is_fresh finds a key no more, the key is lost. */
static int find_again(struct module_state *state, struct module_key *key, bool is_fresh,
                      struct error *err)
{
    struct module_pair pair;
    const struct module_session *session = &state->sessions.objects;
    CK_RV rv = module_pair_find(session, &state->where, key->key.id, &pair, err);
    if (rv == CKR_OK) {
        atomic_store(&key->private, pair.private);
        return 0;
    }
    if (module_status_is_lost(rv)) {
        return -1;
    }
    if (!is_fresh) {
        state->must_restart = true;
        return -1;
    }
    log_error("a lasting key is lost keystore=%s reason=\"%s\"", state->keystore, err->text);
    module_state_lose_key(key);
    return 0;
}

static int find_keys_again(struct module_state *state, bool is_fresh, struct error *err)
{
    struct module_key *key;
    int result = 0;
    module_library_call_begin(state->library, state->sessions.objects.lane);
    LIST_FOREACH (key, &state->keys, all) {
        if (result == 0 && key->key.is_lasting && !key->key.is_lost) {
            result = find_again(state, key, is_fresh, err);
        }
    }
    module_library_call_end(state->library, state->sessions.objects.lane);
    return result;
}

/* From nothing to a session that is logged in. With the lock held for writing, or before others
 * know the state. */
static int connect_token(struct module_state *state, bool is_fresh, struct error *err)
{
    int result = select_token(state, err);
    if (result == 0) {
        result = module_sessions_open_objects(&state->sessions, state->token.slot,
                                              state->token.flags & CKF_LOGIN_REQUIRED, err);
    }
    if (result == 0) {
        result = log_in(state, err);
    }
    if (result == 0) {
        result = find_keys_again(state, is_fresh, err);
    }
    if (result == 0) {
        state->is_up = true;
        state->epoch++;
    } else {
        module_sessions_close(&state->sessions);
    }
    return result;
}

int module_state_open(const struct module_config *config, const char *keystore,
                      struct module_state **ret_state, struct error *err)
{
    _cleanup_(module_state_close_cleanup) struct module_state *state = NEW(struct module_state);
    unsigned workers = MIN(MAX(config->workers, 1), MODULE_WORKERS_MAX);
    init_locks(state);
    state->config = config;
    state->keystore = memory_copy_text(keystore);
    state->where.module = config->module;
    TRY(module_library_open(config, keystore, workers + 1, &state->library, err));
    module_sessions_init(&state->sessions, state->library, &state->where, workers);
    state->has_sessions = true;
    TRY(connect_token(state, true, err));
    log_info("token opened keystore=%s module=%s token=%s isolated=%s", keystore, config->module,
             state->where.token, config->is_isolated ? "yes" : "no");
    *ret_state = take_ptr(state);
    return 0;
}

void module_state_close(struct module_state *state)
{
    if (state->has_sessions) {
        module_sessions_clear(&state->sessions);
    }
    if (state->library) {
        module_library_close(state->library);
    }
    (void)pthread_rwlock_destroy(&state->lock);
    (void)pthread_mutex_destroy(&state->keys_lock);
    free(state->keystore);
    free(state);
}

/* With the lock held, at least for reading. */
static int check_alive(struct module_state *state, struct error *err)
{
    if (!state->is_up || state->must_restart) {
        return error_set(err, ERROR_UNAVAILABLE, "the token was lost before");
    }
    const struct module_session *session = module_sessions_take_objects(&state->sessions);
    int result = -1;
    if (module_session_check(session, &state->where, err) == CKR_OK) {
        struct module_token token = state->token;
        result = module_token_check(session->functions, &state->where, &token, err);
    }
    module_sessions_give_objects(&state->sessions);
    return result;
}

/* Whether the process of an isolated module answers on every connection. With the lock held for
 * writing. */
static bool check_lanes(struct module_state *state)
{
    bool is_good = true;
    for (unsigned lane = 0; lane <= state->sessions.count && is_good; lane++) {
        CK_INFO info;
        module_library_call_begin(state->library, lane);
        is_good = module_library_lane(state->library, lane)->C_GetInfo(&info) == CKR_OK;
        module_library_call_end(state->library, lane);
    }
    return is_good;
}

void module_state_lose_key(struct module_key *key)
{
    if (!atomic_exchange(&key->key.is_lost, true)) {
        keystore_driver_keys_lost();
    }
}

/* Session objects end with their session. With the lock held for writing. */
static void disconnect(struct module_state *state)
{
    struct module_key *key;
    LIST_FOREACH (key, &state->keys, all) {
        if (!key->key.is_lasting) {
            module_state_lose_key(key);
        }
    }
    state->is_up = false;
    module_sessions_close(&state->sessions);
}

/* With the lock held for writing. */
static int reconnect(struct module_state *state, bool may_restart, struct error *err)
{
    bool is_isolated = module_library_is_isolated(state->library);
    if (is_isolated && !check_lanes(state)) {
        state->must_restart = true;
    }
    disconnect(state);
    if (!state->must_restart && connect_token(state, false, err) == 0) {
        return 0;
    }
    if (!may_restart) {
        return state->must_restart
                   ? error_set(err, ERROR_UNAVAILABLE, "module %s has to be started anew",
                               state->where.module)
                   : -1;
    }
    state->must_restart = true;
    TRY(module_library_restart(state->library, err));
    state->must_restart = false;
    return connect_token(state, true, err);
}

/* epoch: of the connection that was found bad; when there is a newer one, nothing is done. */
static int recover(struct module_state *state, uint64_t epoch, bool may_restart, struct error *err)
{
    struct error why = {0};
    int result = 0;
    (void)pthread_rwlock_wrlock(&state->lock);
    bool is_done = state->epoch != epoch && state->is_up;
    if (!is_done && check_alive(state, &why) < 0) {
        log_debug("connecting anew keystore=%s reason=\"%s\"", state->keystore, why.text);
        result = reconnect(state, may_restart, err);
        if (result == 0) {
            log_info("token connected anew keystore=%s token=%s reason=\"%s\"", state->keystore,
                     state->where.token, why.text);
        } else {
            err->code = ERROR_UNAVAILABLE;
        }
    }
    (void)pthread_rwlock_unlock(&state->lock);
    return result;
}

int module_state_probe(struct module_state *state, struct error *err)
{
    struct error ignored;
    err = err ? err : &ignored;
    (void)pthread_rwlock_rdlock(&state->lock);
    uint64_t epoch = state->epoch;
    bool is_alive = check_alive(state, err) == 0;
    (void)pthread_rwlock_unlock(&state->lock);
    return is_alive ? 0 : recover(state, epoch, true, err);
}

static CK_RV run_once(struct module_state *state, enum module_session_kind kind,
                      CK_RV (*act)(struct module_state *, const struct module_session *, void *,
                                   struct error *),
                      void *argument, struct error *err)
{
    struct module_session *session = NULL;
    if (!state->is_up) {
        (void)module_status_set(err, CKR_SESSION_CLOSED, "C_OpenSession", &state->where);
        return CKR_SESSION_CLOSED;
    }
    if (kind == MODULE_SESSION_OBJECTS) {
        CK_RV rv = act(state, module_sessions_take_objects(&state->sessions), argument, err);
        module_sessions_give_objects(&state->sessions);
        return rv;
    }
    CK_RV rv = module_sessions_take(&state->sessions, &session, err);
    if (rv == CKR_OK) {
        rv = act(state, session, argument, err);
        module_sessions_give(&state->sessions, session, rv == CKR_OK);
    }
    return rv;
}

int module_state_run(struct module_state *state, enum module_session_kind kind,
                     CK_RV (*act)(struct module_state *state, const struct module_session *session,
                                  void *argument, struct error *err),
                     void *argument, struct error *err)
{
    struct error ignored;
    err = err ? err : &ignored;
    for (int attempt = 0;; attempt++) {
        (void)pthread_rwlock_rdlock(&state->lock);
        uint64_t epoch = state->epoch;
        CK_RV rv = run_once(state, kind, act, argument, err);
        bool may_restart = rv == CKR_CRYPTOKI_NOT_INITIALIZED && !state->config->is_isolated;
        (void)pthread_rwlock_unlock(&state->lock);
        if (rv == CKR_OK) {
            return 0;
        }
        if (attempt > 0 || !module_status_is_lost(rv) ||
            recover(state, epoch, may_restart, err) < 0) {
            return -1;
        }
    }
}

void module_state_add_key(struct module_state *state, struct module_key *key)
{
    (void)pthread_mutex_lock(&state->keys_lock);
    LIST_INSERT_HEAD(&state->keys, key, all);
    (void)pthread_mutex_unlock(&state->keys_lock);
}

void module_state_drop_key(struct module_state *state, struct module_key *key)
{
    (void)pthread_rwlock_rdlock(&state->lock);
    (void)pthread_mutex_lock(&state->keys_lock);
    LIST_REMOVE(key, all);
    (void)pthread_mutex_unlock(&state->keys_lock);
    if (!key->key.is_lasting && !key->key.is_lost && state->is_up) {
        struct error err = {0};
        const struct module_session *session = module_sessions_take_objects(&state->sessions);
        if (module_object_destroy(session, &state->where, key->private, &err) != CKR_OK) {
            log_warning("destroying a key failed keystore=%s reason=\"%s\"", state->keystore,
                        err.text);
        }
        module_sessions_give_objects(&state->sessions);
    }
    (void)pthread_rwlock_unlock(&state->lock);
}
