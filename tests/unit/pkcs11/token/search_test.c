#include "tests/unit/cmocka_all.h"

#include "tests/unit/pkcs11/token/fixture.h"

enum { LIMIT = 64 };

static struct token_generation *new_generation(struct fixture *fixture, const char *label)
{
    return fixture_generation(fixture, label, KEY_TYPE_EC_P256, (struct bytes){0});
}

static void unref_all(struct token_generation **generations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        token_generation_unref(generations[i]);
    }
}

static struct bytes id_of(const struct token_generation *generation)
{
    return (struct bytes){key_id(generation->key), KEY_ID_BYTES};
}

/* The key that a search by label finds, or 0; there must not be two. */
static CK_OBJECT_HANDLE find_key(struct fixture *fixture, const char *label)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_OBJECT_HANDLE objects[LIMIT];
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (void *)label, strlen(label)}};
    size_t count = fixture_find(fixture, wanted, 2, objects, LIMIT);
    assert_true(count <= 1);
    return count == 1 ? objects[0] : 0;
}

static void assert_key(struct fixture *fixture, const struct token_generation *generation)
{
    struct bytes label = generation_label(generation);
    char text[16] = {0};
    memcpy(text, label.data, label.size);
    assert_int_equal(find_key(fixture, text), fixture_handle(generation, OBJECT_PRIVATE_KEY));
}

/* Programs search by any attribute: NSS by VALUE, ISSUER and SERIAL_NUMBER, SUBJECT; ssh by SIGN.
 */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    unsigned object;
    size_t expected; /* objects of one identity among two */
} searched[] = {
    {CKA_ID, OBJECT_LEAF, 3},
    {CKA_LABEL, OBJECT_LEAF, 3},
    {CKA_VALUE, OBJECT_LEAF, 1},
    {CKA_SUBJECT, OBJECT_LEAF, 3},
    {CKA_ISSUER, OBJECT_LEAF, 1},
    {CKA_SERIAL_NUMBER, OBJECT_LEAF, 1},
    {CKA_PUBLIC_KEY_INFO, OBJECT_PRIVATE_KEY, 3},
    {CKA_EC_POINT, OBJECT_PRIVATE_KEY, 2},
    {CKA_EC_PARAMS, OBJECT_PRIVATE_KEY, 4},
    {CKA_SIGN, OBJECT_PRIVATE_KEY, 2},
    {CKA_CLASS, OBJECT_PUBLIC_KEY, 2},
    {CKA_TOKEN, OBJECT_LEAF, 6},
    {CKA_CERTIFICATE_TYPE, OBJECT_LEAF, 2},
};

static void test_any_attribute(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {new_generation(&fixture, "a"),
                                              new_generation(&fixture, "b")};
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, generations, 2, 2, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(searched); i++) {
        struct bytes value = fixture_attribute(
            &fixture, fixture_handle(generations[1], searched[i].object), searched[i].type);
        size_t count = fixture_find_one(&fixture, searched[i].type, value, objects, LIMIT);
        if (count != searched[i].expected) {
            fail_msg("0x%lx: %zu", searched[i].type, count);
        }
        /* One byte less is another value. */
        value.size--;
        assert_int_equal(fixture_find_one(&fixture, searched[i].type, value, objects, LIMIT), 0);
    }
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, LIMIT), 6);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

/* A peer can declare 2 GiB and send nothing: then there is a length and no value. */
static void test_absurd_templates(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generation = new_generation(&fixture, "a");
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    uint8_t guess[32] = {0};
    CK_ATTRIBUTE templates[] = {
        {CKA_ID, NULL, 0x7ffffff0},
        {CKA_ID, NULL, KEY_ID_BYTES},
        {CKA_LABEL, NULL, 0},
        {CKA_ID, guess, 0},
        {CKA_VALUE, guess, 0},
        {CKA_PRIVATE_EXPONENT, guess, 0},
        {CKA_PRIVATE_EXPONENT, NULL, 0},
        {CKA_WRAP_TEMPLATE, guess, sizeof(guess)},
        {CKA_VENDOR_DEFINED | 0x4e534350, guess, 8},
    };
    CK_OBJECT_HANDLE objects[LIMIT];
    for (size_t i = 0; i < ARRAY_SIZE(templates); i++) {
        assert_int_equal(fixture_find(&fixture, &templates[i], 1, objects, LIMIT), 0);
    }
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

/* Both generations visible breaks curl in either order; the old one invisible breaks the nginx
 * worker that connects late and ssh-agent, which look for the exact ID. */
static void test_one_generation_for_each_label(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {new_generation(&fixture, "a"),
                                              new_generation(&fixture, "a")};
    struct token_generation *old = generations[1];
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, generations, 1, 2, NULL);
    assert_key(&fixture, generations[0]);
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, LIMIT), 3);
    assert_int_equal(fixture_find_one(&fixture, CKA_ID, id_of(old), objects, LIMIT), 3);
    assert_int_equal(objects[0], fixture_handle(old, OBJECT_LEAF));
    static const CK_ATTRIBUTE_TYPE exact[] = {CKA_VALUE, CKA_SERIAL_NUMBER};
    for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
        struct bytes value =
            fixture_attribute(&fixture, fixture_handle(old, OBJECT_LEAF), exact[i]);
        assert_int_equal(fixture_find_one(&fixture, exact[i], value, objects, LIMIT), 1);
        assert_int_equal(objects[0], fixture_handle(old, OBJECT_LEAF));
    }
    /* The public key tells one generation as well, but nobody looks for it. */
    struct bytes info =
        fixture_attribute(&fixture, fixture_handle(old, OBJECT_LEAF), CKA_PUBLIC_KEY_INFO);
    assert_int_equal(fixture_find_one(&fixture, CKA_PUBLIC_KEY_INFO, info, objects, LIMIT), 0);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

