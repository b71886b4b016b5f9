/* A guard that does as it is told and counts what it sees. */
#pragma once

#include "pkcs11/token/guard.h"

enum { WATCHMAN_QUESTIONS_MAX = 512 };

struct watchman {
    struct token_guard guard;
    CK_RV rv; /* its decision, unless it is late */
    bool is_late;
    atomic_uint admits, uses, frees;
    CK_RV used_rv; /* the last */
    uint64_t admitted_tag, used_tag;
    struct token_question *_Atomic questions[WATCHMAN_QUESTIONS_MAX]; /* the newest, by admits */
};

static inline CK_RV watchman_admit(struct token_guard *guard, uint64_t tag,
                                   struct token_question *question, bool *ret_is_late)
{
    struct watchman *watchman = container_of(guard, struct watchman, guard);
    watchman->admitted_tag = tag;
    *ret_is_late = watchman->is_late;
    atomic_store(&watchman->questions[atomic_load(&watchman->admits) % WATCHMAN_QUESTIONS_MAX],
                 watchman->is_late ? question : NULL);
    (void)atomic_fetch_add(&watchman->admits, 1);
    return watchman->rv;
}

static inline void watchman_used(struct token_guard *guard, uint64_t tag, CK_RV rv)
{
    struct watchman *watchman = container_of(guard, struct watchman, guard);
    watchman->used_tag = tag;
    watchman->used_rv = rv;
    (void)atomic_fetch_add(&watchman->uses, 1);
}

/* Its memory is the test's. */
static inline void watchman_free(struct token_guard *guard)
{
    struct watchman *watchman = container_of(guard, struct watchman, guard);
    (void)atomic_fetch_add(&watchman->frees, 1);
}

static const struct token_guard_operations watchman_operations = {
    .admit = watchman_admit, .used = watchman_used, .free = watchman_free};

/* With one reference, the test's. */
static inline void watchman_init(struct watchman *watchman)
{
    *watchman = (struct watchman){.guard.operations = &watchman_operations};
    atomic_init(&watchman->guard.references, 1);
}

/* Drops the test's reference; all the others must be gone. */
static inline void watchman_leave(struct watchman *watchman)
{
    token_guard_unref(&watchman->guard);
    assert_int_equal(atomic_load(&watchman->frees), 1);
}

/* Answers what it was asked last. */
static inline void watchman_answer(struct watchman *watchman, CK_RV rv)
{
    unsigned last = atomic_load(&watchman->admits) - 1;
    token_question_answer(
        atomic_exchange(&watchman->questions[last % WATCHMAN_QUESTIONS_MAX], NULL), rv);
}
