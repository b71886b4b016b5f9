#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/obstacle.h"

/* PKCS#11 v2.40 5.11. */
static void test_order_of_calls(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    CK_ULONG size = 0;
    set_up(&identities);
    struct fixture *fixture = &identities.fixture;
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    struct bytes digest = {message, 32};
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(update(&identities, message, 1), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size),
                     CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OPERATION_ACTIVE);
    /* gnutls asks for the size first: that ends nothing. */
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size), CKR_OK);
    assert_int_equal(token_signature_size(fixture->caller, fixture->session, &size), CKR_OK);
    assert_int_equal(size, 64);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OK);
    /* One at a time. */
    struct outcome second;
    assert_int_equal(sign(&identities, digest, false, &second), CKR_OPERATION_ACTIVE);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OPERATION_ACTIVE);
    assert_int_equal(token_sign_init(fixture->caller, fixture->session, NULL, 0),
                     CKR_OPERATION_ACTIVE);
    await(&identities, &outcome);
    assert_int_equal(second.calls, 0);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    /* No mechanism cancels. */
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(token_sign_init(fixture->caller, fixture->session, NULL, 0), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    /* C_Sign does not end what C_SignUpdate began, and C_SignFinal ends both kinds. */
    assert_int_equal(begin(&identities, CKM_ECDSA_SHA256, key), CKR_OK);
    assert_int_equal(update(&identities, message, 1), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(sign(&identities, digest, true, &outcome), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA_SHA256, key), CKR_OK);
    assert_int_equal(sign(&identities, (struct bytes){0}, true, &outcome), CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    tear_down(&identities);
}

/* A wrong length ends the operation. */
static void test_wrong_lengths(void **state)
{
    (void)state;
    static const uint8_t many[TOKEN_SIGN_DATA_MAX + 1];
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    static const size_t sizes[] = {0, 65, sizeof(many)};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
        assert_int_equal(sign(&identities, (struct bytes){many, sizes[i]}, false, &outcome),
                         CKR_DATA_LEN_RANGE);
        assert_int_equal(sign(&identities, (struct bytes){many, 32}, false, &outcome),
                         CKR_OPERATION_NOT_INITIALIZED);
    }
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(update(&identities, many, sizeof(many) - 1), CKR_OK);
    assert_int_equal(update(&identities, many, 1), CKR_DATA_LEN_RANGE);
    assert_int_equal(update(&identities, many, 1), CKR_OPERATION_NOT_INITIALIZED);
    tear_down(&identities);
}

static void test_handles(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    const struct token_generation *generation = identities.generations[KEY_TYPE_EC_P256];
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    assert_int_equal(begin(&identities, CKM_ECDSA, 0), CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, key + 16), CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, fixture_handle(generation, OBJECT_LEAF)),
                     CKR_KEY_HANDLE_INVALID);
    assert_int_equal(begin(&identities, CKM_ECDSA, fixture_handle(generation, OBJECT_PUBLIC_KEY)),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    assert_int_equal(token_sign_init(identities.fixture.caller, 99, &mechanism, key),
                     CKR_SESSION_HANDLE_INVALID);
    tear_down(&identities);
}

/* Programs keep handles for days: the one before goes on signing, until its certificate ends. */
static void test_old_handle_signs_until_expiry(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    struct bytes digest = {message, 32};
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    fixture_publish(&identities.fixture, identities.generations, 0, 1, NULL);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    fixture_now_s += FIXTURE_HOUR_S;
    assert_int_equal(sign(&identities, digest, false, &outcome), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    tear_down(&identities);
}

/* Withdrawn: refused in C_SignInit, and again in C_Sign, with the code that no client takes for a
 * missing PIN or for a reason to try again. */
static void test_withdrawn(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    CK_OBJECT_HANDLE key = key_of(&identities, KEY_TYPE_EC_P256);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    fixture_publish(&identities.fixture, identities.generations + 1, 2, 2, NULL);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &outcome),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &outcome),
                     CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(begin(&identities, CKM_ECDSA, key + 16), CKR_KEY_HANDLE_INVALID);
    CK_ATTRIBUTE label = {.type = CKA_LABEL};
    assert_int_equal(
        token_get_attributes(identities.fixture.caller, identities.fixture.session, key, &label, 1),
        CKR_OBJECT_HANDLE_INVALID);
    /* And allowed again. */
    fixture_publish(&identities.fixture, identities.generations, 3, 3, NULL);
    assert_int_equal(begin(&identities, CKM_ECDSA, key), CKR_OK);
    tear_down(&identities);
}

/* Withdrawn while it waits for the hardware: the hardware is not asked. */
static void test_withdrawn_in_the_queue(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    token_caller_set_view(identities.fixture.caller, NULL, NULL);
    free_workers(obstacles);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(outcome.size, 0);
    assert_int_equal(signatures_made(&identities), 0);
    tear_down(&identities);
}