/* An ID is that of one key for ever, also while both generations are there. */
static void test_no_id_is_used_again(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {new_generation(&fixture, "a"),
                                              new_generation(&fixture, "a")};
    assert_false(bytes_is_equal(id_of(generations[0]), id_of(generations[1])));
    for (unsigned object = OBJECT_LEAF; object <= OBJECT_PUBLIC_KEY; object++) {
        assert_int_not_equal(fixture_handle(generations[0], object),
                             fixture_handle(generations[1], object));
    }
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

/* Certificate and key are found by two searches: a rotation between them must not show. */
static void test_pin(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *old = new_generation(&fixture, "a");
    struct token_generation *generations[] = {new_generation(&fixture, "a"), old};
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, &old, 1, 1, NULL);
    assert_key(&fixture, old);
    fixture_now_ms += TOKEN_PIN_MS - 1;
    fixture_publish(&fixture, generations, 1, 2, NULL);
    assert_key(&fixture, old);
    /* Who knows the new one exactly finds it already. */
    assert_int_equal(fixture_find_one(&fixture, CKA_ID, id_of(generations[0]), objects, LIMIT), 3);
    fixture_now_ms += 1;
    assert_key(&fixture, generations[0]);
    /* Pinned again, to the new one. */
    fixture_publish(&fixture, &old, 1, 1, NULL);
    assert_key(&fixture, old);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

static void test_pin_lasts_over_rotations(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {new_generation(&fixture, "a"),
                                              new_generation(&fixture, "a"),
                                              new_generation(&fixture, "a")};
    fixture_publish(&fixture, generations + 2, 1, 1, NULL);
    assert_key(&fixture, generations[2]);
    fixture_publish(&fixture, generations + 1, 1, 2, NULL);
    assert_key(&fixture, generations[2]);
    fixture_publish(&fixture, generations, 1, 3, NULL);
    assert_key(&fixture, generations[2]);
    fixture_now_ms += TOKEN_PIN_MS;
    assert_key(&fixture, generations[0]);
    unref_all(generations, 3);
    fixture_tear_down(&fixture);
}

/* A withdrawn identity is gone at once, pinned or not; others that are pinned stay so. */
static void test_pin_shows_nothing_withdrawn(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *before[] = {new_generation(&fixture, "a"),
                                         new_generation(&fixture, "b")};
    struct token_generation *after[] = {new_generation(&fixture, "b"),
                                        new_generation(&fixture, "c"), before[1]};
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, before, 2, 2, NULL);
    assert_key(&fixture, before[0]);
    fixture_publish(&fixture, after, 2, 3, NULL);
    assert_int_equal(find_key(&fixture, "a"), 0);
    assert_int_equal(fixture_find_one(&fixture, CKA_ID, id_of(before[0]), objects, LIMIT), 0);
    assert_key(&fixture, before[1]);
    /* A new identity does not wait for the end of the pin. */
    assert_key(&fixture, after[1]);
    token_caller_set_view(fixture.caller, NULL, NULL);
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, LIMIT), 0);
    unref_all(before, 2);
    unref_all(after, 2);
    fixture_tear_down(&fixture);
}

