/* Handles of private keys that were withdrawn are told from those that never were keys. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/fixture.h"

/* Counts what it is told of. */
struct witness {
    struct token_guard guard;
    size_t refusals;
    CK_OBJECT_HANDLE last;
};

static void note_refusal(struct token_guard *guard, CK_OBJECT_HANDLE key)
{
    struct witness *witness = container_of(guard, struct witness, guard);
    witness->refusals++;
    witness->last = key;
}

static void keep_witness(struct token_guard *guard)
{
    (void)guard;
}

static const struct token_guard_operations witness_operations = {.free = keep_witness,
                                                                 .refused = note_refusal};

static void publish_to(struct fixture *fixture, struct witness *witness,
                       struct token_generation **generations, size_t count)
{
    struct token_view *view = token_view_new(generations, count, NULL, 0, NULL);
    token_caller_set_view(fixture->caller, view, &witness->guard);
    token_view_unref(view);
}

/* What C_SignInit says of the key, which the guard hears of where it is not allowed any more. */
static void expect_key(struct fixture *fixture, const struct witness *witness,
                       const struct token_generation *generation, CK_RV expected)
{
    CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
    CK_OBJECT_HANDLE key = fixture_handle(generation, OBJECT_PRIVATE_KEY);
    CK_SESSION_HANDLE session = 0;
    size_t before = witness->refusals;
    assert_int_equal(
        token_open_session(fixture->caller, TOKEN_SLOT_ID, CKF_SERIAL_SESSION, &session), CKR_OK);
    assert_int_equal(token_sign_init(fixture->caller, session, &mechanism, key), expected);
    assert_int_equal(token_close_session(fixture->caller, session), CKR_OK);
    bool is_told = expected == CKR_KEY_FUNCTION_NOT_PERMITTED;
    assert_int_equal(witness->refusals, before + is_told);
    assert_true(!is_told || witness->last == key);
}

static void make_identities(struct fixture *fixture, struct token_generation **generations,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char label[32];
        (void)snprintf(label, sizeof(label), "identity/%zu", i);
        generations[i] = fixture_generation(fixture, label, KEY_TYPE_EC_P256, (struct bytes){0});
    }
}

static void free_identities(struct token_generation **generations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        token_generation_unref(generations[i]);
    }
}

/* Of those that come one by one the 65th pushes the first out: still refused, less precisely. One
 * that comes back is the newest when it is withdrawn again. */
