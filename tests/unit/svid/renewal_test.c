#include "tests/unit/svid/fixture.h"

#include "agent/svid/timing.h"

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

/* One identity, issued, with a watcher. */
static void open_one(struct fixture *fixture, struct watcher *watcher)
{
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher->sets == 1);
    fixture_settle(fixture);
}

static void renews_at_about_half_of_life_with_a_new_key(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    open_one(fixture, &watcher);
    struct svid_x509 *before = svid_x509_ref(watcher.set->svids[0]);
    fixture_pass(fixture, 2 * HOUR_MS / 5 - 1000);
    fixture_settle(fixture);
    assert_int_equal(fixture->issuer.x509_issued, 1);
    fixture_pass(fixture, HOUR_MS / 5 + 2000);
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    assert_memory_not_equal(watcher.set->svids[0]->key_id, before->key_id, KEY_ID_BYTES);
    /* In the background: nobody waits for it. */
    assert_int_equal(fixture->issuer.background_count, 1);
    /* The one before stays on the token until it expires, and its key still works. */
    assert_ptr_equal(watcher.set->svids[0]->previous, before);
    assert_int_equal(before->references, 2);
    assert_true(key_is_alive(before->key));
    svid_x509_unref(before);
    watcher_close(&watcher);
}

static void renews_for_days_and_never_shows_an_expired_one(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    open_one(fixture, &watcher);
    for (int i = 0; i < 2 * 24 * 6; i++) {
        fixture_pass(fixture, HOUR_MS / 6);
        fixture_settle(fixture);
    }
    assert_in_range(watcher.sets, 72, 144);
    assert_int_equal(watcher.failures, 0);
    watcher_close(&watcher);
}

static void what_nobody_asks_for_is_left_to_expire(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct manager_counters counters;
    open_one(fixture, &watcher);
    fixture_pass(fixture, HOUR_MS / 4);
    watcher_close(&watcher);
    /* It was in use during its life: renewed once more. */
    fixture_pass(fixture, HOUR_MS / 2);
    FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == 2);
    /* That one was not. */
    fixture_pass(fixture, 3 * HOUR_MS / 4);
    fixture_settle(fixture);
    assert_int_equal(fixture->issuer.x509_issued, 2);
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.svids, 1);
    fixture_pass(fixture, HOUR_MS / 2);
    fixture_settle(fixture);
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.svids, 0);
    assert_int_equal(fixture->issuer.x509_issued, 2);
    /* Who comes then waits for a new one. */
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.sets + watcher.failures, 0);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_close(&watcher);
}

static void callers_that_left_keep_no_replaced_key(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    manager_set_rules(fixture->manager,
                      fixture_rule("*", KEY_PROTECTION_DELIVERED, KEY_TYPE_EC_P256, NULL));
    open_one(fixture, &watcher);
    struct svid_x509 *svid = svid_x509_ref(watcher.set->svids[0]);
    watcher_close(&watcher);
    assert_int_equal(svid->references,
                     3);           /* the identity's and that of the set kept for next time */
    fixture_pass(fixture, 400000); /* of 600 s */
    FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == 2);
    fixture_settle(fixture);
    assert_int_equal(svid->references, 1);
    svid_x509_unref(svid);
}

static void a_clock_set_forward_expires_and_reissues_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    struct watcher late;
    open_one(fixture, &watcher);
    fixture->issuer.is_held = true;
    fixture_jump(fixture, DAY_MS);
    assert_int_equal(watcher.failures, 1);
    assert_int_equal(watcher.failure.code, ERROR_UNAVAILABLE);
    /* Who comes now gets nothing that has expired, but waits. */
    watcher_open(fixture, &late, "unix:uid:1");
    assert_int_equal(late.sets + late.failures, 0);
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == 1);
    assert_int_equal(fixture->issuer.urgent_count, 2);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    FIXTURE_WAIT(fixture, watcher.sets == 2 && late.sets == 1);
    assert_ptr_equal(watcher.set, late.set);
    watcher_close(&late);
    watcher_close(&watcher);
}

