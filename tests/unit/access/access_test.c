#include "tests/unit/access/door.h"

static void a_process_is_offered_what_entries_give(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct access_status status;
    guest_open(door, &guest, ACCESS_PURPOSE_FETCH, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_string_equal(guest.ids, "a");
    assert_null(guest.guard);
    assert_int_equal(access_holders(door->access, "spiffe://example.org/a"), 1);
    fixture_remove(door->fixture, "a");
    FIXTURE_WAIT(door->fixture, guest.offers == 2);
    assert_string_equal(guest.ids, "");
    assert_int_equal(guest.denied.code, ERROR_OK);
    assert_int_equal(access_holders(door->access, "spiffe://example.org/a"), 0);
    access_status(door->access, &status);
    assert_int_equal(status.identified, 1);
    assert_int_equal(status.denied_by[AUDIT_DECIDER_ENTRY], 1);
    assert_int_equal(status.watches, 1);
    guest_close(&guest);
}

static void locks_take_effect_before_the_return(void **state)
{
    struct door *door = *state;
    struct guest guests[2];
    struct access_effect effect;
    struct error err;
    char pid[16];
    (void)snprintf(pid, sizeof(pid), "%d", getpid());
    const struct {
        enum lock_kind kind;
        const char *what;
    } locks[] = {
        {LOCK_NODE, ""},
        {LOCK_SPIFFE_ID, "spiffe://example.org/a"},
        {LOCK_SPIFFE_ID, "spiffe://example.org/*"},
        {LOCK_PID, pid},
    };
    guest_open(door, &guests[0], ACCESS_PURPOSE_FETCH, -1);
    guest_open(door, &guests[1], ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guests[0].offers == 1 && guests[1].offers == 1);
    for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
        (void)set_lock(door, locks[i].kind, locks[i].what);
        access_policy_changed(door->access, &effect);
        assert_string_equal(guests[0].ids, "");
        assert_string_equal(guests[1].ids, "");
        assert_int_equal(guests[0].denied.code, ERROR_PERMISSION_DENIED);
        assert_non_null(strstr(guests[0].denied.text, "ticket 1"));
        assert_int_equal(effect.processes, 1);
        assert_int_equal(effect.identities, 1);
        assert_int_equal(locks_remove(policy_locks(door->policy), locks[i].kind, locks[i].what,
                                      NULL, ignore_lock, NULL, &err),
                         0);
        access_policy_changed(door->access, &effect);
        assert_string_equal(guests[0].ids, "a");
        assert_string_equal(guests[1].ids, "a");
        assert_int_equal(use(&guests[1]), CKR_OK);
    }
    guest_close(&guests[0]);
    guest_close(&guests[1]);
}

static void uses_are_limited_and_counted(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct access_status status;
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_int_equal(use(&guest), CKR_OK);
    set_rule(door, (struct rule){.max_uses = 3});
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    /* It is the process that has used them up, not the connection. */
    guest_close(&guest);
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    set_rule(door, (struct rule){.sign_rate = 1, .sign_burst = 2});
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_OK);
    assert_int_equal(use(&guest), CKR_DEVICE_MEMORY);
    FIXTURE_WAIT(door->fixture, (access_status(door->access, &status), status.used == 5));
    FIXTURE_WAIT(door->fixture,
                 (access_status(door->access, &status), status.denied_by[AUDIT_DECIDER_RULE] == 3));
    /* A key of another generation is not this one. */
    guest.tag++;
    assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
    guest_close(&guest);
}

static void who_does_not_meet_the_rule_is_denied(void **state)
{
    struct door *door = *state;
    struct guest guest;
    const struct {
        struct rule rule;
        const char *reason;
    } cases[] = {
        {{.executables = {.items = (char *[]){(char *)"unix:sha256:00"}, .count = 1}},
         "executable"},
        {{.requires_attested = true}, "attested"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rule rule = cases[i].rule;
        struct text_list executables = {0};
        text_list_copy(&executables, &rule.executables);
        rule.executables = executables;
        guest_open(door, &guest, ACCESS_PURPOSE_FETCH, -1);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        assert_string_equal(guest.ids, "a");
        set_rule(door, rule);
        assert_string_equal(guest.ids, "");
        assert_non_null(strstr(guest.denied.text, cases[i].reason));
        guest_close(&guest);
        set_rule(door, (struct rule){0});
    }
}

static void a_watch_may_end_within_its_offer(void **state)
{
    struct door *door = *state;
    struct guest guests[3];
    for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
        guest_open(door, &guests[i], ACCESS_PURPOSE_USE, -1);
    }
    FIXTURE_WAIT(door->fixture, guests[2].offers == 1);
    guests[0].must_end = guests[2].must_end = true;
    access_policy_changed(door->access, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
        assert_int_equal(guests[i].offers, 2);
        guest_close(&guests[i]);
    }
    guest_open(door, &guests[0], ACCESS_PURPOSE_FETCH, -1); /* gone before it is known who it is */
    guest_close(&guests[0]);
    fixture_settle(door->fixture);
}

static void another_program_ends_what_the_old_one_had(void **state)
{
    struct door *door = *state;
    for (int must_use = 0; must_use < 2; must_use++) {
        struct guest guest;
        struct child child = child_start();
        guest_open(door, &guest, ACCESS_PURPOSE_USE, child.connection);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        assert_int_equal(use(&guest), CKR_OK);
        child_become_sleep(&child);
        /* At its next use at once, else when it is looked at again. */
        if (must_use) {
            assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        FIXTURE_WAIT(door->fixture, guest.is_over);
        assert_non_null(strstr(guest.failure.text, "another program"));
        guest_close(&guest);
        child_end(&child);
    }
}

/* What was seen when it asked is told, though it has ended when the loop hears of it. */
static void who_ends_after_a_refusal_is_told_as_it_was(void **state)
{
    struct door *door = *state;
    for (int is_changed = 0; is_changed < 2; is_changed++) {
        struct guest guest;
        struct child child = child_start();
        struct access_status before;
        struct access_status after;
        access_status(door->access, &before);
        guest_open(door, &guest, ACCESS_PURPOSE_USE, child.connection);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        if (is_changed) {
            child_become_sleep(&child);
            assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
            child_end(&child);
        } else {
            child_end(&child);
            assert_int_equal(use(&guest), CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        FIXTURE_WAIT(door->fixture, guest.is_over);
        assert_non_null(strstr(guest.failure.text, is_changed ? "another program" : "has ended"));
        access_status(door->access, &after);
        assert_int_equal(after.changed_processes - before.changed_processes, is_changed);
        guest_close(&guest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOOR_TEST(a_process_is_offered_what_entries_give),
        DOOR_TEST(locks_take_effect_before_the_return),
        DOOR_TEST(uses_are_limited_and_counted),
        DOOR_TEST(who_does_not_meet_the_rule_is_denied),
        DOOR_TEST(a_watch_may_end_within_its_offer),
        DOOR_TEST(another_program_ends_what_the_old_one_had),
        DOOR_TEST(who_ends_after_a_refusal_is_told_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
