/* A keystore's token, kept usable: sessions and login are made anew after they were lost, and the
 * keys found again or marked as lost. */
#pragma once

#include <sys/queue.h>

#include "pkcs11/driver.h"
#include "pkcs11/module/object.h"
#include "pkcs11/module/token.h"

struct module_key {
    struct driver_key key;
    _Atomic CK_OBJECT_HANDLE private;
    LIST_ENTRY(module_key) all;
};

struct module_state {
    const struct module_config *config;
    char *keystore;
    struct module_library *library;
    struct module_sessions sessions;
    bool has_sessions; /* initialized */

    /* Read by whoever uses the token, written by whoever connects anew. */
    pthread_rwlock_t lock;
    bool is_up;
    /* The module has to be started anew: its process ended, or it misses a key that it has to have.
     * Only what a module says after a fresh start ends the life of a lasting key. */
    _Atomic bool must_restart;
    uint64_t epoch; /* how often it was connected */
    struct module_where where;
    struct module_token token;

    pthread_mutex_t keys_lock;
    LIST_HEAD(, module_key) keys;
};

int module_state_open(const struct module_config *config, const char *keystore,
                      struct module_state **ret_state, struct error *err);
/* No key may be left. */
void module_state_close(struct module_state *state);
DEFINE_CLEANUP(struct module_state, module_state_close, module_state_close);

/* Whether the token answers, with the login in place; connects anew when not, for which an isolated
 * module is started anew where it must be. */
int module_state_probe(struct module_state *state, struct error *err);

enum module_session_kind { MODULE_SESSION_ANY, MODULE_SESSION_OBJECTS };

/* Runs act with a session. When it fails in a way that a new session or login may cure, connects
 * anew and runs it once more. act sets err unless it returns CKR_OK. */
int module_state_run(struct module_state *state, enum module_session_kind kind,
                     CK_RV (*act)(struct module_state *state, const struct module_session *session,
                                  void *argument, struct error *err),
                     void *argument, struct error *err);

/* Puts the key on the list of those to find again; called by an act. */
void module_state_add_key(struct module_state *state, struct module_key *key);
/* Takes it off again and, of an ephemeral key, destroys the token's part. */
void module_state_drop_key(struct module_state *state, struct module_key *key);
/* Marks the key as lost and tells the keystore. */
void module_state_lose_key(struct module_key *key);