static void an_expired_one_is_not_handed_out_before_the_timers_run(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    open_one(fixture, &watcher);
    watcher_close(&watcher);
    fixture_wall_ms += DAY_MS; /* nobody has noticed yet */
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.sets + watcher.failures, 0);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_close(&watcher);
}

static void a_clock_set_back_reissues_what_is_not_valid_yet(void **state)
{
    static const struct {
        int64_t jump_ms;
        unsigned issued;
    } table[] = {{-DAY_MS, 1}, {-HOUR_MS, 1}, {-11000, 1}, {-9000, 0}, {-1000, 0}, {60000, 0}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct watcher watcher;
        size_t before = fixture->issuer.x509_issued;
        open_one(fixture, &watcher);
        fixture_jump(fixture, table[i].jump_ms);
        FIXTURE_WAIT(fixture, fixture->issuer.x509_issued == before + 1 + table[i].issued);
        fixture_settle(fixture);
        assert_int_equal(fixture->issuer.x509_issued, before + 1 + table[i].issued);
        assert_int_equal(watcher.sets, 1 + table[i].issued);
        assert_int_equal(watcher.failures, 0);
        watcher_close(&watcher);
        fixture_remove(fixture, "1");
    }
}

static void an_issuer_ahead_of_this_clock_makes_no_loop(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.skew_s = 120;
    open_one(fixture, &watcher);
    for (int i = 0; i < 10; i++) {
        fixture_pass(fixture, 5000);
        fixture_settle(fixture);
    }
    assert_int_equal(fixture->issuer.x509_issued, 1);
    watcher_close(&watcher);
}

static int64_t renewal_lag_s(struct fixture *fixture)
{
    struct manager_counters counters;
    fixture_settle(fixture);
    manager_counters(fixture->manager, &counters);
    return counters.renewal_lag_s;
}

/* Only what fails counts: not what is in time, and not what nobody follows. */
static void lag_grows_while_renewal_fails(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    assert_int_equal(renewal_lag_s(fixture), 0);
    open_one(fixture, &watcher);
    fixture_pass(fixture, HOUR_MS / 3);
    assert_int_equal(renewal_lag_s(fixture), 0);
    fixture->issuer.failure = "the CA is away";
    fixture_pass(fixture, HOUR_MS / 2);
    /* It was due after 24 to 36 minutes of the 50. */
    assert_in_range(renewal_lag_s(fixture), 14 * 60 - 1, 26 * 60 + 1);
    /* Also when the SVID has expired. */
    fixture_pass(fixture, HOUR_MS);
    assert_in_range(renewal_lag_s(fixture), 74 * 60 - 1, 86 * 60 + 1);
    fixture->issuer.failure = NULL;
    fixture_pass(fixture, HOUR_MS / 4);
    FIXTURE_WAIT(fixture, watcher.set && watcher.set->count == 1 && watcher.sets == 2);
    assert_int_equal(renewal_lag_s(fixture), 0);
    watcher_close(&watcher);
    fixture->issuer.failure = "the CA is away";
    fixture_pass(fixture, 2 * HOUR_MS);
    assert_int_equal(renewal_lag_s(fixture), 0);
}

static void failures_back_off_and_end_before_expiry(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    open_one(fixture, &watcher);
    fixture->issuer.failure = "the CA is away";
    /* From the renewal to just before the end, in steps of a second. */
    size_t background = fixture->issuer.background_count + fixture->issuer.urgent_count;
    for (int i = 0; i < 3590; i++) {
        fixture_pass(fixture, 1000);
        if (i % 10 == 0 || fixture->issuer.x509_count > 0 ||
            issuances_count(&fixture->manager->issuances) > 0) {
            fixture_settle(fixture);
        }
    }
    size_t tries = fixture->issuer.background_count + fixture->issuer.urgent_count - background;
    assert_in_range(tries, 15, 120);
    assert_int_equal(watcher.sets, 1);
    assert_int_equal(watcher.failures, 0);
    struct manager_counters counters;
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.failures, tries);
    fixture->issuer.failure = NULL;
    fixture_pass(fixture, 2000);
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    watcher_close(&watcher);
}

