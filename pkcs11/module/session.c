#include "pkcs11/module/session.h"

#include <string.h>

#include "lib/base/log.h"

void module_sessions_init(struct module_sessions *sessions, struct module_library *library,
                          const struct module_where *where, unsigned count)
{
    memset(sessions, 0, sizeof(*sessions));
    sessions->library = library;
    sessions->where = where;
    sessions->count = count;
    (void)pthread_mutex_init(&sessions->lock, NULL);
    (void)pthread_mutex_init(&sessions->objects_lock, NULL);
    (void)pthread_cond_init(&sessions->given, NULL);
    for (unsigned i = 0; i < count; i++) {
        sessions->items[i].lane = i;
        sessions->items[i].functions = module_library_lane(library, i);
    }
    sessions->objects.lane = count;
    sessions->objects.functions = module_library_lane(library, count);
}

/* Others look at is_open of a session that is taken, too. */
static void set_open(struct module_sessions *sessions, struct module_session *session, bool is_open)
{
    (void)pthread_mutex_lock(&sessions->lock);
    session->is_open = is_open;
    (void)pthread_mutex_unlock(&sessions->lock);
}

static void close_session(struct module_sessions *sessions, struct module_session *session)
{
    if (session->is_open) {
        module_library_call_begin(sessions->library, session->lane);
        (void)session->functions->C_CloseSession(session->handle);
        module_library_call_end(sessions->library, session->lane);
        set_open(sessions, session, false);
    }
}

void module_sessions_close(struct module_sessions *sessions)
{
    for (unsigned i = 0; i < sessions->count; i++) {
        close_session(sessions, &sessions->items[i]);
    }
    close_session(sessions, &sessions->objects);
}

void module_sessions_clear(struct module_sessions *sessions)
{
    module_sessions_close(sessions);
    (void)pthread_mutex_destroy(&sessions->lock);
    (void)pthread_mutex_destroy(&sessions->objects_lock);
    (void)pthread_cond_destroy(&sessions->given);
}

static CK_RV open_session(struct module_sessions *sessions, struct module_session *session,
                          CK_FLAGS flags)
{
    CK_RV rv = session->functions->C_OpenSession(sessions->slot, CKF_SERIAL_SESSION | flags, NULL,
                                                 NULL, &session->handle);
    if (rv == CKR_OK) {
        set_open(sessions, session, true);
    }
    return rv;
}

int module_sessions_open_objects(struct module_sessions *sessions, CK_SLOT_ID slot,
                                 bool needs_login, struct error *err)
{
    struct module_session *session = &sessions->objects;
    session->needs_login = needs_login;
    for (unsigned i = 0; i < sessions->count; i++) {
        sessions->items[i].needs_login = needs_login;
    }
    sessions->slot = slot;
    module_library_call_begin(sessions->library, session->lane);
    CK_RV rv = open_session(sessions, session, CKF_RW_SESSION);
    if (rv == CKR_TOKEN_WRITE_PROTECTED) {
        log_info("token is read-only module=%s token=%s", sessions->where->module,
                 sessions->where->token);
        rv = open_session(sessions, session, 0);
    }
    module_library_call_end(sessions->library, session->lane);
    return rv == CKR_OK ? 0 : module_status_set(err, rv, "C_OpenSession", sessions->where);
}

CK_RV module_session_check(const struct module_session *session, const struct module_where *where,
                           struct error *err)
{
    CK_SESSION_INFO info = {0};
    CK_RV rv = session->functions->C_GetSessionInfo(session->handle, &info);
    if (rv == CKR_OK && session->needs_login && info.state != CKS_RO_USER_FUNCTIONS &&
        info.state != CKS_RW_USER_FUNCTIONS) {
        rv = CKR_USER_NOT_LOGGED_IN;
    }
    if (rv != CKR_OK) {
        (void)module_status_set(err, rv, "C_GetSessionInfo", where);
    }
    return rv;
}

/* With the lock held. An open one before one that is to be opened. */
static struct module_session *find_free(struct module_sessions *sessions, bool may_open)
{
    struct module_session *closed = NULL;
    for (unsigned i = 0; i < sessions->count; i++) {
        struct module_session *session = &sessions->items[i];
        if (!session->is_taken && session->is_open) {
            return session;
        }
        if (!session->is_taken) {
            closed = session;
        }
    }
    return may_open ? closed : NULL;
}

/* With the lock held. */
static bool is_any_open(const struct module_sessions *sessions)
{
    for (unsigned i = 0; i < sessions->count; i++) {
        if (sessions->items[i].is_open) {
            return true;
        }
    }
    return false;
}

static struct module_session *wait_for_free(struct module_sessions *sessions, bool *may_open)
{
    struct module_session *session = NULL;
    (void)pthread_mutex_lock(&sessions->lock);
    *may_open = *may_open || !is_any_open(sessions);
    while (!(session = find_free(sessions, *may_open))) {
        (void)pthread_cond_wait(&sessions->given, &sessions->lock);
        *may_open = *may_open || !is_any_open(sessions);
    }
    session->is_taken = true;
    (void)pthread_mutex_unlock(&sessions->lock);
    return session;
}

CK_RV module_sessions_take(struct module_sessions *sessions, struct module_session **ret_session,
                           struct error *err)
{
    bool may_open = true;
    for (;;) {
        struct module_session *session = wait_for_free(sessions, &may_open);
        module_library_call_begin(sessions->library, session->lane);
        CK_RV rv = session->is_open ? CKR_OK : open_session(sessions, session, 0);
        if (rv == CKR_OK) {
            *ret_session = session;
            return CKR_OK;
        }
        module_sessions_give(sessions, session, false);
        bool was_full = rv == CKR_SESSION_COUNT && may_open;
        may_open = false;
        (void)pthread_mutex_lock(&sessions->lock);
        bool may_wait = was_full && is_any_open(sessions);
        (void)pthread_mutex_unlock(&sessions->lock);
        if (!may_wait) {
            (void)module_status_set(err, rv, "C_OpenSession", sessions->where);
            return rv;
        }
    }
}

void module_sessions_give(struct module_sessions *sessions, struct module_session *session,
                          bool is_good)
{
    if (!is_good) {
        close_session(sessions, session);
    }
    module_library_call_end(sessions->library, session->lane);
    (void)pthread_mutex_lock(&sessions->lock);
    session->is_taken = false;
    (void)pthread_cond_broadcast(&sessions->given);
    (void)pthread_mutex_unlock(&sessions->lock);
}

struct module_session *module_sessions_take_objects(struct module_sessions *sessions)
{
    (void)pthread_mutex_lock(&sessions->objects_lock);
    module_library_call_begin(sessions->library, sessions->objects.lane);
    return &sessions->objects;
}

void module_sessions_give_objects(struct module_sessions *sessions)
{
    module_library_call_end(sessions->library, sessions->objects.lane);
    (void)pthread_mutex_unlock(&sessions->objects_lock);
}
