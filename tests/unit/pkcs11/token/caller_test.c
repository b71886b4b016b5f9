#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/fixture.h"

static const uint8_t message[64] = {1, 2, 3};

static CK_RV sign_and_wait(struct fixture *fixture, struct token_caller *caller,
                           CK_SESSION_HANDLE session, struct bytes data, bool is_final,
                           struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    CK_RV rv = token_sign(caller, session, data, is_final, fixture_note, outcome);
    while (rv == CKR_OK && outcome->calls == 0) {
        fixture_deliver(fixture);
    }
    return rv == CKR_OK ? outcome->rv : rv;
}

static void test_no_view(void **state)
{
    (void)state;
    struct fixture fixture;
    CK_OBJECT_HANDLE object;
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    CK_ATTRIBUTE label = {.type = CKA_LABEL};
    fixture_set_up(&fixture);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_find(&fixture, NULL, 0, &object, 1), 0);
        assert_int_equal(token_get_attributes(fixture.caller, fixture.session, 1, &label, 1),
                         CKR_OBJECT_HANDLE_INVALID);
        assert_int_equal(token_get_attributes(fixture.caller, 99, 1, &label, 1),
                         CKR_SESSION_HANDLE_INVALID);
        assert_int_equal(token_sign_init(fixture.caller, fixture.session, &mechanism, 1),
                         CKR_KEY_HANDLE_INVALID);
        token_caller_set_view(fixture.caller, NULL, NULL);
    }
    fixture_tear_down(&fixture);
}

/* Handles of one process mean nothing to another. */
static void test_handles_of_others(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *mine =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    struct token_generation *theirs =
        fixture_generation(&fixture, "b", KEY_TYPE_EC_P256, (struct bytes){0});
    fixture_publish(&fixture, &mine, 1, 1, NULL);
    CK_ATTRIBUTE label = {.type = CKA_LABEL};
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    assert_int_equal(token_get_attributes(fixture.caller, fixture.session,
                                          fixture_handle(theirs, OBJECT_LEAF), &label, 1),
                     CKR_OBJECT_HANDLE_INVALID);
    assert_int_equal(token_sign_init(fixture.caller, fixture.session, &mechanism,
                                     fixture_handle(theirs, OBJECT_PRIVATE_KEY)),
                     CKR_KEY_HANDLE_INVALID);
    token_generation_unref(mine);
    token_generation_unref(theirs);
    fixture_tear_down(&fixture);
}

enum { RAW, SHORT_HASH, LONG_HASH, SEARCH, IDLE, SESSIONS };

/* Sessions in every state, in the caller of the fixture. */
static void fill(struct fixture *fixture, CK_OBJECT_HANDLE key, CK_SESSION_HANDLE *sessions)
{
    static const uint8_t many[TOKEN_SIGN_DATA_MAX + 1];
    struct token_caller *caller = fixture->caller;
    CK_MECHANISM raw = {.mechanism = CKM_ECDSA};
    CK_MECHANISM hash = {.mechanism = CKM_ECDSA_SHA256};
    for (size_t i = 0; i < SESSIONS; i++) {
        CK_FLAGS flags = i == IDLE ? CKF_SERIAL_SESSION | CKF_RW_SESSION : CKF_SERIAL_SESSION;
        assert_int_equal(token_open_session(caller, TOKEN_SLOT_ID, flags, &sessions[i]), CKR_OK);
    }
    assert_int_equal(token_sign_init(caller, sessions[RAW], &raw, key), CKR_OK);
    assert_int_equal(token_sign_init(caller, sessions[SHORT_HASH], &hash, key), CKR_OK);
    assert_int_equal(
        token_sign_update(caller, sessions[SHORT_HASH], (struct bytes){message, sizeof(message)}),
        CKR_OK);
    assert_int_equal(token_sign_init(caller, sessions[LONG_HASH], &hash, key), CKR_OK);
    assert_int_equal(
        token_sign_update(caller, sessions[LONG_HASH], (struct bytes){many, sizeof(many)}), CKR_OK);
    CK_OBJECT_HANDLE object;
    size_t count = 0;
    assert_int_equal(token_find_init(caller, sessions[SEARCH], NULL, 0), CKR_OK);
    assert_int_equal(token_find(caller, sessions[SEARCH], &object, 1, &count), CKR_OK);
    assert_int_equal(count, 1);
}

