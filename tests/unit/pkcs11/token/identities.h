/* One identity with a key of each type, and signatures with them. */
#pragma once

#include "pkcs11/key_type.h"
#include "tests/unit/pkcs11/token/fixture.h"

static const uint8_t message[100] = "a message that is going to be signed, whole or in parts";

struct identities {
    struct fixture fixture;
    struct token_generation *generations[KEY_TYPE_COUNT]; /* one of each type */
};

static inline void set_up(struct identities *identities)
{
    fixture_set_up(&identities->fixture);
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        identities->generations[type] =
            fixture_generation(&identities->fixture, key_type_name((enum key_type)type),
                               (enum key_type)type, (struct bytes){0});
    }
    fixture_publish(&identities->fixture, identities->generations, KEY_TYPE_COUNT, KEY_TYPE_COUNT,
                    NULL);
}

static inline void tear_down(struct identities *identities)
{
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        token_generation_unref(identities->generations[type]);
    }
    fixture_tear_down(&identities->fixture);
}

static inline CK_OBJECT_HANDLE key_of(const struct identities *identities, enum key_type type)
{
    return fixture_handle(identities->generations[type], OBJECT_PRIVATE_KEY);
}

static inline CK_RV begin(struct identities *identities, CK_MECHANISM_TYPE type,
                          CK_OBJECT_HANDLE key)
{
    CK_MECHANISM mechanism = {.mechanism = type};
    return token_sign_init(identities->fixture.caller, identities->fixture.session, &mechanism,
                           key);
}

static inline CK_RV sign(struct identities *identities, struct bytes data, bool is_final,
                         struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    return token_sign(identities->fixture.caller, identities->fixture.session, data, is_final,
                      fixture_note, outcome);
}

static inline CK_RV update(struct identities *identities, const void *data, size_t size)
{
    return token_sign_update(identities->fixture.caller, identities->fixture.session,
                             (struct bytes){data, size});
}

static inline void await(struct identities *identities, const struct outcome *outcome)
{
    while (outcome->calls == 0) {
        fixture_deliver(&identities->fixture);
    }
    assert_int_equal(outcome->calls, 1);
}
