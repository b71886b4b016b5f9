/* What many entries, many streams and many renewals at once cost. */
#include "tests/unit/svid/fixture.h"

#include <malloc.h>

enum { ENTRIES = 10000, STREAMS = 10000, ROTATIONS = 1000 };

/* What malloc says is in use; 0 where it is not asked (a sanitizer's has no such figure). */
static size_t used_bytes(void)
{
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void ten_thousand_entries_nobody_asks_for_cost_little(void **state)
{
    struct fixture *fixture = *state;
    char id[64];
    char selectors[128];
    fixture_settle(fixture);
    size_t before = used_bytes();
    for (int i = 0; i < ENTRIES; i++) {
        (void)snprintf(id, sizeof(id), "0f8fad5b-d9cb-469f-a165-%012d", i);
        (void)snprintf(selectors, sizeof(selectors),
                       "unix:uid:%d unix:path:/usr/lib/services/service-%d/bin/server", i % 7, i);
        fixture_add(fixture, id, "services/some-team/a-service-of-it", selectors);
    }
    size_t each = (used_bytes() - before) / ENTRIES;
    print_message("%zu bytes an entry\n", each);
    assert_true(each < 2048);
    assert_int_equal(fixture->issuer.x509_issued, 0);

    /* And do not slow down the one that is asked for. */
    struct watcher watcher;
    uint64_t start_ms = clock_monotonic_ms();
    for (int i = 0; i < 1000; i++) {
        watcher_open(fixture, &watcher, "unix:uid:3 unix:gid:3 unix:path:/nothing");
        assert_int_equal(watcher.set->count, 0);
        watcher_close(&watcher);
    }
    print_message("%llu us a subscription among them\n",
                  (unsigned long long)(clock_monotonic_ms() - start_ms));
    for (int i = 0; i < ENTRIES; i++) {
        (void)snprintf(id, sizeof(id), "0f8fad5b-d9cb-469f-a165-%012d", i);
        fixture_remove(fixture, id);
    }
    assert_null(fixture->manager->identities);
}

static unsigned told;

static void count_told(void *user, struct identity_set *set, const struct error *failure)
{
    (void)user;
    (void)failure;
    told += set && set->count == 1;
}

static void ten_thousand_streams_share_what_they_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct entry *caller = fixture_entry(fixture, "c", "c", "unix:uid:1 unix:gid:1 unix:path:/x");
    struct subscription **streams = memory_new_array(STREAMS, sizeof(struct subscription *));
    fixture_add(fixture, "1", "a", "unix:uid:1");
    told = 0;
    streams[0] = manager_subscribe(fixture->manager, &caller->selectors, count_told, NULL);
    FIXTURE_WAIT(fixture, told == 1);
    fixture_settle(fixture);
    size_t before = used_bytes();
    for (size_t i = 1; i < STREAMS; i++) {
        streams[i] = manager_subscribe(fixture->manager, &caller->selectors, count_told, NULL);
    }
    assert_int_equal(told, STREAMS); /* all of them at once */
    size_t each = (used_bytes() - before) / STREAMS;
    print_message("%zu bytes a stream\n", each);
    assert_true(each < 512);
    /* A renewal reaches all. */
    uint64_t start_ms = clock_monotonic_ms();
    fixture_pass(fixture, 2200000);
    FIXTURE_WAIT(fixture, told == 2 * STREAMS);
    print_message("%llu ms to renew and tell all\n",
                  (unsigned long long)(clock_monotonic_ms() - start_ms));
    for (size_t i = 0; i < STREAMS; i++) {
        subscription_free(streams[i]);
    }
    free((void *)streams);
    entry_unref(caller);
}

static void a_thousand_renewals_leave_room_for_who_comes_anew(void **state)
{
    struct fixture *fixture = *state;
    struct watcher *watchers = memory_new_array(ROTATIONS, sizeof(*watchers));
    char text[64];
    for (int i = 0; i < ROTATIONS; i++) {
        (void)snprintf(text, sizeof(text), "unix:uid:%d", i);
        fixture_add(fixture, text, "a", text);
        watcher_open(fixture, &watchers[i], text);
    }
    for (int i = 0; i < ROTATIONS; i++) {
        FIXTURE_WAIT(fixture, watchers[i].sets == 1);
    }
    fixture_settle(fixture);
    fixture->issuer.is_held = true;
    fixture->issuer.x509_most = 0;
    fixture_pass(fixture, 2200000); /* past 60 % of an hour: all are due */
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == ISSUANCES_BACKGROUND_MAX);
    fixture_turn(fixture);
    assert_int_equal(fixture->issuer.x509_most, ISSUANCES_BACKGROUND_MAX);

    /* The newcomer's is at the issuer at once, beside those that are there. */
    struct watcher newcomer;
    size_t urgent = fixture->issuer.urgent_count;
    fixture_add(fixture, "new", "new", "unix:gid:1");
    watcher_open(fixture, &newcomer, "unix:gid:1");
    FIXTURE_WAIT(fixture, fixture->issuer.urgent_count == urgent + 1);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, newcomer.sets == 1);
    for (int i = 0; i < ROTATIONS; i++) {
        FIXTURE_WAIT(fixture, watchers[i].sets == 2);
        assert_int_equal(watchers[i].failures, 0);
    }
    assert_true(fixture->issuer.x509_most <= ISSUANCES_BACKGROUND_MAX + 1);
    watcher_close(&newcomer);
    for (int i = 0; i < ROTATIONS; i++) {
        watcher_close(&watchers[i]);
    }
    free(watchers);
}

static void profiles_of_callers_that_left_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    char text[64];
    for (int i = 0; i < IDLE_PROFILES_MAX + 500; i++) {
        (void)snprintf(text, sizeof(text), "unix:uid:%d", i);
        watcher_open(fixture, &watcher, text);
        watcher_close(&watcher);
    }
    assert_int_equal(fixture->manager->profiles.idle_count, IDLE_PROFILES_MAX);
    assert_int_equal(HASH_COUNT(fixture->manager->profiles.by_selectors), IDLE_PROFILES_MAX);
    assert_int_equal(HASH_COUNT(fixture->manager->groups.by_identities), 1);
}

static void refused(void *user, struct identity_set *set, const struct error *failure)
{
    assert_null(set);
    *(struct error *)user = *failure;
}

static void subscriptions_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct text_list nothing = {0};
    struct error failure = {0};
    struct subscription **streams = memory_new_array(SUBSCRIPTIONS_MAX, sizeof(*streams));
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        streams[i] = manager_subscribe(fixture->manager, &nothing, count_told, NULL);
        assert_non_null(streams[i]);
    }
    assert_null(manager_subscribe(fixture->manager, &nothing, refused, &failure));
    assert_int_equal(failure.code, ERROR_RESOURCE_EXHAUSTED);
    subscription_free(NULL);
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        subscription_free(streams[i]);
    }
    free((void *)streams);
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(ten_thousand_entries_nobody_asks_for_cost_little),
        FIXTURE_TEST(ten_thousand_streams_share_what_they_are_told),
        FIXTURE_TEST(a_thousand_renewals_leave_room_for_who_comes_anew),
        FIXTURE_TEST(profiles_of_callers_that_left_are_bounded),
        FIXTURE_TEST(subscriptions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