static void a_first_failure_is_told_and_so_is_the_end_of_it(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.failure = "the CA is away";
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.failures == 1);
    assert_int_equal(watcher.failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(watcher.failure.text, "the CA is away"));
    for (int i = 0; i < 20; i++) {
        fixture_pass(fixture, 10000);
        fixture_settle(fixture);
    }
    assert_int_equal(watcher.failures, 1); /* not again and again */
    fixture->issuer.failure = NULL;
    fixture_pass(fixture, 61000);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_close(&watcher);
}

static void nothing_but_time_ends_the_back_off(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.failure = "the CA is away";
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.failures == 1);
    fixture_jump(fixture, DAY_MS);
    struct entry *entry = fixture_entry(fixture, "1", "a", "unix:uid:1");
    free(entry->hint);
    entry->hint = memory_copy_text("hint");
    fixture_set(fixture, entry);
    watcher_close(&watcher);
    watcher_open(fixture, &watcher, "unix:uid:1");
    fixture_settle(fixture);
    assert_int_equal(fixture->issuer.urgent_count, 1);
    assert_int_equal(watcher.failures, 1); /* the newcomer is told why at once */
    fixture_pass(fixture, 1501);
    FIXTURE_WAIT(fixture, fixture->issuer.urgent_count == 2);
    fixture_settle(fixture);
    watcher_close(&watcher);
}

static void trying_ends_when_nobody_waits_any_more(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.failure = "the CA is away";
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.failures == 1);
    watcher_close(&watcher);
    for (int i = 0; i < 20; i++) {
        fixture_pass(fixture, 61000);
        fixture_settle(fixture);
    }
    size_t tries = fixture->issuer.urgent_count + fixture->issuer.background_count;
    for (int i = 0; i < 20; i++) {
        fixture_pass(fixture, 61000);
        fixture_settle(fixture);
    }
    assert_int_equal(fixture->issuer.urgent_count + fixture->issuer.background_count, tries);
    /* Whoever comes next has a try of their own. */
    fixture->issuer.failure = NULL;
    watcher_open(fixture, &watcher, "unix:uid:1");
    assert_int_equal(watcher.failures, 0);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_close(&watcher);
}

static void an_issuer_that_gives_expired_ones_is_a_failure(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    fixture->issuer.life_s = -5;
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.failures == 1);
    assert_non_null(strstr(watcher.failure.text, "clocks"));
    assert_int_equal(watcher.sets, 0);
    watcher_close(&watcher);
}

static void a_renewal_that_waits_too_long_becomes_urgent(void **state)
{
    enum { COUNT = ISSUANCES_BACKGROUND_MAX + 4 };
    struct fixture *fixture = *state;
    struct watcher watcher;
    for (int i = 0; i < COUNT; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "%d", i);
        fixture_add(fixture, id, "a", "unix:uid:1");
    }
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    fixture_settle(fixture);
    size_t urgent = fixture->issuer.urgent_count;
    fixture->issuer.is_held = true;
    fixture_pass(fixture, HOUR_MS * 61 / 100);
    FIXTURE_WAIT(fixture, fixture->issuer.x509_count == ISSUANCES_BACKGROUND_MAX);
    fixture_pass(fixture, HOUR_MS * 13 / 100);
    fixture_turn(fixture);
    assert_int_equal(fixture->issuer.urgent_count, urgent);
    fixture_pass(fixture, HOUR_MS * 2 / 100);
    FIXTURE_WAIT(fixture, fixture->issuer.urgent_count == urgent + COUNT);
    fixture->issuer.is_held = false;
    fake_wake(&fixture->issuer);
    fixture_settle(fixture);
    assert_int_equal(watcher.failures, 0);
    assert_int_equal(watcher.set->count, COUNT);
    /* Each of the urgent ones, and none of those that were given up. */
    struct manager_counters counters;
    manager_counters(fixture->manager, &counters);
    assert_int_equal(counters.issued, 2 * COUNT);
    watcher_close(&watcher);
}

