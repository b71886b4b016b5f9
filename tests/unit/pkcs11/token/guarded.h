/* A process whose signatures a guard decides about. */
#pragma once

#include "tests/unit/pkcs11/token/obstacle.h"
#include "tests/unit/pkcs11/token/watchman.h"

struct guarded {
    struct identities identities;
    struct watchman watchman;
    struct outcome outcome;
};

static inline void set_guard(struct guarded *guarded, struct watchman *watchman)
{
    struct token_caller *caller = guarded->identities.fixture.caller;
    token_caller_set_view(caller, caller->view, &watchman->guard);
}

static inline void guard(struct guarded *guarded, bool is_late)
{
    set_up(&guarded->identities);
    watchman_init(&guarded->watchman);
    guarded->watchman.is_late = is_late;
    set_guard(guarded, &guarded->watchman);
}

static inline void leave(struct guarded *guarded)
{
    tear_down(&guarded->identities);
    watchman_leave(&guarded->watchman);
}

static inline void begin_ecdsa(struct guarded *guarded)
{
    CK_OBJECT_HANDLE key = key_of(&guarded->identities, KEY_TYPE_EC_P256);
    assert_int_equal(begin(&guarded->identities, CKM_ECDSA, key), CKR_OK);
}

static inline CK_RV sign_digest(struct guarded *guarded, struct outcome *outcome)
{
    return sign(&guarded->identities, (struct bytes){message, 32}, false, outcome);
}

static inline void check(const struct guarded *guarded, unsigned admits, unsigned uses,
                         CK_RV used_rv)
{
    assert_int_equal(guarded->watchman.admits, admits);
    assert_int_equal(guarded->watchman.uses, uses);
    if (uses > 0) {
        assert_int_equal(guarded->watchman.used_rv, used_rv);
        assert_ptr_equal(guarded->watchman.used_tag, guarded->watchman.admitted_tag);
    }
}

static inline void deliver_all(struct guarded *guarded)
{
    while (guarded->identities.fixture.under_way > 0) {
        fixture_deliver(&guarded->identities.fixture);
    }
}

static inline void withdraw(struct guarded *guarded)
{
    token_caller_set_view(guarded->identities.fixture.caller, NULL, &guarded->watchman.guard);
}

static inline void withdraw_and_allow_again(struct guarded *guarded)
{
    withdraw(guarded);
    fixture_publish(&guarded->identities.fixture, guarded->identities.generations, KEY_TYPE_COUNT,
                    KEY_TYPE_COUNT, NULL);
}

static inline void expire(struct guarded *guarded)
{
    (void)guarded;
    fixture_now_s += FIXTURE_HOUR_S;
}

static inline void close_session(struct guarded *guarded)
{
    struct fixture *fixture = &guarded->identities.fixture;
    assert_int_equal(token_close_session(fixture->caller, fixture->session), CKR_OK);
}

static inline void close_all_sessions(struct guarded *guarded)
{
    assert_int_equal(token_close_all_sessions(guarded->identities.fixture.caller, TOKEN_SLOT_ID),
                     CKR_OK);
}

/* What happens between question and answer, and what becomes of a yes. */
static const struct {
    void (*happens)(struct guarded *guarded);
    CK_RV rv;
} meanwhile[] = {
    {withdraw, CKR_KEY_FUNCTION_NOT_PERMITTED},
    {withdraw_and_allow_again, CKR_KEY_FUNCTION_NOT_PERMITTED},
    {expire, CKR_KEY_FUNCTION_NOT_PERMITTED},
    {close_session, CKR_SESSION_CLOSED},
    {close_all_sessions, CKR_SESSION_CLOSED},
};

static inline void open_another_session(struct guarded *guarded)
{
    struct fixture *fixture = &guarded->identities.fixture;
    assert_int_equal(
        token_open_session(fixture->caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &fixture->session),
        CKR_OK);
}
