/* What changes between a decision and what comes of it. */
#include "tests/unit/access/door.h"

#include "agent/access/state.h"

static void a_lock_does_not_wait_for_the_disk(void **state)
{
    struct door *door = *state;
    struct guest guests[2];
    struct access_effect effect;
    guest_open(door, &guests[0], ACCESS_PURPOSE_USE, -1);
    guest_open(door, &guests[1], ACCESS_PURPOSE_FETCH, -1);
    FIXTURE_WAIT(door->fixture, guests[0].offers == 1 && guests[1].offers == 1);
    door->access->has_doubtful_record = true; /* whatever is given must wait */
    (void)set_lock(door, LOCK_SPIFFE_ID, "spiffe://example.org/a");
    access_policy_changed(door->access, &effect);
    for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
        assert_string_equal(guests[i].ids, "");
        assert_int_equal(guests[i].denied.code, ERROR_PERMISSION_DENIED);
    }
    assert_int_equal(effect.identities, 1);
    FIXTURE_WAIT(door->fixture, !door->access->has_doubtful_record);
    assert_string_equal(guests[0].ids, "");
    guest_close(&guests[0]);
    guest_close(&guests[1]);
}

/* Only what is lost is taken away at once, and of a stream nothing that would end it. */
static void what_may_stay_stays_meanwhile(void **state)
{
    struct door *door = *state;
    struct guest guest;
    _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
    fixture_add(door->fixture, "b", "b", selector);
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, strcmp(guest.ids, "a b") == 0);
    door->access->has_doubtful_record = true;
    (void)set_lock(door, LOCK_SPIFFE_ID, "spiffe://example.org/a");
    access_policy_changed(door->access, NULL);
    assert_string_equal(guest.ids, "b");
    assert_int_equal(use(&guest), CKR_OK);
    FIXTURE_WAIT(door->fixture, !door->access->has_doubtful_record);
    assert_string_equal(guest.ids, "b");
    door->access->has_doubtful_record = true;
    fixture_remove(door->fixture, "b");
    assert_string_equal(guest.ids, "");
    guest_close(&guest);
}

static void who_could_not_be_recorded_is_offered_it_later(void **state)
{
    struct door *door = *state;
    struct guest guest;
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    unsigned offers = guest.offers;
    door->access->has_uncommitted = true;
    access_beat(door->access);
    FIXTURE_WAIT(door->fixture, guest.offers > offers);
    assert_false(door->access->has_uncommitted);
    assert_string_equal(guest.ids, "a");
    guest_close(&guest);
}

static void record_again(void *user, struct svid_x509 *svid)
{
    const struct manager_watcher *watcher = user;
    watcher->issued(watcher->user, svid, NULL);
}

/* The door is closed before the log, which tells then. */
static void the_end_comes_before_a_record_is_on_the_disk(void **state)
{
    struct door *door = *state;
    struct guest guest;
    guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
    FIXTURE_WAIT(door->fixture, guest.offers == 1);
    guest_close(&guest);
    manager_each_svid(door->fixture->manager, record_again, &door->fixture->manager->watcher);
    assert_false(LIST_EMPTY(&door->access->unrecorded));
}

static void a_refusal_is_recorded_also_where_nothing_was_issued(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct access_status status;
    (void)set_lock(door, LOCK_NODE, "");
    guest_open(door, &guest, ACCESS_PURPOSE_FETCH, -1);
    FIXTURE_WAIT(door->fixture, guest.offers + guest.failures > 0);
    assert_int_equal(guest.failure.code, ERROR_PERMISSION_DENIED);
    access_status(door->access, &status);
    assert_int_equal(status.denied_by[AUDIT_DECIDER_LOCK], 1);
    guest_close(&guest);
}

static void another_program_gets_nothing_that_was_asked_for_before(void **state)
{
    struct door *door = *state;
    struct guest guest;
    struct child child = child_start();
    door->fixture->issuer.is_held = true;
    guest_open(door, &guest, ACCESS_PURPOSE_FETCH, child.connection);
    FIXTURE_WAIT(door->fixture, door->fixture->issuer.x509_count == 1);
    child_become_sleep(&child);
    door->fixture->issuer.is_held = false;
    fake_wake(&door->fixture->issuer);
    FIXTURE_WAIT(door->fixture, guest.is_over);
    assert_int_equal(guest.offers, 0);
    guest_close(&guest);
    child_end(&child);
}

