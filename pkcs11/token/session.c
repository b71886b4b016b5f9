#include "pkcs11/token/session.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

static int compare_handle(const void *key, const void *item)
{
    CK_SESSION_HANDLE handle = *(const CK_SESSION_HANDLE *)key;
    const struct session *session = item;
    return (handle > session->handle) - (handle < session->handle);
}

struct session *session_find(struct token_caller *caller, CK_SESSION_HANDLE handle)
{
    return caller->session_count == 0 ? NULL
                                      : bsearch(&handle, caller->sessions, caller->session_count,
                                                sizeof(struct session), compare_handle);
}

struct session *session_add(struct token_caller *caller, CK_SESSION_HANDLE handle, CK_FLAGS flags)
{
    caller->sessions =
        memory_resize_array(caller->sessions, caller->session_count + 1, sizeof(struct session));
    struct session *session = &caller->sessions[caller->session_count++];
    *session = (struct session){.handle = handle, .flags = flags};
    return session;
}

size_t session_count_writing(const struct token_caller *caller)
{
    size_t count = 0;
    for (size_t i = 0; i < caller->session_count; i++) {
        count += (caller->sessions[i].flags & CKF_RW_SESSION) != 0;
    }
    return count;
}

/* ssh opens sessions for writing; that nothing can be written shows when somebody tries. */
CK_RV token_open_session(struct token_caller *caller, CK_SLOT_ID slot, CK_FLAGS flags,
                         CK_SESSION_HANDLE *ret_session)
{
    if (slot != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    if (!(flags & CKF_SERIAL_SESSION)) {
        return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
    }
    if (caller->session_count == TOKEN_SESSIONS_MAX) {
        return CKR_SESSION_COUNT;
    }
    *ret_session = ++caller->last_session;
    (void)session_add(caller, *ret_session, flags & (CKF_SERIAL_SESSION | CKF_RW_SESSION));
    return CKR_OK;
}

/* A signature at the keystore comes back to a session that is not there any more. */
static void end(struct session *session)
{
    sign_operation_end(session);
    buffer_clear(&session->found);
}

CK_RV token_close_session(struct token_caller *caller, CK_SESSION_HANDLE session)
{
    struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    end(found);
    size_t behind = caller->session_count - (size_t)(found - caller->sessions) - 1;
    memmove(found, found + 1, behind * sizeof(*found));
    caller->session_count--;
    return CKR_OK;
}

CK_RV token_close_all_sessions(struct token_caller *caller, CK_SLOT_ID slot)
{
    if (slot != TOKEN_SLOT_ID) {
        return CKR_SLOT_ID_INVALID;
    }
    for (size_t i = 0; i < caller->session_count; i++) {
        end(&caller->sessions[i]);
    }
    free(take_ptr(caller->sessions));
    caller->session_count = 0;
    return CKR_OK;
}

CK_RV token_get_session_info(struct token_caller *caller, CK_SESSION_HANDLE session,
                             CK_SESSION_INFO *ret_info)
{
    const struct session *found = session_find(caller, session);
    if (!found) {
        return CKR_SESSION_HANDLE_INVALID;
    }
    *ret_info = (CK_SESSION_INFO){
        .slotID = TOKEN_SLOT_ID,
        .state = found->flags & CKF_RW_SESSION ? CKS_RW_PUBLIC_SESSION : CKS_RO_PUBLIC_SESSION,
        .flags = found->flags,
    };
    return CKR_OK;
}

CK_RV token_login(struct token_caller *caller, CK_SESSION_HANDLE session, CK_USER_TYPE user)
{
    (void)user;
    return session_find(caller, session) ? CKR_OK : CKR_SESSION_HANDLE_INVALID;
}

CK_RV token_logout(struct token_caller *caller, CK_SESSION_HANDLE session)
{
    return session_find(caller, session) ? CKR_OK : CKR_SESSION_HANDLE_INVALID;
}
