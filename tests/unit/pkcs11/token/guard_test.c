#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/guarded.h"

static void test_admits(void **state)
{
    (void)state;
    struct guarded guarded;
    guard(&guarded, false);
    for (unsigned i = 1; i <= 10; i++) {
        begin_and_sign(&guarded.identities, &guarded.outcome);
        check(&guarded, i, i - 1, CKR_OK);
        await(&guarded.identities, &guarded.outcome);
        assert_int_equal(guarded.outcome.rv, CKR_OK);
        assert_string_equal((const char *)(uintptr_t)guarded.watchman.admitted_tag, "ec-p256");
        check(&guarded, i, i, CKR_OK);
    }
    leave(&guarded);
}

/* The client gets the guard's code, the operation is gone, the hardware is not asked. */
static void test_refuses(void **state)
{
    (void)state;
    static const CK_RV codes[] = {CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_DEVICE_MEMORY,
                                  CKR_FUNCTION_FAILED};
    struct guarded guarded;
    guard(&guarded, false);
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        guarded.watchman.rv = codes[i];
        begin_ecdsa(&guarded);
        assert_int_equal(sign_digest(&guarded, &guarded.outcome), codes[i]);
        assert_int_equal(sign_digest(&guarded, &guarded.outcome), CKR_OPERATION_NOT_INITIALIZED);
        assert_int_equal(guarded.outcome.calls, 0);
        check(&guarded, i + 1, 0, CKR_OK);
    }
    assert_int_equal(signatures_made(&guarded.identities), 0);
    assert_int_equal(guarded.identities.fixture.under_way, 0);
    leave(&guarded);
}

/* What could not be signed anyway is no use of the key. */
static void test_is_asked_last(void **state)
{
    (void)state;
    struct guarded guarded;
    guard(&guarded, false);
    begin_ecdsa(&guarded);
    assert_int_equal(
        sign(&guarded.identities, (struct bytes){message, 65}, false, &guarded.outcome),
        CKR_DATA_LEN_RANGE);
    begin_ecdsa(&guarded);
    fixture_now_s += FIXTURE_HOUR_S;
    assert_int_equal(sign_digest(&guarded, &guarded.outcome), CKR_KEY_FUNCTION_NOT_PERMITTED);
    check(&guarded, 0, 0, CKR_OK);
    leave(&guarded);
}

/* Admitted and asked of the keystore, which has not come to it: told all the same. */
static void test_used_in_the_queue(void **state)
{
    (void)state;
    for (size_t i = 0; i <= ARRAY_SIZE(meanwhile); i++) {
        struct guarded guarded;
        struct obstacle obstacles[WORKERS];
        if (i < ARRAY_SIZE(meanwhile) && meanwhile[i].happens == expire) {
            continue; /* what the keystore was asked in time may be late */
        }
        guard(&guarded, false);
        block_workers(&guarded.identities, obstacles);
        begin_and_sign(&guarded.identities, &guarded.outcome);
        if (i < ARRAY_SIZE(meanwhile)) {
            meanwhile[i].happens(&guarded);
        } else {
            token_caller_free(take_ptr(guarded.identities.fixture.caller));
        }
        check(&guarded, 1, 0, CKR_OK);
        free_workers(obstacles);
        deliver_all(&guarded);
        check(&guarded, 1, 1, i < ARRAY_SIZE(meanwhile) ? meanwhile[i].rv : CKR_SESSION_CLOSED);
        assert_int_equal(guarded.outcome.calls, i < ARRAY_SIZE(meanwhile));
        leave(&guarded);
    }
}

/* Each signature is the business of the guard that admitted it. */
static void test_replaced(void **state)
{
    (void)state;
    struct guarded guarded;
    struct watchman second;
    guard(&guarded, true);
    watchman_init(&second);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    set_guard(&guarded, &second);
    token_guard_unref(&guarded.watchman.guard);
    assert_int_equal(guarded.watchman.frees, 0);
    watchman_answer(&guarded.watchman, CKR_OK);
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(guarded.outcome.rv, CKR_OK);
    check(&guarded, 1, 1, CKR_OK);
    assert_int_equal(guarded.watchman.frees, 1);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    await(&guarded.identities, &guarded.outcome);
    check(&guarded, 1, 1, CKR_OK);
    assert_int_equal(second.admits, 1);
    assert_int_equal(second.uses, 1);
    /* And none any more. */
    struct token_caller *caller = guarded.identities.fixture.caller;
    token_caller_set_view(caller, caller->view, NULL);
    begin_and_sign(&guarded.identities, &guarded.outcome);
    await(&guarded.identities, &guarded.outcome);
    assert_int_equal(second.admits, 1);
    tear_down(&guarded.identities);
    watchman_leave(&second);
}

/* The keystore does not take it: at once, and after a late yes. */
static void test_full_queue(void **state)
{
    (void)state;
    enum { MOST = 64 };
    static struct outcome outcomes[MOST];
    struct guarded guarded;
    struct obstacle obstacles[WORKERS];
    struct outcome late;
    guard(&guarded, true);
    block_workers(&guarded.identities, obstacles);
    begin_and_sign(&guarded.identities, &late);
    struct token_question *question = guarded.watchman.questions[0];
    guarded.watchman.is_late = false;
    for (size_t i = 0; i < MOST; i++) {
        open_another_session(&guarded);
        begin_and_sign(&guarded.identities, &outcomes[i]);
    }
    open_another_session(&guarded);
    begin_ecdsa(&guarded);
    assert_int_equal(sign_digest(&guarded, &guarded.outcome), CKR_DEVICE_MEMORY);
    check(&guarded, MOST + 2, 1, CKR_DEVICE_MEMORY);
    token_question_answer(question, CKR_OK);
    await(&guarded.identities, &late);
    assert_int_equal(late.rv, CKR_DEVICE_MEMORY);
    check(&guarded, MOST + 2, 2, CKR_DEVICE_MEMORY);
    free_workers(obstacles);
    deliver_all(&guarded);
    check(&guarded, MOST + 2, MOST + 2, CKR_OK);
    leave(&guarded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admits),        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_is_asked_last), cmocka_unit_test(test_used_in_the_queue),
        cmocka_unit_test(test_replaced),      cmocka_unit_test(test_full_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
