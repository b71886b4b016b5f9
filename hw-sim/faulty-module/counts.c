/* What the module behind holds: the sessions opened through this one that it still knows, and the
 * objects that one more of them sees. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "hw-sim/faulty-module/faulty_module.h"

enum { SESSIONS_MAX = 4096, FOUND_MAX = 64, PATH_MAX_BYTES = 4096 };

static struct {
    pthread_mutex_t lock;
    CK_SESSION_HANDLE sessions[SESSIONS_MAX];
    size_t count;
} opened = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* With the lock held: how they ended does not matter. */
static void forget_ended(CK_SLOT_ID *ret_slot)
{
    CK_SESSION_INFO info;
    size_t kept = 0;
    for (size_t i = 0; i < opened.count; i++) {
        if (faulty_real()->C_GetSessionInfo(opened.sessions[i], &info) == CKR_OK) {
            opened.sessions[kept++] = opened.sessions[i];
            *ret_slot = info.slotID;
        }
    }
    opened.count = kept;
}

void faulty_count_session(CK_SESSION_HANDLE session)
{
    CK_SLOT_ID slot;
    (void)pthread_mutex_lock(&opened.lock);
    if (opened.count == SESSIONS_MAX) {
        forget_ended(&slot);
    }
    if (opened.count < SESSIONS_MAX) {
        opened.sessions[opened.count++] = session;
    }
    (void)pthread_mutex_unlock(&opened.lock);
}

static CK_ULONG count_objects(CK_SLOT_ID slot)
{
    CK_FUNCTION_LIST *real = faulty_real();
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE found[FOUND_MAX];
    CK_ULONG count = 0;
    CK_ULONG more = 0;
    if (real->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK) {
        return 0;
    }
    if (real->C_FindObjectsInit(session, NULL, 0) == CKR_OK) {
        while (real->C_FindObjects(session, found, FOUND_MAX, &more) == CKR_OK && more > 0) {
            count += more;
        }
        (void)real->C_FindObjectsFinal(session);
    }
    (void)real->C_CloseSession(session);
    return count;
}

void faulty_write_counts(const char *control)
{
    char path[PATH_MAX_BYTES];
    char new_path[PATH_MAX_BYTES];
    CK_SLOT_ID slot = 0;
    (void)pthread_mutex_lock(&opened.lock);
    forget_ended(&slot);
    /* Without a session nobody is logged in, and there is nothing but what lasts. */
    CK_ULONG objects = opened.count > 0 ? count_objects(slot) : 0;
    (void)snprintf(path, sizeof(path), "%s.counts", control);
    (void)snprintf(new_path, sizeof(new_path), "%s.counts.new", control);
    FILE *file = fopen(new_path, "we");
    if (file) {
        (void)fprintf(file, "sessions %zu objects %lu\n", opened.count, objects);
        (void)fclose(file);
        (void)rename(new_path, path);
    }
    (void)pthread_mutex_unlock(&opened.lock);
}