static void test_remembered(void **state)
{
    (void)state;
    enum { COUNT = TOKEN_REMEMBERED_MIN + 1 };
    struct fixture fixture;
    struct witness witness = {.guard = {&witness_operations, 1}};
    struct token_generation *generations[COUNT];
    fixture_set_up(&fixture);
    make_identities(&fixture, generations, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        publish_to(&fixture, &witness, &generations[i], 1);
        publish_to(&fixture, &witness, NULL, 0);
        publish_to(&fixture, &witness, &generations[i], 1);
        publish_to(&fixture, &witness, NULL, 0);
    }
    expect_key(&fixture, &witness, generations[0], CKR_KEY_HANDLE_INVALID);
    for (size_t i = 1; i < COUNT; i++) {
        expect_key(&fixture, &witness, generations[i], CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    publish_to(&fixture, &witness, &generations[1], 1);
    publish_to(&fixture, &witness, &generations[0], 1);
    publish_to(&fixture, &witness, NULL, 0);
    expect_key(&fixture, &witness, generations[0], CKR_KEY_FUNCTION_NOT_PERMITTED);
    expect_key(&fixture, &witness, generations[1], CKR_KEY_FUNCTION_NOT_PERMITTED);
    expect_key(&fixture, &witness, generations[2], CKR_KEY_HANDLE_INVALID);
    expect_key(&fixture, &witness, generations[3], CKR_KEY_FUNCTION_NOT_PERMITTED);
    free_identities(generations, COUNT);
    fixture_tear_down(&fixture);
}

/* However many are withdrawn at once, and also where that is while the agent is down. */
static void test_all_withdrawn_at_once(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct fixture fixture;
    struct witness witness = {.guard = {&witness_operations, 1}};
    struct token_generation *generations[COUNT + 1];
    fixture_set_up(&fixture);
    make_identities(&fixture, generations, COUNT + 1);
    publish_to(&fixture, &witness, generations, COUNT);
    _cleanup_(buffer_clear) struct buffer saved = {0};
    token_caller_save(fixture.caller, &saved);
    publish_to(&fixture, &witness, NULL, 0);
    for (size_t i = 0; i < COUNT; i++) {
        expect_key(&fixture, &witness, generations[i], CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    expect_key(&fixture, &witness, generations[COUNT], CKR_KEY_HANDLE_INVALID);
    token_caller_free(fixture.caller);
    fixture.caller = fixture_caller(&fixture);
    assert_int_equal(token_caller_restore(fixture.caller, buffer_bytes(&saved), NULL), 0);
    publish_to(&fixture, &witness, generations, 1);
    expect_key(&fixture, &witness, generations[0], CKR_OK);
    for (size_t i = 1; i < COUNT; i++) {
        expect_key(&fixture, &witness, generations[i], CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    free_identities(generations, COUNT + 1);
    fixture_tear_down(&fixture);
}

static CK_OBJECT_HANDLE handle_of(size_t number)
{
    return 1000 + number;
}

static void append_keys(struct buffer *state, uint16_t seen, uint16_t count, size_t from)
{
    buffer_append_u16(state, seen);
    buffer_append_u16(state, count);
    for (size_t i = 0; i < count; i++) {
        buffer_append_u64(state, handle_of(from + i));
    }
}

/* Each limit of what is saved once from within and once from without, and cut. */
static void test_saved(void **state)
{
    (void)state;
    static const struct {
        uint16_t seen, count, cut;
        bool is_good;
    } cases[] = {
        {0, 0, 0, true},        {1, 3, 0, true},     {4096, 4096, 0, true}, {4096, 4097, 0, false},
        {4097, 4096, 0, false}, {64, 100, 1, false}, {0, 0, 1, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(withdrawn_clear) struct withdrawn withdrawn = {0};
        _cleanup_(buffer_clear) struct buffer saved = {0};
        _cleanup_(buffer_clear) struct buffer again = {0};
        append_keys(&saved, cases[i].seen, cases[i].count, 0);
        struct reader reader = reader_of((struct bytes){saved.data, saved.size - cases[i].cut});
        assert_int_equal(withdrawn_restore(&withdrawn, &reader), cases[i].is_good);
        assert_int_equal(withdrawn.count, cases[i].is_good ? cases[i].count : 0);
        withdrawn_save(&withdrawn, NULL, &again);
        assert_true(!cases[i].is_good ||
                    bytes_is_equal(buffer_bytes(&saved), buffer_bytes(&again)));
    }
}

/* What was saved with the keys that were seen then is more than is kept: the oldest go, once it is
 * known which of them are there still. */
static void test_limit_after_a_restart(void **state)
{
    (void)state;
    enum { SEEN = 100, COUNT = 150 };
    _cleanup_(withdrawn_clear) struct withdrawn withdrawn = {0};
    _cleanup_(buffer_clear) struct buffer saved = {0};
    append_keys(&saved, SEEN, COUNT, 0);
    struct reader reader = reader_of(buffer_bytes(&saved));
    assert_true(withdrawn_restore(&withdrawn, &reader));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(withdrawn_has(&withdrawn, handle_of(i)));
    }
    withdrawn_update(&withdrawn, NULL, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(withdrawn_has(&withdrawn, handle_of(i)), i >= COUNT - SEEN);
    }
}

/* A connection of which nothing was withdrawn, or nothing that did not come back, has no memory
 * for it. */
static void test_memory(void **state)
{
    (void)state;
    enum { COUNT = 3 };
    struct fixture fixture;
    struct witness witness = {.guard = {&witness_operations, 1}};
    struct token_generation *generations[COUNT];
    fixture_set_up(&fixture);
    make_identities(&fixture, generations, COUNT);
    const struct withdrawn *withdrawn = &fixture.caller->withdrawn;
    publish_to(&fixture, &witness, generations, COUNT);
    publish_to(&fixture, &witness, generations, COUNT);
    assert_null(withdrawn->keys);
    publish_to(&fixture, &witness, generations, 1);
    assert_int_equal(withdrawn->count, COUNT - 1);
    publish_to(&fixture, &witness, generations, COUNT);
    assert_null(withdrawn->keys);
    assert_int_equal(withdrawn->count, 0);
    free_identities(generations, COUNT);
    fixture_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembered), cmocka_unit_test(test_all_withdrawn_at_once),
        cmocka_unit_test(test_saved),      cmocka_unit_test(test_limit_after_a_restart),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
