/* Asked before each use of a key on a token, told after it. The owner of a connection gives one
 * with each view; it says no where the view still says yes: limits, a process that is not what it
 * was, a log that cannot be written. Knows nothing of SVIDs. */
#pragma once

#include <p11-kit/pkcs11.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "pkcs11/keystore.h"

struct token_guard;

/* Somebody waits for a late decision: given to admit, and from it to decided. */
struct token_question;

/* Whether the key may make a signature for this process now. tag: the generation's. Dispatcher's
 * thread; never waits, takes no lock that somebody may hold for long. CKR_OK: yes. Anything else is
 * what the client gets; CKR_KEY_FUNCTION_NOT_PERMITTED where asking again is of no use,
 * CKR_DEVICE_MEMORY where it is later. *ret_is_late (false before): neither yet, whatever is
 * returned: the guard keeps the question and answers it with token_question_answer, exactly once,
 * on any thread, however long after the connection has ended. Until then the guard has a reference
 * that belongs to the question. */
typedef CK_RV token_admit(struct token_guard *guard, uint64_t tag, struct token_question *question,
                          bool *ret_is_late);

struct token_guard_operations {
    token_admit *admit;
    /* A signature that was admitted has come to its end: rv is what the client got, and
     * CKR_SESSION_CLOSED where nobody waited for it any more. Once for each CKR_OK of admit, and
     * for each answered late, unless nobody waited for that answer. Before the client is answered.
     * Dispatcher's thread. */
    void (*used)(struct token_guard *guard, uint64_t tag, CK_RV rv);
    void (*free)(struct token_guard *guard);
    /* A signature was asked for with a key that the process could use once and that was withdrawn;
     * it was refused. May be NULL. Dispatcher's thread. */
    void (*refused)(struct token_guard *guard, CK_OBJECT_HANDLE key);
    /* Another process than the one that connected wrote into the connection, which ends by that. It
     * is named by what the kernel says of the message; pid 0: the kernel did not say. May be NULL.
     * Dispatcher's thread. */
    void (*trespassed)(struct token_guard *guard, pid_t pid, uid_t uid, gid_t gid);
};

/* Embed it. Reference counted, every thread. */
struct token_guard {
    const struct token_guard_operations *operations;
    atomic_size_t references;
};

static inline struct token_guard *token_guard_ref(struct token_guard *guard)
{
    atomic_fetch_add(&guard->references, 1);
    return guard;
}

static inline void token_guard_unref(struct token_guard *guard)
{
    if (atomic_fetch_sub(&guard->references, 1) == 1) {
        guard->operations->free(guard);
    }
}

/* CKR_OK: yes, which the view must still allow then; else what the client gets. It may free the
 * guard, unless somebody else has a reference. Any thread. */
void token_question_answer(struct token_question *question, CK_RV rv);
