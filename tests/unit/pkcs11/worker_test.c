/* What happens when the hardware goes away and comes back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "tests/unit/pkcs11/fake_driver.h"

struct fixture {
    struct fake fake;
    struct keystore *keystore;
    struct key *key;
};

static void set_up_with(struct fixture *fixture, unsigned workers)
{
    const struct keystore_config config = {
        .name = "fake", .driver = &fake_driver, .driver_config = &fixture->fake};
    fake_init(&fixture->fake);
    fixture->fake.workers = workers;
    fixture->key = NULL;
    assert_int_equal(keystore_new(&config, &fixture->keystore, NULL), 0);
    assert_int_equal(keystore_key_generate(fixture->keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &fixture->key, NULL),
                     0);
    keystore_on_change(fixture->keystore, fake_changed, &fixture->fake);
}

static void tear_down(struct fixture *fixture)
{
    if (fixture->key) {
        key_unref(fixture->key);
    }
    keystore_free(fixture->keystore);
    fake_destroy(&fixture->fake);
}

static int sign(struct key *key, struct error *err)
{
    const uint8_t digest[32] = {'s'};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, {digest, sizeof(digest)}};
    return key_sign(key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, err);
}

static void check_state(struct fixture *fixture, enum keystore_state expected, const char *reason)
{
    struct keystore_status status;
    keystore_status(fixture->keystore, &status);
    assert_int_equal(status.state, expected);
    assert_string_equal(status.reason, reason);
}

static void never_run(struct keystore_job *job)
{
    (void)job;
    abort();
}

static void check_lost_and_found(unsigned workers)
{
    struct fixture fixture;
    struct error err = {0};
    struct keystore_job job = {.run = never_run};
    set_up_with(&fixture, workers);
    FAKE_SET(&fixture.fake, is_lost = true);
    assert_int_equal(sign(fixture.key, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_string_equal(err.text, "signing: keystore fake: the cable is out");
    FAKE_UNTIL(&fixture.fake, fixture.fake.changes == 1);
    check_state(&fixture, KEYSTORE_STATE_LOST, "the cable is out");

    /* No work piles up meanwhile, and none touches the hardware. */
    assert_int_equal(keystore_submit(fixture.keystore, &job, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(sign(fixture.key, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_string_equal(err.text, "signing: keystore fake is lost: the cable is out");
    assert_int_equal(keystore_probe(fixture.keystore, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_true(key_is_alive(fixture.key));

    FAKE_UNTIL(&fixture.fake, fixture.fake.probes >= 3);
    FAKE_SET(&fixture.fake, is_lost = false);
    FAKE_UNTIL(&fixture.fake, fixture.fake.changes == 2);
    check_state(&fixture, KEYSTORE_STATE_READY, "");
    assert_int_equal(sign(fixture.key, NULL), 0);
    tear_down(&fixture);
}

static void test_lost_and_found(void **state)
{
    (void)state;
    check_lost_and_found(1);
    check_lost_and_found(3);
}

static void test_back_off_grows(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 2);
    uint64_t lost_ms = clock_monotonic_ms();
    FAKE_SET(&fixture.fake, is_lost = true);
    assert_int_equal(sign(fixture.key, NULL), -1);
    FAKE_UNTIL(&fixture.fake, fixture.fake.probes >= 5);
    (void)pthread_mutex_lock(&fixture.fake.lock);
    uint64_t before_ms = lost_ms;
    /* The nth delay is between half and all of 100 ms doubled n times. */
    uint64_t delay_ms = 100;
    for (size_t i = 0; i < 5; i++) {
        uint64_t waited_ms = fixture.fake.probe_ms[i] - before_ms;
        assert_true(waited_ms + 2 >= delay_ms / 2);
        before_ms = fixture.fake.probe_ms[i];
        delay_ms *= 2;
    }
    (void)pthread_mutex_unlock(&fixture.fake.lock);
    tear_down(&fixture);
}

/* When the hardware was asked last, which is just before it counts as there again. */
static uint64_t last_probe_ms(struct fake *fake)
{
    (void)pthread_mutex_lock(&fake->lock);
    uint64_t last_ms = fake->probe_ms[fake->probes - 1];
    (void)pthread_mutex_unlock(&fake->lock);
    return last_ms;
}

/* False: this thread was held up for so long that the hardware may count as steady. */
static bool check_unsteady(struct fixture *fixture)
{
    struct fake *fake = &fixture->fake;
    uint64_t back_ms = 0;
    for (unsigned i = 0; i < 4; i++) {
        /* The least that is waited this time, and the most that was the time before. */
        uint64_t least_ms = 50U << i;
        FAKE_SET(fake, is_lost = true);
        uint64_t lost_ms = clock_monotonic_ms();
        assert_int_equal(sign(fixture->key, NULL), -1);
        if (i > 0 && clock_monotonic_ms() - back_ms > least_ms) {
            return false;
        }
        FAKE_SET(fake, is_lost = false);
        FAKE_UNTIL(fake, fake->changes == 2 * i + 2);
        assert_true(clock_monotonic_ms() + 2 >= lost_ms + least_ms);
        back_ms = last_probe_ms(fake);
    }
    return true;
}

/* Hardware that answers a probe and then fails again is not asked ten times a second for ever. */
static void test_back_off_of_an_unsteady_one(void **state)
{
    (void)state;
    bool is_checked = false;
    for (unsigned tries = 0; tries < 20 && !is_checked; tries++) {
        struct fixture fixture;
        set_up_with(&fixture, 1);
        is_checked = check_unsteady(&fixture);
        tear_down(&fixture);
    }
    assert_true(is_checked);
}

/* Keys that nobody holds any more are closed when the hardware is back. */
static void test_keys_are_closed_later(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 1);
    FAKE_SET(&fixture.fake, history_size = 0);
    FAKE_SET(&fixture.fake, is_lost = true);
    assert_int_equal(sign(fixture.key, NULL), -1);
    key_unref(take_ptr(fixture.key));
    FAKE_UNTIL(&fixture.fake, fixture.fake.probes >= 1);
    FAKE_SET(&fixture.fake, is_lost = false);
    FAKE_UNTIL(&fixture.fake, fixture.fake.history_size == 1);
    assert_int_equal(fixture.fake.history[0], 'C');
    tear_down(&fixture);
}

static void test_free_while_lost(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 2);
    FAKE_SET(&fixture.fake, is_lost = true);
    assert_int_equal(sign(fixture.key, NULL), -1);
    FAKE_UNTIL(&fixture.fake, fixture.fake.probes >= 1);
    tear_down(&fixture);
}

static void test_lost_keys(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {0};
    set_up_with(&fixture, 1);
    FAKE_SET(&fixture.fake, loses_keys = true);
    assert_int_equal(sign(fixture.key, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_false(key_is_alive(fixture.key));
    FAKE_UNTIL(&fixture.fake, fixture.fake.changes == 1);
    check_state(&fixture, KEYSTORE_STATE_READY, "");

    /* From then on the hardware is not bothered with it. */
    FAKE_SET(&fixture.fake, loses_keys = false);
    FAKE_SET(&fixture.fake, history_size = 0);
    assert_int_equal(sign(fixture.key, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_int_equal(fixture.fake.history_size, 0);
    assert_int_equal(key_uses(fixture.key), 0);
    tear_down(&fixture);
}

/* A job that is in hand when the hardware goes away: each of its commands fails at once. */
struct long_job {
    struct keystore_job job;
    struct fixture *fixture;
    unsigned unavailable;
    atomic_bool is_done;
};

static void run_long_job(struct keystore_job *job)
{
    struct long_job *long_job = container_of(job, struct long_job, job);
    for (int i = 0; i < 5; i++) {
        struct error err = {0};
        long_job->unavailable +=
            sign(long_job->fixture->key, &err) < 0 && err.code == ERROR_UNAVAILABLE;
    }
    atomic_store(&long_job->is_done, true);
    FAKE_SET(&long_job->fixture->fake, steps = 0);
}

static void test_lost_within_a_job(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 1);
    struct long_job job = {.job = {.run = run_long_job}, .fixture = &fixture};
    FAKE_SET(&fixture.fake, is_stopped = true);
    assert_int_equal(keystore_submit(fixture.keystore, &job.job, NULL), 0);
    FAKE_UNTIL(&fixture.fake, fixture.fake.inside == 1);
    FAKE_SET(&fixture.fake, steps = 1);
    FAKE_UNTIL(&fixture.fake, fixture.fake.steps == 0 && fixture.fake.inside == 1);
    FAKE_SET(&fixture.fake, is_lost = true);
    FAKE_SET(&fixture.fake, steps = 1);
    FAKE_UNTIL(&fixture.fake, atomic_load(&job.is_done));
    assert_int_equal(job.unavailable, 4);
    FAKE_SET(&fixture.fake, is_stopped = false);
    tear_down(&fixture);
}

/* Many threads sign while the hardware comes and goes; for the sanitizers above all. */
static enum keystore_state state_of(struct keystore *keystore)
{
    struct keystore_status status;
    keystore_status(keystore, &status);
    return status.state;
}

enum { SIGNERS = 8 };
struct storm {
    struct fixture fixture;
    atomic_bool is_over;
    atomic_uint signed_count, refused_count;
};

static void *sign_in_storm(void *argument)
{
    struct storm *storm = argument;
    while (!atomic_load(&storm->is_over)) {
        struct error err = {0};
        if (sign(storm->fixture.key, &err) == 0) {
            (void)atomic_fetch_add(&storm->signed_count, 1);
        } else if (err.code == ERROR_UNAVAILABLE) {
            (void)atomic_fetch_add(&storm->refused_count, 1);
        } else {
            abort();
        }
    }
    return NULL;
}

static void test_storm(void **state)
{
    (void)state;
    struct storm storm = {0};
    pthread_t threads[SIGNERS];
    set_up_with(&storm.fixture, 3);
    struct fake *fake = &storm.fixture.fake;
    struct keystore *keystore = storm.fixture.keystore;
    for (size_t i = 0; i < SIGNERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sign_in_storm, &storm), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        FAKE_SET(fake, is_lost = true);
        FAKE_UNTIL(fake, state_of(keystore) == KEYSTORE_STATE_LOST);
        FAKE_SET(fake, is_lost = false);
        FAKE_UNTIL(fake, state_of(keystore) == KEYSTORE_STATE_READY);
    }
    atomic_store(&storm.is_over, true);
    for (size_t i = 0; i < SIGNERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_true(atomic_load(&storm.signed_count) > 0);
    assert_true(atomic_load(&storm.refused_count) > 0);
    assert_int_equal(key_uses(storm.fixture.key), atomic_load(&storm.signed_count));
    tear_down(&storm.fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_and_found),
        cmocka_unit_test(test_back_off_grows),
        cmocka_unit_test(test_back_off_of_an_unsteady_one),
        cmocka_unit_test(test_keys_are_closed_later),
        cmocka_unit_test(test_free_while_lost),
        cmocka_unit_test(test_lost_keys),
        cmocka_unit_test(test_lost_within_a_job),
        cmocka_unit_test(test_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
