/* Decisions that come later. */
#include "tests/unit/cmocka_all.h"

#include <pthread.h>

#include "tests/unit/pkcs11/token/guarded.h"

static void test_late(void **state)
{
    (void)state;
    static const CK_RV codes[] = {CKR_OK, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_DEVICE_MEMORY};
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct guarded guarded;
        guard(&guarded, true);
        guarded.watchman.rv = codes[i]; /* what is returned with it does not count */
        begin_and_sign(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.identities.fixture.under_way, 1);
        /* The session waits as for the keystore. */
        struct outcome second;
        assert_int_equal(sign_digest(&guarded, &second), CKR_OPERATION_ACTIVE);
        assert_int_equal(
            begin(&guarded.identities, CKM_ECDSA, key_of(&guarded.identities, KEY_TYPE_EC_P256)),
            CKR_OPERATION_ACTIVE);
        assert_int_equal(guarded.outcome.calls, 0);
        watchman_answer(&guarded.watchman, codes[i]);
        await(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.outcome.rv, codes[i]);
        assert_int_equal(guarded.outcome.size, codes[i] == CKR_OK ? 64 : 0);
        check(&guarded, 1, codes[i] == CKR_OK, CKR_OK);
        assert_int_equal(signatures_made(&guarded.identities), codes[i] == CKR_OK);
        assert_int_equal(guarded.identities.fixture.under_way, 0);
        begin_ecdsa(&guarded);
        leave(&guarded);
    }
}

static CK_RV answer_at_once(struct token_guard *guard, uint64_t tag,
                            struct token_question *question, bool *ret_is_late)
{
    (void)guard;
    (void)tag;
    *ret_is_late = true;
    token_question_answer(question, CKR_OK);
    return CKR_OK;
}

static void test_answered_before_admit_returns(void **state)
{
    (void)state;
    static const struct token_guard_operations hasty = {
        .admit = answer_at_once, .used = watchman_used, .free = watchman_free};
    struct guarded guarded;
    guard(&guarded, true);
    guarded.watchman.guard.operations = &hasty;
    begin_and_sign(&guarded.identities, &guarded.outcome);
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(guarded.outcome.rv, CKR_OK);
    assert_int_equal(guarded.watchman.uses, 1);
    leave(&guarded);
}

/* Answers each question as soon as it is there. */
struct answerer {
    pthread_t thread;
    struct watchman *watchman;
    unsigned answers;
    CK_RV rv;
};

static void *answer_all(void *argument)
{
    struct answerer *answerer = argument;
    for (unsigned i = 0; i < answerer->answers; i++) {
        struct token_question *_Atomic *place =
            &answerer->watchman->questions[i % WATCHMAN_QUESTIONS_MAX];
        struct token_question *question;
        while (!(question = atomic_exchange(place, NULL))) {
            (void)sched_yield();
        }
        token_question_answer(question, answerer->rv);
    }
    return NULL;
}

static void start_answering(struct answerer *answerer, struct watchman *watchman, unsigned answers)
{
    *answerer = (struct answerer){.watchman = watchman, .answers = answers, .rv = CKR_OK};
    assert_int_equal(pthread_create(&answerer->thread, NULL, answer_all, answerer), 0);
}

enum { ROUNDS = 300 };

static void test_answered_by_another_thread(void **state)
{
    (void)state;
    struct guarded guarded;
    struct answerer answerer;
    guard(&guarded, true);
    start_answering(&answerer, &guarded.watchman, ROUNDS);
    for (unsigned i = 0; i < ROUNDS; i++) {
        begin_and_sign(&guarded.identities, &guarded.outcome);
        await(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.outcome.rv, CKR_OK);
    }
    (void)pthread_join(answerer.thread, NULL);
    check(&guarded, ROUNDS, ROUNDS, CKR_OK);
    leave(&guarded);
}

static void make_caller(struct guarded *guarded)
{
    struct fixture *fixture = &guarded->identities.fixture;
    fixture->caller = fixture_caller(fixture);
    assert_int_equal(
        token_open_session(fixture->caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &fixture->session),
        CKR_OK);
    fixture_publish(fixture, guarded->identities.generations, KEY_TYPE_COUNT, KEY_TYPE_COUNT, NULL);
    set_guard(guarded, &guarded->watchman);
}