static void check_restored(struct fixture *fixture, const struct token_generation *generation,
                           const CK_SESSION_HANDLE *sessions)
{
    struct token_caller *caller = fixture->caller;
    struct outcome outcome;
    CK_SESSION_INFO info;
    struct bytes data = {message, 32};
    assert_int_equal(sign_and_wait(fixture, caller, sessions[RAW], data, false, &outcome), CKR_OK);
    assert_int_equal(outcome.size, 64);
    assert_int_equal(
        sign_and_wait(fixture, caller, sessions[SHORT_HASH], (struct bytes){0}, true, &outcome),
        CKR_OK);
    ECDSA_SIG *pair = ECDSA_SIG_new();
    uint8_t *der = NULL;
    assert_int_equal(ECDSA_SIG_set0(pair, BN_bin2bn(outcome.signature, 32, NULL),
                                    BN_bin2bn(outcome.signature + 32, 32, NULL)),
                     1);
    int size = i2d_ECDSA_SIG(pair, &der);
    EVP_PKEY *public = fixture_public(generation->key);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public), 1);
    assert_int_equal(EVP_DigestVerify(context, der, (size_t)size, message, sizeof(message)), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(public);
    OPENSSL_free(der);
    ECDSA_SIG_free(pair);
    /* Hashed already: begun again by the program. */
    assert_int_equal(
        sign_and_wait(fixture, caller, sessions[LONG_HASH], (struct bytes){0}, true, &outcome),
        CKR_OPERATION_NOT_INITIALIZED);
    CK_OBJECT_HANDLE objects[4];
    size_t count = 0;
    assert_int_equal(token_find(caller, sessions[SEARCH], objects, 4, &count), CKR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(objects[0], fixture_handle(generation, OBJECT_PRIVATE_KEY));
    assert_int_equal(token_find_final(caller, sessions[SEARCH]), CKR_OK);
    assert_int_equal(token_get_session_info(caller, sessions[IDLE], &info), CKR_OK);
    assert_int_equal(info.flags, CKF_SERIAL_SESSION | CKF_RW_SESSION);
}

/* An agent that restarts: sessions, handles and what was begun are as before. */
static void test_restart(void **state)
{
    (void)state;
    struct fixture fixture;
    CK_SESSION_HANDLE sessions[SESSIONS];
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0}),
        fixture_generation(&fixture, "b", KEY_TYPE_EC_P256, (struct bytes){0})};
    CK_OBJECT_HANDLE withdrawn = fixture_handle(generations[1], OBJECT_PRIVATE_KEY);
    fixture_publish(&fixture, generations, 2, 2, NULL);
    fixture_publish(&fixture, generations, 1, 1, NULL);
    fill(&fixture, fixture_handle(generations[0], OBJECT_PRIVATE_KEY), sessions);
    CK_SESSION_HANDLE closed = 0;
    assert_int_equal(token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &closed),
                     CKR_OK);
    assert_int_equal(token_close_session(fixture.caller, closed), CKR_OK);
    _cleanup_(buffer_clear) struct buffer saved = {0};
    token_caller_save(fixture.caller, &saved);
    token_caller_free(fixture.caller);
    fixture.caller = fixture_caller(&fixture);
    assert_int_equal(token_caller_restore(fixture.caller, buffer_bytes(&saved), NULL), 0);
    _cleanup_(buffer_clear) struct buffer again = {0};
    token_caller_save(fixture.caller, &again);
    assert_true(bytes_is_equal(buffer_bytes(&saved), buffer_bytes(&again)));
    fixture_publish(&fixture, generations, 1, 1, NULL);
    buffer_reset(&again);
    token_caller_save(fixture.caller, &again);
    assert_true(bytes_is_equal(buffer_bytes(&saved), buffer_bytes(&again)));
    check_restored(&fixture, generations[0], sessions);
    assert_int_equal(token_sign_init(fixture.caller, sessions[IDLE], &mechanism, withdrawn),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    CK_SESSION_HANDLE next = 0;
    assert_int_equal(token_open_session(fixture.caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &next),
                     CKR_OK);
    assert_int_equal(next, closed + 1);
    token_generation_unref(generations[0]);
    token_generation_unref(generations[1]);
    fixture_tear_down(&fixture);
}