/* Each child is another process to the records. */
static void a_crowd_without_identities_is_counted(void **state)
{
    /* So many that the rate of one a second does not let all of them through on a slow machine. */
    enum { CHILDREN = 400 };
    struct door *door = *state;
    struct access_status status;
    fixture_remove(door->fixture, "a");
    for (int i = 0; i < CHILDREN; i++) {
        struct guest guest;
        struct child child = child_start();
        guest_open(door, &guest, ACCESS_PURPOSE_FETCH, child.connection);
        FIXTURE_WAIT(door->fixture, guest.offers == 1);
        guest_close(&guest);
        child_end(&child);
    }
    struct audit_status log;
    audit_status(door->audit, &log);
    assert_in_range(log.records + log.waiting, 200, CHILDREN - 1);
    FIXTURE_WAIT(door->fixture, (access_status(door->access, &status),
                                 status.denied_by[AUDIT_DECIDER_ENTRY] == CHILDREN));
}

/* JWT-SVIDs. */

struct fetched {
    bool is_done;
    size_t count;
    struct error failure;
};

static void fetched(void *user, const struct jwt_svid *svids, size_t count,
                    const struct error *failure)
{
    struct fetched *result = user;
    (void)svids;
    assert_false(result->is_done);
    *result = (struct fetched){.is_done = true, .count = count};
    if (failure) {
        result->failure = *failure;
    }
}

static void lock_it(struct door *door)
{
    (void)set_lock(door, LOCK_SPIFFE_ID, "spiffe://example.org/a");
    access_policy_changed(door->access, NULL);
}

static void remove_it(struct door *door)
{
    fixture_remove(door->fixture, "a");
}

static void rename_it(struct door *door)
{
    _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
    fixture_add(door->fixture, "a", "other", selector);
}

static void do_nothing(struct door *door)
{
    (void)door;
}

static void a_token_is_decided_again_before_it_is_given(void **state)
{
    struct door *door = *state;
    char *items[] = {(char *)"audience"};
    const struct text_list audience = {.items = items, .count = 1};
    static const struct {
        void (*change)(struct door *door);
        size_t count;
    } cases[] = {{do_nothing, 1}, {rename_it, 0}, {lock_it, 0}, {remove_it, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fetched result = {0};
        struct guest guest;
        _cleanup_(free_cleanup) char *selector = text_format("unix:uid:%u", getuid());
        fixture_add(door->fixture, "a", "a", selector);
        guest_open(door, &guest, ACCESS_PURPOSE_USE, -1);
        FIXTURE_WAIT(door->fixture, guest.offers + guest.failures > 0);
        jwt_cache_forget(door->fixture->manager->jwts, "a");
        door->fixture->issuer.is_held = true;
        access_jwt_fetch(door->access, guest.caller, &audience, NULL, fetched, &result);
        FIXTURE_WAIT(door->fixture, door->fixture->issuer.jwt_count == 1);
        cases[i].change(door);
        door->fixture->issuer.is_held = false;
        fake_wake(&door->fixture->issuer);
        FIXTURE_WAIT(door->fixture, result.is_done);
        assert_int_equal(result.count, cases[i].count);
        if (cases[i].count == 0) {
            assert_int_equal(result.failure.code, ERROR_PERMISSION_DENIED);
        }
        guest_close(&guest);
        struct error err;
        (void)locks_remove(policy_locks(door->policy), LOCK_SPIFFE_ID, "spiffe://example.org/a",
                           NULL, ignore_lock, NULL, &err);
        access_policy_changed(door->access, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECORDED_DOOR_TEST(a_lock_does_not_wait_for_the_disk),
        RECORDED_DOOR_TEST(what_may_stay_stays_meanwhile),
        RECORDED_DOOR_TEST(who_could_not_be_recorded_is_offered_it_later),
        RECORDED_DOOR_TEST(the_end_comes_before_a_record_is_on_the_disk),
        DOOR_TEST(a_refusal_is_recorded_also_where_nothing_was_issued),
        DOOR_TEST(another_program_gets_nothing_that_was_asked_for_before),
        RECORDED_DOOR_TEST(a_crowd_without_identities_is_counted),
        DOOR_TEST(a_token_is_decided_again_before_it_is_given),
        RECORDED_DOOR_TEST(a_token_is_decided_again_before_it_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