static void lost_keys_are_replaced_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    open_one(fixture, &watcher);
    fixture_pass(fixture, 10000);
    fake_lose_keys();
    manager_keystore_changed(fixture->manager, fixture->memory);
    assert_int_equal(watcher.failures, 0); /* not that one's */
    manager_keystore_changed(fixture->manager, fixture->hardware);
    assert_int_equal(watcher.failures, 1);
    FIXTURE_WAIT(fixture, watcher.sets == 2);
    assert_true(key_is_alive(watcher.set->svids[0]->key));
    FIXTURE_WAIT(fixture, key_pool_ready_count(fixture->manager->pool) == 2);
    watcher_close(&watcher);
}

static void a_keystore_that_comes_back_ends_the_back_off(void **state)
{
    struct fixture *fixture = *state;
    struct watcher watcher;
    atomic_store(&fake_hardware_fails, true);
    fixture_add(fixture, "1", "a", "unix:uid:1");
    watcher_open(fixture, &watcher, "unix:uid:1");
    FIXTURE_WAIT(fixture, watcher.failures == 1);
    for (int i = 0; i < 10; i++) {
        fixture_pass(fixture, 60000);
        fixture_settle(fixture);
    }
    atomic_store(&fake_hardware_fails, false);
    manager_keystore_changed(fixture->manager, fixture->hardware);
    fixture_pass(fixture, 1001);
    FIXTURE_WAIT(fixture, watcher.sets == 1);
    watcher_close(&watcher);
}

static void times_are_as_promised(void **state)
{
    static const struct {
        int64_t life_s, earliest_s, latest_s;
    } renewals[] = {{3600, 1440, 2160}, {10, 4, 6}, {1, 0, 1}, {0, 0, 0}, {-7, 0, 0}};
    static const struct {
        unsigned failures;
        int64_t left_s;
        uint64_t least_ms, most_ms;
    } retries[] = {
        {1, 0, 1000, 1500},    {2, 0, 2000, 3000},   {3, 0, 4000, 6000},
        {6, 0, 32000, 48000},  {7, 0, 60000, 60000}, {1000, 0, 60000, 60000},
        {7, 80, 10000, 10000}, {7, 3, 1000, 1000},   {7, -3, 60000, 60000},
    };
    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        for (size_t j = 0; j < ARRAY_SIZE(renewals); j++) {
            int64_t at_s = timing_renew_at_s(1000, 1000 + renewals[j].life_s) - 1000;
            assert_true(at_s >= renewals[j].earliest_s && at_s <= renewals[j].latest_s);
        }
        for (size_t j = 0; j < ARRAY_SIZE(retries); j++) {
            uint64_t wait_ms = timing_retry_ms(retries[j].failures, retries[j].left_s);
            assert_in_range(wait_ms, retries[j].least_ms, retries[j].most_ms);
        }
    }
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(renews_at_about_half_of_life_with_a_new_key),
        FIXTURE_TEST(renews_for_days_and_never_shows_an_expired_one),
        FIXTURE_TEST(what_nobody_asks_for_is_left_to_expire),
        FIXTURE_TEST(callers_that_left_keep_no_replaced_key),
        FIXTURE_TEST(a_clock_set_forward_expires_and_reissues_at_once),
        FIXTURE_TEST(an_expired_one_is_not_handed_out_before_the_timers_run),
        FIXTURE_TEST(a_clock_set_back_reissues_what_is_not_valid_yet),
        FIXTURE_TEST(an_issuer_ahead_of_this_clock_makes_no_loop),
        FIXTURE_TEST(lag_grows_while_renewal_fails),
        FIXTURE_TEST(failures_back_off_and_end_before_expiry),
        FIXTURE_TEST(a_first_failure_is_told_and_so_is_the_end_of_it),
        FIXTURE_TEST(nothing_but_time_ends_the_back_off),
        FIXTURE_TEST(trying_ends_when_nobody_waits_any_more),
        FIXTURE_TEST(an_issuer_that_gives_expired_ones_is_a_failure),
        FIXTURE_TEST(a_renewal_that_waits_too_long_becomes_urgent),
        FIXTURE_TEST(lost_keys_are_replaced_at_once),
        FIXTURE_TEST(a_keystore_that_comes_back_ends_the_back_off),
        cmocka_unit_test(times_are_as_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
