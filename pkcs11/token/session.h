/* A caller and its sessions, as the files of this folder share them. Dispatcher's thread. */
#pragma once

#include <openssl/evp.h>
#include <sys/queue.h>

#include "pkcs11/token/algorithm.h"
#include "pkcs11/token/caller.h"
#include "pkcs11/token/generation.h"
#include "pkcs11/token/withdrawn.h"

/* Where a caller gets the time; tests give it another. */
struct token_clock {
    uint64_t (*monotonic_ms)(void);
    int64_t (*now_s)(void);
};

struct sign_operation;
struct sign_job;

struct session {
    CK_SESSION_HANDLE handle;
    CK_FLAGS flags;
    bool is_finding;
    bool is_signing;                  /* there is a job for it; operation is NULL then */
    struct sign_operation *operation; /* between C_SignInit and its end; NULL: none */
    struct buffer found;              /* handles that C_FindObjects has still to give */
};

struct token_caller {
    struct token_caller_config config;
    const struct token_clock *clock;
    struct token_view *view;  /* NULL: nothing */
    struct token_view *shown; /* what searches look at until pinned_until_ms; NULL: view */
    uint64_t pinned_until_ms;
    struct withdrawn withdrawn;
    struct session *sessions; /* in the order of handles */
    size_t session_count;
    CK_SESSION_HANDLE last_session; /* handle; never used again */
    struct token_guard *guard;      /* NULL: all is admitted */
    unsigned question_count;        /* jobs for which the guard's answer is to come */
    LIST_HEAD(, sign_job) jobs;     /* at the keystore, or before a decision */
};

void caller_set_clock(struct token_caller *caller, const struct token_clock *clock);
/* An object that is served at this moment, or NULL. */
const struct token_object *caller_object(const struct token_caller *caller,
                                         CK_OBJECT_HANDLE handle);
/* A key that may sign at this moment. CKR_KEY_FUNCTION_NOT_PERMITTED: not any more;
 * CKR_KEY_HANDLE_INVALID: it never was one. */
CK_RV caller_key(const struct token_caller *caller, CK_OBJECT_HANDLE handle,
                 const struct token_generation **ret_generation);
bool caller_is_over(const struct token_caller *caller, const struct token_object *object);

/* NULL: there is none. Borrowed until sessions are opened or closed. */
struct session *session_find(struct token_caller *caller, CK_SESSION_HANDLE handle);
/* Adds one; the handle must be greater than all before. */
struct session *session_add(struct token_caller *caller, CK_SESSION_HANDLE handle, CK_FLAGS flags);
size_t session_count_writing(const struct token_caller *caller);

/* The signature in the making. Its key is looked up again when it is used. */
struct sign_operation {
    const struct sign_algorithm *algorithm;
    enum sign_digest digest; /* unless algorithm leaves it to the data */
    enum key_type key_type;
    CK_OBJECT_HANDLE key;
    bool is_multipart;
    struct buffer data; /* so far, up to TOKEN_SIGN_DATA_MAX */
    EVP_MD_CTX *hash;   /* of all, once there was more than that; NULL before */
};

void sign_operation_end(struct session *session);
void sign_operation_free(struct sign_operation *operation);

/* Sends it to the keystore of the generation's key, once the guard has admitted it. As token_sign.
 * The operation is taken (NULL afterwards) where the guard's answer is to come. */
CK_RV sign_job_start(struct token_caller *caller, struct session *session,
                     struct sign_operation **operation, const struct token_generation *generation,
                     const struct sign_value *value, token_signed *done, void *user);
/* Those whose keys the caller's view does not have any more. */
void sign_job_withdraw_all(struct token_caller *caller);
void sign_job_abandon_all(struct token_caller *caller);