/* Withdrawn while the agent was down: what was begun before is refused. */
static void test_withdrawn_over_a_restart(void **state)
{
    (void)state;
    struct fixture fixture;
    CK_SESSION_HANDLE sessions[SESSIONS];
    struct outcome outcome;
    fixture_set_up(&fixture);
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    fill(&fixture, fixture_handle(generation, OBJECT_PRIVATE_KEY), sessions);
    _cleanup_(buffer_clear) struct buffer saved = {0};
    token_caller_save(fixture.caller, &saved);
    token_caller_free(fixture.caller);
    fixture.caller = fixture_caller(&fixture);
    assert_int_equal(token_caller_restore(fixture.caller, buffer_bytes(&saved), NULL), 0);
    assert_int_equal(sign_and_wait(&fixture, fixture.caller, sessions[RAW],
                                   (struct bytes){message, 32}, false, &outcome),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    assert_int_equal(token_sign_init(fixture.caller, sessions[IDLE], &mechanism,
                                     fixture_handle(generation, OBJECT_PRIVATE_KEY)),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

static void assert_refused(struct fixture *fixture, struct bytes state)
{
    struct token_caller *caller = fixture_caller(fixture);
    struct error err = {0};
    if (token_caller_restore(caller, state, &err) < 0) {
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        assert_int_equal(caller->session_count, 0);
    }
    CK_SESSION_HANDLE session;
    assert_int_equal(token_open_session(caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session),
                     CKR_OK);
    token_caller_free(caller);
}

/* Cut anywhere, with more behind it, or with any byte changed: refused or taken, never worse. */
static void test_damaged_state(void **state)
{
    (void)state;
    struct fixture fixture;
    CK_SESSION_HANDLE sessions[SESSIONS];
    fixture_set_up(&fixture);
    struct token_generation *generation =
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, (struct bytes){0});
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    fill(&fixture, fixture_handle(generation, OBJECT_PRIVATE_KEY), sessions);
    _cleanup_(buffer_clear) struct buffer saved = {0};
    token_caller_save(fixture.caller, &saved);
    struct token_caller *caller = fixture_caller(&fixture);
    for (size_t size = 0; size < saved.size; size++) {
        assert_int_equal(token_caller_restore(caller, (struct bytes){saved.data, size}, NULL), -1);
    }
    for (size_t i = 0; i < saved.size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            saved.data[i] ^= (uint8_t)(1U << bit);
            assert_refused(&fixture, buffer_bytes(&saved));
            saved.data[i] ^= (uint8_t)(1U << bit);
        }
    }
    buffer_append_u8(&saved, 0);
    assert_int_equal(token_caller_restore(caller, buffer_bytes(&saved), NULL), -1);
    token_caller_free(caller);
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

/* A saved session: its handle, its flags, what it has, and the bytes of that. */
struct saved_session {
    uint64_t handle;
    uint8_t flags, has;
    CK_MECHANISM_TYPE mechanism;
    uint8_t digest, key_type;
    uint16_t size;
    size_t found;
};

enum { SEARCHES = 1, SIGNS = 2 };

static void append_session(struct buffer *state, const struct saved_session *session)
{
    buffer_append_u64(state, session->handle);
    buffer_append_u8(state, session->flags);
    buffer_append_u8(state, session->has);
    if (session->has & SEARCHES) {
        buffer_append_u32(state, (uint32_t)session->found);
        memset(buffer_extend(state, session->found * 8), 0, session->found * 8);
    }
    if (session->has & SIGNS) {
        buffer_append_u64(state, session->mechanism);
        buffer_append_u8(state, session->digest);
        buffer_append_u8(state, session->key_type);
        buffer_append_u64(state, 18);
        buffer_append_u16(state, session->size);
        memset(buffer_extend(state, session->size), 0, session->size);
    }
}

enum { P256 = KEY_TYPE_EC_P256, RSA2048 = KEY_TYPE_RSA_2048 };

/* States of the right form that cannot be ours: each limit once from within and once from without.
 */
static const struct {
    const char *what;
    struct saved_session sessions[2];
    int result;
} saved_states[] = {
    {"good", {{1, 4, 0, 0, 0, 0, 0, 0}, {9, 6, 0, 0, 0, 0, 0, 0}}, 0},
    {"one handle twice", {{1, 4, 0, 0, 0, 0, 0, 0}, {1, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"not in order", {{2, 4, 0, 0, 0, 0, 0, 0}, {1, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"handle 0", {{0, 4, 0, 0, 0, 0, 0, 0}, {1, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"handle not given out", {{1, 4, 0, 0, 0, 0, 0, 0}, {10, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"not serial", {{1, 2, 0, 0, 0, 0, 0, 0}, {2, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"unknown flag", {{1, 12, 0, 0, 0, 0, 0, 0}, {2, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"unknown part", {{1, 4, 8, 0, 0, 0, 0, 0}, {2, 6, 0, 0, 0, 0, 0, 0}}, -1},
    {"a long search", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SEARCHES, 0, 0, 0, 0, 4096}}, 0},
    {"too long a search", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SEARCHES, 0, 0, 0, 0, 4097}}, -1},
    {"raw", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_ECDSA, 0, P256, 1024, 0}}, 0},
    {"too much data", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_ECDSA, 0, P256, 1025, 0}}, -1},
    {"other key", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_ECDSA, 0, RSA2048, 0, 0}}, -1},
    {"no such key", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_RSA_PKCS, 0, 3, 0, 0}}, -1},
    {"no such digest", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_ECDSA, 3, P256, 0, 0}}, -1},
    {"other digest",
     {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_ECDSA_SHA256, 1, P256, 0, 0}},
     -1},
    {"oracle", {{1, 4, 0, 0, 0, 0, 0, 0}, {2, 6, SIGNS, CKM_RSA_X_509, 0, RSA2048, 0, 0}}, -1},
};

