/* The sessions with one token: a few to sign with, opened when needed, and one that stays open, to
 * which all session objects belong. */
#pragma once

#include <pthread.h>

#include "pkcs11/module/library.h"
#include "pkcs11/module/status.h"

enum { MODULE_WORKERS_MAX = 16 };

struct module_session {
    CK_FUNCTION_LIST *functions;
    CK_SESSION_HANDLE handle;
    unsigned lane;
    bool is_open, is_taken;
    bool needs_login; /* private objects are seen only after a login */
};

struct module_sessions {
    struct module_library *library;   /* borrowed */
    const struct module_where *where; /* borrowed */
    CK_SLOT_ID slot;
    unsigned count; /* of those to sign with */
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct module_session items[MODULE_WORKERS_MAX];
    struct module_session objects;
    pthread_mutex_t objects_lock; /* held while the session of objects is used */
};

void module_sessions_init(struct module_sessions *sessions, struct module_library *library,
                          const struct module_where *where, unsigned count);
/* Closes all; none may be taken. */
void module_sessions_close(struct module_sessions *sessions);
void module_sessions_clear(struct module_sessions *sessions);

/* Opens the session of objects, for reading and writing where the token allows it. */
int module_sessions_open_objects(struct module_sessions *sessions, CK_SLOT_ID slot,
                                 bool needs_login, struct error *err);

/* Whether the session lives and is logged in. Whatever seems to be missing on a token is only
 * missing when this is so: a session without login does not see it. */
CK_RV module_session_check(const struct module_session *session, const struct module_where *where,
                           struct error *err);

/* A session of the caller's own until it is given back; waits for one when the token allows no
 * more. An isolated module has timeout_ms until it is given back. */
CK_RV module_sessions_take(struct module_sessions *sessions, struct module_session **ret_session,
                           struct error *err);
/* is_good false: an operation failed in it, so it is closed. */
void module_sessions_give(struct module_sessions *sessions, struct module_session *session,
                          bool is_good);

/* The same for the one session of objects. */
struct module_session *module_sessions_take_objects(struct module_sessions *sessions);
void module_sessions_give_objects(struct module_sessions *sessions);