/* Connections close while the answer is on its way. */
static void test_freed_while_another_thread_answers(void **state)
{
    (void)state;
    struct guarded guarded;
    struct answerer answerer;
    guard(&guarded, true);
    start_answering(&answerer, &guarded.watchman, ROUNDS);
    for (unsigned i = 0; i < ROUNDS; i++) {
        begin_and_sign(&guarded.identities, &guarded.outcome);
        for (unsigned j = 0; j < i; j++) {
            (void)sched_yield();
        }
        token_caller_free(guarded.identities.fixture.caller);
        deliver_all(&guarded);
        assert_int_equal(guarded.outcome.calls, 0);
        make_caller(&guarded);
    }
    (void)pthread_join(answerer.thread, NULL);
    assert_true(guarded.watchman.uses <= ROUNDS);
    leave(&guarded);
}

/* Nobody waits any more: neither the mailbox nor the keystore are held up, and the guard stays
 * until it has answered. */
static void test_freed_before_the_answer(void **state)
{
    (void)state;
    static const CK_RV codes[] = {CKR_OK, CKR_KEY_FUNCTION_NOT_PERMITTED};
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct guarded guarded;
        guard(&guarded, true);
        begin_and_sign(&guarded.identities, &guarded.outcome);
        token_caller_free(take_ptr(guarded.identities.fixture.caller));
        assert_int_equal(guarded.identities.fixture.under_way, 0);
        tear_down(&guarded.identities);
        token_guard_unref(&guarded.watchman.guard);
        assert_int_equal(guarded.watchman.frees, 0);
        watchman_answer(&guarded.watchman, codes[i]);
        assert_int_equal(guarded.watchman.frees, 1);
        check(&guarded, 1, 0, CKR_OK);
        assert_int_equal(guarded.outcome.calls, 0);
    }
}

/* The answer was there first, but nobody saw it. */
static void test_freed_after_the_answer(void **state)
{
    (void)state;
    struct guarded guarded;
    guard(&guarded, true);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    watchman_answer(&guarded.watchman, CKR_OK);
    token_caller_free(take_ptr(guarded.identities.fixture.caller));
    assert_int_equal(guarded.identities.fixture.under_way, 1);
    deliver_all(&guarded);
    check(&guarded, 1, 1, CKR_SESSION_CLOSED);
    assert_int_equal(guarded.outcome.calls, 0);
    assert_int_equal(signatures_made(&guarded.identities), 0);
    leave(&guarded);
}

static void test_meanwhile(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(meanwhile); i++) {
        struct guarded guarded;
        guard(&guarded, true);
        begin_and_sign(&guarded.identities, &guarded.outcome);
        meanwhile[i].happens(&guarded);
        watchman_answer(&guarded.watchman, CKR_OK);
        await(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.outcome.rv, meanwhile[i].rv);
        assert_int_equal(guarded.outcome.size, 0);
        check(&guarded, 1, 1, meanwhile[i].rv);
        assert_int_equal(signatures_made(&guarded.identities), 0);
        leave(&guarded);
    }
}

/* As many as the keystore takes of one process. */
static void test_many_questions(void **state)
{
    (void)state;
    static struct outcome outcomes[TOKEN_QUESTIONS_MAX];
    struct guarded guarded;
    guard(&guarded, true);
    for (size_t i = 0; i < TOKEN_QUESTIONS_MAX; i++) {
        open_another_session(&guarded);
        begin_and_sign(&guarded.identities, &outcomes[i]);
    }
    open_another_session(&guarded);
    begin_ecdsa(&guarded);
    assert_int_equal(sign_digest(&guarded, &guarded.outcome), CKR_DEVICE_MEMORY);
    check(&guarded, TOKEN_QUESTIONS_MAX, 0, CKR_OK);
    for (size_t i = 0; i < TOKEN_QUESTIONS_MAX; i++) {
        token_question_answer(guarded.watchman.questions[i], CKR_OK);
    }
    deliver_all(&guarded);
    for (size_t i = 0; i < TOKEN_QUESTIONS_MAX; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rv, CKR_OK);
    }
    check(&guarded, TOKEN_QUESTIONS_MAX, TOKEN_QUESTIONS_MAX, CKR_OK);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    watchman_answer(&guarded.watchman, CKR_OK);
    await(&guarded.identities, &guarded.outcome);
    leave(&guarded);
}