/* Withdrawn when the signature is made and not yet given out: nobody gets it. */
static void test_withdrawn_after_signing(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    begin_and_sign(&identities, &outcome);
    struct pollfd descriptor = {.fd = mailbox_descriptor(identities.fixture.mailbox),
                                .events = POLLIN};
    assert_int_equal(poll(&descriptor, 1, FIXTURE_WAIT_MS), 1);
    fixture_publish(&identities.fixture, identities.generations + 1, 2, 2, NULL);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(outcome.size, 0);
    assert_int_equal(signatures_made(&identities), 1);
    tear_down(&identities);
}

/* A rotation is no withdrawal. */
static void test_retired_in_the_queue(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    fixture_publish(&identities.fixture, identities.generations, 0, 3, NULL);
    free_workers(obstacles);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_OK);
    tear_down(&identities);
}

/* The program is killed between C_Sign and its answer: done never runs, nothing is left behind. */
static void test_caller_freed(void **state)
{
    (void)state;
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    struct outcome outcome;
    set_up(&identities);
    block_workers(&identities, obstacles);
    begin_and_sign(&identities, &outcome);
    token_caller_free(take_ptr(identities.fixture.caller));
    assert_int_equal(identities.fixture.under_way, 1);
    free_workers(obstacles);
    while (identities.fixture.under_way > 0) {
        fixture_deliver(&identities.fixture);
    }
    assert_int_equal(outcome.calls, 0);
    assert_int_equal(signatures_made(&identities), 0);
    tear_down(&identities);
}

static void free_caller(void *user, CK_RV rv, struct bytes signature)
{
    struct fixture *fixture = user;
    assert_int_equal(rv, CKR_OK);
    assert_int_equal(signature.size, 64);
    token_caller_free(take_ptr(fixture->caller));
}

static void test_done_frees_caller(void **state)
{
    (void)state;
    struct identities identities;
    set_up(&identities);
    assert_int_equal(begin(&identities, CKM_ECDSA, key_of(&identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(token_sign(identities.fixture.caller, identities.fixture.session,
                                (struct bytes){message, 32}, false, free_caller,
                                &identities.fixture),
                     CKR_OK);
    while (identities.fixture.caller) {
        fixture_deliver(&identities.fixture);
    }
    tear_down(&identities);
}

static void test_session_closed(void **state)
{
    (void)state;
    struct identities identities;
    struct outcome outcome;
    set_up(&identities);
    begin_and_sign(&identities, &outcome);
    assert_int_equal(token_close_session(identities.fixture.caller, identities.fixture.session),
                     CKR_OK);
    await(&identities, &outcome);
    assert_int_equal(outcome.rv, CKR_SESSION_CLOSED);
    assert_int_equal(outcome.size, 0);
    tear_down(&identities);
}

/* Sessions are independent, up to what one process may have waiting. */
static void test_full_queue(void **state)
{
    (void)state;
    enum { MOST = 64 };
    struct identities identities;
    struct obstacle obstacles[WORKERS];
    static struct outcome outcomes[MOST];
    struct outcome refused;
    set_up(&identities);
    block_workers(&identities, obstacles);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(token_open_session(identities.fixture.caller, TOKEN_SLOT_ID,
                                            CKF_SERIAL_SESSION, &identities.fixture.session),
                         CKR_OK);
        begin_and_sign(&identities, &outcomes[i]);
    }
    assert_int_equal(token_open_session(identities.fixture.caller, TOKEN_SLOT_ID,
                                        CKF_SERIAL_SESSION, &identities.fixture.session),
                     CKR_OK);
    assert_int_equal(begin(&identities, CKM_ECDSA, key_of(&identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(sign(&identities, (struct bytes){message, 32}, false, &refused),
                     CKR_DEVICE_MEMORY);
    free_workers(obstacles);
    while (identities.fixture.under_way > 0) {
        fixture_deliver(&identities.fixture);
    }
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rv, CKR_OK);
    }
    assert_int_equal(refused.calls, 0);
    tear_down(&identities);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_calls),
        cmocka_unit_test(test_wrong_lengths),
        cmocka_unit_test(test_handles),
        cmocka_unit_test(test_old_handle_signs_until_expiry),
        cmocka_unit_test(test_withdrawn),
        cmocka_unit_test(test_withdrawn_in_the_queue),
        cmocka_unit_test(test_withdrawn_after_signing),
        cmocka_unit_test(test_retired_in_the_queue),
        cmocka_unit_test(test_caller_freed),
        cmocka_unit_test(test_done_frees_caller),
        cmocka_unit_test(test_session_closed),
        cmocka_unit_test(test_full_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
