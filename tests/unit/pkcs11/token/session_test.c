#include "tests/unit/cmocka_all.h"

#include <malloc.h>

#include "tests/unit/pkcs11/token/fixture.h"

static void test_open(void **state)
{
    (void)state;
    static const struct {
        CK_SLOT_ID slot;
        CK_FLAGS flags;
        CK_RV rv;
        CK_STATE session_state;
    } rows[] = {
        {TOKEN_SLOT_ID, CKF_SERIAL_SESSION, CKR_OK, CKS_RO_PUBLIC_SESSION},
        /* ssh and pkcs11-tool --test open nothing else, on a token that is write protected. */
        {TOKEN_SLOT_ID, CKF_SERIAL_SESSION | CKF_RW_SESSION, CKR_OK, CKS_RW_PUBLIC_SESSION},
        {TOKEN_SLOT_ID, CKF_RW_SESSION, CKR_SESSION_PARALLEL_NOT_SUPPORTED, 0},
        {TOKEN_SLOT_ID, 0, CKR_SESSION_PARALLEL_NOT_SUPPORTED, 0},
        {TOKEN_SLOT_ID + 1, CKF_SERIAL_SESSION, CKR_SLOT_ID_INVALID, 0},
    };
    struct fixture fixture;
    fixture_set_up(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CK_SESSION_HANDLE session = 0;
        CK_SESSION_INFO info;
        assert_int_equal(token_open_session(fixture.caller, rows[i].slot, rows[i].flags, &session),
                         rows[i].rv);
        if (rows[i].rv == CKR_OK) {
            assert_int_equal(token_get_session_info(fixture.caller, session, &info), CKR_OK);
            assert_int_equal(info.slotID, TOKEN_SLOT_ID);
            assert_int_equal(info.state, rows[i].session_state);
            assert_int_equal(info.flags, rows[i].flags);
            assert_int_equal(info.ulDeviceError, 0);
        }
    }
    fixture_tear_down(&fixture);
}

/* A client that opens 1,000 sessions has so many and no more, and every handle is a new one. */
static void test_count(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    CK_SESSION_HANDLE last = fixture.session;
    for (size_t i = 1; i < 1000; i++) {
        CK_SESSION_HANDLE session = 0;
        CK_RV rv = token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session);
        assert_int_equal(rv, i < TOKEN_SESSIONS_MAX ? CKR_OK : CKR_SESSION_COUNT);
        assert_true(rv != CKR_OK || session > last);
        last = rv == CKR_OK ? session : last;
    }
    CK_TOKEN_INFO info;
    assert_int_equal(token_get_token_info(fixture.caller, TOKEN_SLOT_ID, &info), CKR_OK);
    assert_int_equal(info.ulSessionCount, TOKEN_SESSIONS_MAX);
    assert_int_equal(token_close_session(fixture.caller, fixture.session), CKR_OK);
    assert_int_equal(token_close_session(fixture.caller, fixture.session),
                     CKR_SESSION_HANDLE_INVALID);
    CK_SESSION_HANDLE session = 0;
    assert_int_equal(
        token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session), CKR_OK);
    assert_true(session > last);
    last = session;
    assert_int_equal(token_close_session(fixture.caller, last), CKR_OK);
    assert_int_equal(
        token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session), CKR_OK);
    assert_true(session > last);
    fixture_tear_down(&fixture);
}

static void test_close_one_among_many(void **state)
{
    (void)state;
    struct fixture fixture;
    CK_SESSION_HANDLE sessions[5];
    CK_SESSION_INFO info;
    fixture_set_up(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        assert_int_equal(
            token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &sessions[i]),
            CKR_OK);
    }
    assert_int_equal(token_find_init(fixture.caller, sessions[3], NULL, 0), CKR_OK);
    assert_int_equal(token_close_session(fixture.caller, sessions[1]), CKR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        assert_int_equal(token_get_session_info(fixture.caller, sessions[i], &info),
                         i == 1 ? CKR_SESSION_HANDLE_INVALID : CKR_OK);
    }
    assert_int_equal(token_find_final(fixture.caller, sessions[3]), CKR_OK);
    assert_int_equal(token_close_all_sessions(fixture.caller, TOKEN_SLOT_ID), CKR_OK);
    assert_int_equal(token_close_all_sessions(fixture.caller, TOKEN_SLOT_ID), CKR_OK);
    assert_int_equal(token_close_all_sessions(fixture.caller, 0), CKR_SLOT_ID_INVALID);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        assert_int_equal(token_get_session_info(fixture.caller, sessions[i], &info),
                         CKR_SESSION_HANDLE_INVALID);
    }
    fixture_tear_down(&fixture);
}

/* Nobody needs to log in; those who insist (pkcs11-tool --login, p11tool) give up on any refusal.
 */