/* As with a signature that the keystore has not made: the session goes on without it. */
static void test_saved_before_the_answer(void **state)
{
    (void)state;
    struct guarded guarded;
    struct fixture *fixture = &guarded.identities.fixture;
    _cleanup_(buffer_clear) struct buffer saved = {0};
    guard(&guarded, true);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    token_caller_save(fixture->caller, &saved);
    token_caller_free(fixture->caller);
    fixture->caller = fixture_caller(fixture);
    assert_int_equal(token_caller_restore(fixture->caller, buffer_bytes(&saved), NULL), 0);
    fixture_publish(fixture, guarded.identities.generations, KEY_TYPE_COUNT, KEY_TYPE_COUNT, NULL);
    watchman_answer(&guarded.watchman, CKR_OK);
    assert_int_equal(guarded.outcome.calls, 0);
    assert_int_equal(sign_digest(&guarded, &guarded.outcome), CKR_OPERATION_NOT_INITIALIZED);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(guarded.outcome.rv, CKR_OK);
    check(&guarded, 1, 0, CKR_OK);
    leave(&guarded);
}

/* The call is made again, by the next process perhaps, and the guard asked anew. */
static void test_taken_back(void **state)
{
    (void)state;
    static const bool is_multipart[] = {false, true};
    for (size_t i = 0; i < ARRAY_SIZE(is_multipart); i++) {
        struct guarded guarded;
        struct fixture *fixture = &guarded.identities.fixture;
        struct bytes data = {message, is_multipart[i] ? 0 : 32};
        _cleanup_(buffer_clear) struct buffer saved = {0};
        guard(&guarded, true);
        assert_false(token_caller_is_asking(fixture->caller));
        assert_false(token_caller_take_back(fixture->caller));
        begin_ecdsa(&guarded);
        if (is_multipart[i]) {
            assert_int_equal(update(&guarded.identities, message, 32), CKR_OK);
        }
        assert_int_equal(sign(&guarded.identities, data, is_multipart[i], &guarded.outcome),
                         CKR_OK);
        assert_true(token_caller_is_asking(fixture->caller));
        assert_true(token_caller_take_back(fixture->caller));
        assert_false(token_caller_is_asking(fixture->caller));
        assert_int_equal(fixture->under_way, 0);
        token_caller_save(fixture->caller, &saved);
        token_caller_free(fixture->caller);
        watchman_answer(&guarded.watchman, CKR_OK);
        fixture->caller = fixture_caller(fixture);
        assert_int_equal(token_caller_restore(fixture->caller, buffer_bytes(&saved), NULL), 0);
        fixture_publish(fixture, guarded.identities.generations, KEY_TYPE_COUNT, KEY_TYPE_COUNT,
                        NULL);
        set_guard(&guarded, &guarded.watchman);
        assert_int_equal(guarded.outcome.calls, 0);
        assert_int_equal(sign(&guarded.identities, data, is_multipart[i], &guarded.outcome),
                         CKR_OK);
        watchman_answer(&guarded.watchman, CKR_OK);
        await(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.outcome.rv, CKR_OK);
        check(&guarded, 2, 1, CKR_OK);
        leave(&guarded);
    }
}

static void test_not_taken_back(void **state)
{
    (void)state;
    static const uint8_t much[TOKEN_SIGN_DATA_MAX + 1];
    struct guarded guarded;
    struct obstacle obstacles[WORKERS];
    guard(&guarded, true);
    struct token_caller *caller = guarded.identities.fixture.caller;
    /* Hashed already. */
    assert_int_equal(
        begin(&guarded.identities, CKM_ECDSA_SHA256, key_of(&guarded.identities, KEY_TYPE_EC_P256)),
        CKR_OK);
    assert_int_equal(update(&guarded.identities, much, sizeof(much)), CKR_OK);
    assert_int_equal(sign(&guarded.identities, (struct bytes){0}, true, &guarded.outcome), CKR_OK);
    assert_false(token_caller_take_back(caller));
    watchman_answer(&guarded.watchman, CKR_OK);
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(guarded.outcome.rv, CKR_OK);
    /* Answered already. */
    begin_and_sign(&guarded.identities, &guarded.outcome);
    watchman_answer(&guarded.watchman, CKR_OK);
    assert_false(token_caller_take_back(caller));
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(guarded.outcome.rv, CKR_OK);
    /* At the keystore. */
    guarded.watchman.is_late = false;
    block_workers(&guarded.identities, obstacles);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    assert_false(token_caller_take_back(caller));
    free_workers(obstacles);
    await(&guarded.identities, &guarded.outcome);
    check(&guarded, 3, 3, CKR_OK);
    leave(&guarded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_answered_before_admit_returns),
        cmocka_unit_test(test_answered_by_another_thread),
        cmocka_unit_test(test_freed_while_another_thread_answers),
        cmocka_unit_test(test_freed_before_the_answer),
        cmocka_unit_test(test_freed_after_the_answer),
        cmocka_unit_test(test_meanwhile),
        cmocka_unit_test(test_many_questions),
        cmocka_unit_test(test_saved_before_the_answer),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_not_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
