/* The token as one connected process sees it: its sessions, searches and signatures. PKCS#11
 * semantics without the wire; the dispatcher (dispatch.h) decodes calls and comes here.
 * Dispatcher's thread only, but for what view.h shares. Everything a process can make grow is
 * bounded here. */
#pragma once

#include <p11-kit/pkcs11.h>
#include <sys/types.h>

#include "lib/base/bytes.h"
#include "lib/base/mailbox.h"
#include "pkcs11/token/guard.h"
#include "pkcs11/token/view.h"

/* One slot, always present. */
enum { TOKEN_SLOT_ID = 1 };
enum {
    TOKEN_SESSIONS_MAX = 256,      /* of one connection: then CKR_SESSION_COUNT */
    TOKEN_FIND_RESULTS_MAX = 4096, /* handles that one search yields */
    TOKEN_SIGN_DATA_MAX = 1024,    /* of operations that do not hash */
    TOKEN_QUESTIONS_MAX = 64,      /* not yet decided: then CKR_DEVICE_MEMORY */
    TOKEN_PIN_MS = 1000,           /* how long searches of one connection see one generation */
    /* Withdrawn keys whose handles are told from wrong ones: as many as it had at once, but not
     * less nor more than these. */
    TOKEN_REMEMBERED_MIN = 64,
    TOKEN_REMEMBERED_MAX = 4096,
};

struct token_caller;

struct token_caller_config {
    struct mailbox *mailbox; /* where finished signatures come back, on the dispatcher's thread */
    uint64_t flow;           /* keystore_job's: one for each process */
    /* NULL, or counts signatures that have not come back, also when their caller is freed: until it
     * is 0 again the mailbox must live and be delivered from. Questions that nobody has answered do
     * not count any more once their caller is freed. Dispatcher's thread. */
    size_t *under_way;
};

struct token_caller *token_caller_new(const struct token_caller_config *config);
/* Signatures under way are abandoned: their done never runs. */
void token_caller_free(struct token_caller *caller);
/* Both referenced. NULL or an empty view: nothing on the token. What the new view does not have is
 * refused from now on, also to those in the middle of an operation (CKR_KEY_FUNCTION_NOT_PERMITTED
 * for keys). The guard takes the place of the one before and is asked for signatures from now on;
 * NULL: what the view allows is admitted. */
void token_caller_set_view(struct token_caller *caller, struct token_view *view,
                           struct token_guard *guard);

/* What the connection would miss after a restart of the agent: its sessions with their handles and
 * operations. Appended; restore is for a caller without sessions, and for bytes that are not
 * trusted further than to be our own. Errors of restore: DataLoss. */
void token_caller_save(const struct token_caller *caller, struct buffer *ret_state);
/* Tells the guard of a process that wrote into a connection which is not its own. */
void token_caller_trespassed(struct token_caller *caller, pid_t pid, uid_t uid, gid_t gid);
/* Whether a guard has not decided yet about a signature. */
bool token_caller_is_asking(const struct token_caller *caller);
/* Undoes the one call of token_sign that is under way, if a guard has not decided about it: its
 * done does not run, and the call can be made again, also after save and restore. False: there is
 * none, or it cannot be made again, as when all its data was hashed already. */
bool token_caller_take_back(struct token_caller *caller);
int token_caller_restore(struct token_caller *caller, struct bytes state, struct error *err);

/* Information: fill the caller's structs as the standard says (fields padded with blanks). */
CK_RV token_get_info(CK_INFO *ret_info);
CK_RV token_get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *ret_info);
CK_RV token_get_token_info(const struct token_caller *caller, CK_SLOT_ID slot,
                           CK_TOKEN_INFO *ret_info);
/* The mechanisms that are listed; is_modern: the client's library knows those of PKCS#11 beyond the
 * built-in list of p11-kit before 0.25.6. Returns a constant array. */
const CK_MECHANISM_TYPE *token_mechanisms(bool is_modern, size_t *ret_count);
CK_RV token_get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type,
                               CK_MECHANISM_INFO *ret_info);

CK_RV token_open_session(struct token_caller *caller, CK_SLOT_ID slot, CK_FLAGS flags,
                         CK_SESSION_HANDLE *ret_session);
CK_RV token_close_session(struct token_caller *caller, CK_SESSION_HANDLE session);
/* Also for C_Finalize: nothing is left of the connection's sessions. */
CK_RV token_close_all_sessions(struct token_caller *caller, CK_SLOT_ID slot);
CK_RV token_get_session_info(struct token_caller *caller, CK_SESSION_HANDLE session,
                             CK_SESSION_INFO *ret_info);
/* Any PIN and none is right: there is nothing to log in for. */
CK_RV token_login(struct token_caller *caller, CK_SESSION_HANDLE session, CK_USER_TYPE user);
CK_RV token_logout(struct token_caller *caller, CK_SESSION_HANDLE session);

/* For each attribute points pValue at the value (borrowed until the view changes or the caller is
 * freed) and sets ulValueLen; CK_UNAVAILABLE_INFORMATION where it is unknown or secret, with
 * CKR_ATTRIBUTE_TYPE_INVALID or CKR_ATTRIBUTE_SENSITIVE. The dispatcher does C_GetAttributeValue's
 * buffer rules. */
CK_RV token_get_attributes(struct token_caller *caller, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, size_t count);

CK_RV token_find_init(struct token_caller *caller, CK_SESSION_HANDLE session,
                      const CK_ATTRIBUTE *wanted, size_t count);
CK_RV token_find(struct token_caller *caller, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects,
                 size_t limit, size_t *ret_count);
CK_RV token_find_final(struct token_caller *caller, CK_SESSION_HANDLE session);

CK_RV token_sign_init(struct token_caller *caller, CK_SESSION_HANDLE session,
                      const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV token_sign_update(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes part);
/* C_Sign's data in parts, for token_sign with is_final; or they are forgotten. */
CK_RV token_sign_part(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes part);
void token_sign_forget_parts(struct token_caller *caller, CK_SESSION_HANDLE session);

/* The end of a signature; signature is empty unless rv is CKR_OK. Dispatcher's thread; may free the
 * caller. */
typedef void token_signed(void *user, CK_RV rv, struct bytes signature);

/* How large the signature will be, without ending the operation. */
CK_RV token_signature_size(struct token_caller *caller, CK_SESSION_HANDLE session,
                           CK_ULONG *ret_size);
/* C_Sign and, with is_final (data is empty then), C_SignFinal or C_Sign after token_sign_part.
 * CKR_OK: done runs later, exactly once unless the caller is freed before; a refusal of the guard
 * may come that way too. Anything else: done does not run and the operation has ended. One at a
 * time for each session (CKR_OPERATION_ACTIVE); sessions are independent. */
CK_RV token_sign(struct token_caller *caller, CK_SESSION_HANDLE session, struct bytes data,
                 bool is_final, token_signed *done, void *user);