/* What is over is not pinned: its successor shows at once. */
static void test_pin_ends_with_the_certificate(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *old = new_generation(&fixture, "a");
    fixture_publish(&fixture, &old, 1, 1, NULL);
    assert_key(&fixture, old);
    fixture_now_s += FIXTURE_HOUR_S;
    struct token_generation *generations[] = {new_generation(&fixture, "a"), old};
    fixture_publish(&fixture, generations, 1, 2, NULL);
    assert_key(&fixture, generations[0]);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

/* A pin does not keep a key in the hardware that nobody may use. */
static void test_pin_keeps_no_key(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *old = new_generation(&fixture, "a");
    struct token_generation *new = new_generation(&fixture, "a");
    fixture_publish(&fixture, &old, 1, 1, NULL);
    assert_key(&fixture, old);
    fixture_publish(&fixture, &new, 1, 1, NULL);
    assert_int_equal(old->references, 1);
    assert_key(&fixture, new);
    token_generation_unref(old);
    token_generation_unref(new);
    fixture_tear_down(&fixture);
}

/* gnutls asks for a PIN where nothing is found: what is issued shows at once, pinned or not. */
static void test_an_empty_token_is_not_pinned(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    assert_int_equal(find_key(&fixture, "a"), 0);
    fixture_publish(&fixture, NULL, 0, 0, NULL);
    assert_int_equal(find_key(&fixture, "a"), 0);
    struct token_generation *generation = new_generation(&fixture, "a");
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    assert_key(&fixture, generation);
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

/* The cut-off at notAfter: neither by label nor by ID. */
static void test_expired(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generations[] = {new_generation(&fixture, "a"),
                                              new_generation(&fixture, "a")};
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, generations, 1, 2, NULL);
    fixture_now_s += FIXTURE_HOUR_S - 1;
    assert_int_equal(fixture_find_one(&fixture, CKA_ID, id_of(generations[1]), objects, LIMIT), 3);
    fixture_now_s += 1;
    assert_int_equal(fixture_find_one(&fixture, CKA_ID, id_of(generations[1]), objects, LIMIT), 0);
    assert_int_equal(find_key(&fixture, "a"), 0);
    CK_ATTRIBUTE label = {.type = CKA_LABEL};
    assert_int_equal(token_get_attributes(fixture.caller, fixture.session,
                                          fixture_handle(generations[1], OBJECT_LEAF), &label, 1),
                     CKR_OBJECT_HANDLE_INVALID);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

/* Two generations may share an intermediate: one object, and found as long as one has it. */
static void test_shared_intermediate(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    _cleanup_(buffer_clear) struct buffer middle = {0};
    fixture_certify(&fixture, fixture.ca, "middle", 5, &middle);
    struct token_generation *generations[] = {
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, buffer_bytes(&middle)),
        fixture_generation(&fixture, "a", KEY_TYPE_EC_P256, buffer_bytes(&middle)),
    };
    CK_OBJECT_HANDLE objects[LIMIT];
    fixture_publish(&fixture, generations, 1, 2, NULL);
    assert_int_equal(fixture_find(&fixture, NULL, 0, objects, LIMIT), 4);
    struct bytes value = buffer_bytes(&middle);
    assert_int_equal(fixture_find_one(&fixture, CKA_VALUE, value, objects, LIMIT), 1);
    CK_OBJECT_HANDLE handle = objects[0];
    fixture_publish(&fixture, generations + 1, 1, 1, NULL);
    assert_int_equal(fixture_find_one(&fixture, CKA_VALUE, value, objects, LIMIT), 1);
    assert_int_equal(objects[0], handle);
    unref_all(generations, 2);
    fixture_tear_down(&fixture);
}

static void test_rules(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_set_up(&fixture);
    struct token_generation *generation = new_generation(&fixture, "a");
    struct token_caller *caller = fixture.caller;
    CK_OBJECT_HANDLE objects[2];
    size_t count = 9;
    fixture_publish(&fixture, &generation, 1, 1, NULL);
    assert_int_equal(token_find_init(caller, 99, NULL, 0), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(token_find(caller, fixture.session, objects, 2, &count),
                     CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(token_find_final(caller, fixture.session), CKR_OPERATION_NOT_INITIALIZED);
    assert_int_equal(token_find_init(caller, fixture.session, NULL, 0), CKR_OK);
    assert_int_equal(token_find_init(caller, fixture.session, NULL, 0), CKR_OPERATION_ACTIVE);
    assert_int_equal(token_find(caller, fixture.session, objects, 2, &count), CKR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(token_find(caller, fixture.session, objects, 0, &count), CKR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(token_find(caller, fixture.session, objects, 2, &count), CKR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(objects[0], fixture_handle(generation, OBJECT_PUBLIC_KEY));
    assert_int_equal(token_find(caller, fixture.session, objects, 2, &count), CKR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(token_find_final(caller, fixture.session), CKR_OK);
    token_generation_unref(generation);
    fixture_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_attribute),
        cmocka_unit_test(test_absurd_templates),
        cmocka_unit_test(test_one_generation_for_each_label),
        cmocka_unit_test(test_no_id_is_used_again),
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_pin_lasts_over_rotations),
        cmocka_unit_test(test_pin_shows_nothing_withdrawn),
        cmocka_unit_test(test_pin_ends_with_the_certificate),
        cmocka_unit_test(test_pin_keeps_no_key),
        cmocka_unit_test(test_an_empty_token_is_not_pinned),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_shared_intermediate),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