static void test_crafted_states(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(saved_states); i++) {
        _cleanup_(buffer_clear) struct buffer crafted = {0};
        buffer_append_u8(&crafted, 2);
        buffer_append_u64(&crafted, 9);
        buffer_append_u16(&crafted, 2);
        append_session(&crafted, &saved_states[i].sessions[0]);
        append_session(&crafted, &saved_states[i].sessions[1]);
        buffer_append_u32(&crafted, 0); /* no keys */
        struct token_caller *caller = fixture_caller(&fixture);
        if (token_caller_restore(caller, buffer_bytes(&crafted), NULL) != saved_states[i].result) {
            fail_msg("%s", saved_states[i].what);
        }
        token_caller_free(caller);
    }
    fixture_tear_down(&fixture);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* How long it takes to read one attribute of each identity's key, in nanoseconds each. */
static double read_all(struct fixture *fixture, struct token_generation **generations, size_t count)
{
    enum { ROUNDS = 100000 };
    double begin = seconds();
    for (size_t i = 0; i < ROUNDS; i++) {
        CK_ATTRIBUTE attribute = {.type = CKA_KEY_TYPE};
        assert_int_equal(
            token_get_attributes(fixture->caller, fixture->session,
                                 fixture_handle(generations[i % count], OBJECT_PRIVATE_KEY),
                                 &attribute, 1),
            CKR_OK);
    }
    return (seconds() - begin) * 1e9 / ROUNDS;
}

/* No work for each object grows with the number of identities. */
static void test_a_thousand_identities(void **state)
{
    (void)state;
    enum { COUNT = 1000, MOST_TIMES_SLOWER = 20 };
    struct fixture fixture;
    static struct token_generation *generations[COUNT];
    static CK_OBJECT_HANDLE objects[TOKEN_FIND_RESULTS_MAX];
    fixture_set_up(&fixture);
    for (size_t i = 0; i < COUNT; i++) {
        char label[32];
        (void)snprintf(label, sizeof(label), "identity/%zu", i);
        generations[i] = fixture_generation(&fixture, label, KEY_TYPE_EC_P256, (struct bytes){0});
    }
    fixture_publish(&fixture, generations, 1, 1, NULL);
    double one = read_all(&fixture, generations, 1);
    double begin = seconds();
    fixture_publish(&fixture, generations, COUNT, COUNT, NULL);
    double publishing = seconds() - begin;
    double all = read_all(&fixture, generations, COUNT);
    begin = seconds();
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, TOKEN_FIND_RESULTS_MAX), 3 * COUNT);
    double listing = seconds() - begin;
    begin = seconds();
    struct bytes label = bytes_of_text("identity/999");
    assert_int_equal(fixture_find_one(&fixture, CKA_LABEL, label, objects, 9), 3);
    double finding = seconds() - begin;
    print_message("attribute of 1: %.0f ns, of %d: %.0f ns; publish %.0f us, list %.0f us, "
                  "find %.0f us\n",
                  one, COUNT, all, publishing * 1e6, listing * 1e6, finding * 1e6);
    assert_true(all < one * MOST_TIMES_SLOWER);
    for (size_t i = 0; i < COUNT; i++) {
        token_generation_unref(generations[i]);
    }
    fixture_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_view),
        cmocka_unit_test(test_handles_of_others),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_withdrawn_over_a_restart),
        cmocka_unit_test(test_damaged_state),
        cmocka_unit_test(test_crafted_states),
        cmocka_unit_test(test_a_thousand_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