static void test_login_is_always_right(void **state)
{
    (void)state;
    static const CK_USER_TYPE users[] = {CKU_USER, CKU_SO, CKU_CONTEXT_SPECIFIC, 99};
    struct fixture fixture;
    fixture_set_up(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
        assert_int_equal(token_login(fixture.caller, fixture.session, users[i]), CKR_OK);
    }
    assert_int_equal(token_logout(fixture.caller, fixture.session), CKR_OK);
    assert_int_equal(token_login(fixture.caller, 99, CKU_USER), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(token_logout(fixture.caller, 99), CKR_SESSION_HANDLE_INVALID);
    fixture_tear_down(&fixture);
}

static void assert_text(const CK_UTF8CHAR *field, size_t size, const char *text)
{
    size_t length = strlen(text);
    assert_memory_equal(field, text, length);
    for (size_t i = length; i < size; i++) {
        assert_int_equal(field[i], ' ');
    }
}

#define ASSERT_TEXT(field, text) assert_text(field, sizeof(field), text)

/* The token is there before anything is issued, without a login, and is named the same for ever. */
static void test_information(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    CK_INFO info;
    assert_int_equal(token_get_info(&info), CKR_OK);
    assert_int_equal(info.cryptokiVersion.major, 2);
    assert_int_equal(info.cryptokiVersion.minor, 40);
    assert_int_equal(info.flags, 0);
    ASSERT_TEXT(info.manufacturerID, "signet");
    CK_SLOT_INFO slot;
    assert_int_equal(token_get_slot_info(TOKEN_SLOT_ID, &slot), CKR_OK);
    assert_int_equal(slot.flags, CKF_TOKEN_PRESENT);
    assert_int_equal(token_get_slot_info(TOKEN_SLOT_ID + 1, &slot), CKR_SLOT_ID_INVALID);
    CK_TOKEN_INFO token;
    assert_int_equal(token_get_token_info(fixture.caller, TOKEN_SLOT_ID, &token), CKR_OK);
    assert_int_equal(token.flags, 0x403);
    ASSERT_TEXT(token.label, "signet");
    ASSERT_TEXT(token.manufacturerID, "signet");
    ASSERT_TEXT(token.model, "signet");
    ASSERT_TEXT(token.serialNumber, "1");
    ASSERT_TEXT(token.utcTime, "");
    assert_int_equal(token.ulMaxSessionCount, TOKEN_SESSIONS_MAX);
    assert_int_equal(token.ulSessionCount, 1);
    assert_int_equal(token.ulRwSessionCount, 0);
    assert_int_equal(token_get_token_info(fixture.caller, 0, &token), CKR_SLOT_ID_INVALID);
    fixture_tear_down(&fixture);
}

/* Old libraries of p11-kit read behind the caller's array where an unknown mechanism is listed;
 * Java does without PSS where the digests are not. */
static void test_mechanisms(void **state)
{
    (void)state;
    static const CK_MECHANISM_TYPE old[] = {
        CKM_ECDSA,           CKM_RSA_PKCS,        CKM_SHA256_RSA_PKCS,
        CKM_SHA384_RSA_PKCS, CKM_SHA512_RSA_PKCS, CKM_RSA_PKCS_PSS,
        CKM_SHA256,          CKM_SHA384,          CKM_SHA512,
    };
    static const CK_MECHANISM_TYPE digests[] = {CKM_SHA256, CKM_SHA384, CKM_SHA512};
    size_t count = 0;
    const CK_MECHANISM_TYPE *listed = token_mechanisms(false, &count);
    assert_int_equal(count, ARRAY_SIZE(old));
    assert_memory_equal(listed, old, sizeof(old));
    listed = token_mechanisms(true, &count);
    assert_int_equal(count, ARRAY_SIZE(old) + 6);
    CK_MECHANISM_INFO info;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(token_get_mechanism_info(TOKEN_SLOT_ID, listed[i], &info), CKR_OK);
        bool is_digest = false;
        for (size_t j = 0; j < ARRAY_SIZE(digests); j++) {
            is_digest = is_digest || listed[i] == digests[j];
        }
        /* Java wants CKF_SIGN; CKF_HW would make pkcs11-tool run tests that cannot pass. */
        assert_int_equal(info.flags & CKF_SIGN, is_digest ? 0 : CKF_SIGN);
        assert_int_equal(info.flags & CKF_HW, 0);
        assert_true(!is_digest || info.flags == 0);
    }
    assert_int_equal(token_get_mechanism_info(TOKEN_SLOT_ID, CKM_ECDSA, &info), CKR_OK);
    assert_int_equal(info.flags, CKF_SIGN | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS);
    assert_int_equal(info.ulMinKeySize, 256);
    assert_int_equal(info.ulMaxKeySize, 384);
    assert_int_equal(token_get_mechanism_info(TOKEN_SLOT_ID, CKM_RSA_PKCS_PSS, &info), CKR_OK);
    assert_int_equal(info.flags, CKF_SIGN);
    assert_int_equal(info.ulMinKeySize, 2048);
    /* The raw private operation, and what no client of p11-kit 0.24 could use. */
    assert_int_equal(token_get_mechanism_info(TOKEN_SLOT_ID, CKM_RSA_X_509, &info),
                     CKR_MECHANISM_INVALID);
    assert_int_equal(token_get_mechanism_info(0, CKM_ECDSA, &info), CKR_SLOT_ID_INVALID);
}

/* An idle connection costs little: here, what its sessions do. */
static void test_memory(void **state)
{
    (void)state;
    enum { CALLERS = 100, MOST_BYTES = 2048 };
    struct fixture fixture;
    struct token_caller *callers[CALLERS];
    CK_SESSION_HANDLE session = 0;
    fixture_set_up(&fixture);
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    struct token_view *view = token_view_new(&generation, 1, NULL, 0, NULL);
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = fixture_caller(&fixture);
        token_caller_set_view(callers[i], view, NULL);
        assert_int_equal(
            token_open_session(callers[i], TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session), CKR_OK);
        assert_int_equal(token_find_init(callers[i], session, NULL, 0), CKR_OK);
        assert_int_equal(token_find_final(callers[i], session), CKR_OK);
    }
    /* Both are 0 under a sanitizer. */
    size_t each = (mallinfo2().uordblks - before) / CALLERS;
    print_message("%zu bytes for each caller\n", each);
    assert_true(each < MOST_BYTES);
    for (size_t i = 0; i < CALLERS; i++) {
        token_caller_free(callers[i]);
    }
    token_view_unref(view);
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_close_one_among_many),
        cmocka_unit_test(test_login_is_always_right),
        cmocka_unit_test(test_information),
        cmocka_unit_test(test_mechanisms),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
