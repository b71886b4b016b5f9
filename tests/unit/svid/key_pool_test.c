#include "tests/unit/svid/fixture.h"

struct waiter {
    struct key_wait wait;
    unsigned calls;
    struct key_material material;
    struct error failure;
};

static void on_key(struct key_wait *wait, struct key_material *material,
                   const struct error *failure)
{
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    waiter->calls++;
    waiter->failure = failure ? *failure : (struct error){0};
    waiter->material = *material;
    *material = (struct key_material){0};
}

static struct waiter new_waiter(bool is_urgent)
{
    return (struct waiter){.wait = {.is_urgent = is_urgent, .done = on_key}};
}

static void drop(struct waiter *waiter)
{
    key_material_clear(&waiter->material);
}

static struct key_shelf *hardware_shelf(struct fixture *fixture)
{
    return key_pool_shelf(fixture->manager->pool, fixture->hardware, KEY_TYPE_EC_P256, false);
}

static size_t ready(struct fixture *fixture)
{
    return key_pool_ready_count(fixture->manager->pool);
}

static void fills_while_in_use_and_empties_after(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    assert_ptr_equal(shelf, hardware_shelf(fixture));
    fixture_settle(fixture);
    assert_int_equal(ready(fixture), 0);
    key_shelf_use(shelf);
    key_shelf_use(shelf);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    fixture_settle(fixture);
    assert_int_equal(ready(fixture), 2);
    assert_int_equal(atomic_load(&fake_key_count), 2);
    key_shelf_release(shelf);
    assert_int_equal(ready(fixture), 2);
    key_shelf_release(shelf);
    assert_int_equal(ready(fixture), 0);
}

static void gives_a_ready_one_at_once_and_only_to_who_is_in_a_hurry(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct waiter urgent = new_waiter(true);
    struct waiter patient = new_waiter(false);
    key_shelf_use(shelf);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    key_shelf_take(shelf, &patient.wait);
    assert_int_equal(patient.calls, 0);
    assert_int_equal(ready(fixture), 2);
    key_shelf_take(shelf, &urgent.wait);
    assert_int_equal(urgent.calls, 1);
    FIXTURE_WAIT(fixture, patient.calls == 1 && ready(fixture) == 2);
    assert_int_equal(atomic_load(&fake_key_count), 4);
    assert_true(key_is_alive(urgent.material.key));
    assert_true(key_material_public(urgent.material.key, NULL).size > 0);
    drop(&urgent);
    drop(&patient);
    key_shelf_release(shelf);
}

static void a_patient_one_may_come_into_a_hurry(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct waiter waiter = new_waiter(false);
    key_shelf_use(shelf);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    key_shelf_take(shelf, &waiter.wait);
    key_wait_hurry(&waiter.wait);
    assert_int_equal(waiter.calls, 1); /* off the shelf */
    drop(&waiter);
    key_shelf_release(shelf);
}

static void one_that_is_cancelled_hears_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct waiter first = new_waiter(true);
    struct waiter second = new_waiter(true);
    key_shelf_take(shelf, &first.wait);
    key_shelf_take(shelf, &second.wait);
    key_wait_cancel(&first.wait);
    FIXTURE_WAIT(fixture, second.calls == 1);
    fixture_settle(fixture);
    assert_int_equal(first.calls, 0);
    assert_int_equal(ready(fixture), 0); /* the key too many is not kept: nobody uses the shelf */
    drop(&second);
}

static void makes_keys_for_delivery(void **state)
{
    static const enum key_type types[] = {KEY_TYPE_EC_P256, KEY_TYPE_EC_P384, KEY_TYPE_RSA_2048};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct waiter waiter = new_waiter(true);
        key_shelf_take(key_pool_shelf(fixture->manager->pool, fixture->memory, types[i], true),
                       &waiter.wait);
        FIXTURE_WAIT(fixture, waiter.calls == 1);
        assert_null(waiter.material.key);
        assert_true(waiter.material.pkcs8.size > 0);
        assert_true(waiter.material.spki.size > 0);
        drop(&waiter);
    }
}

static void each_who_waits_is_told_of_a_failure_once(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct waiter waiters[6];
    atomic_store(&fake_hardware_fails, true);
    for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
        waiters[i] = new_waiter(i % 2 == 0);
        key_shelf_take(shelf, &waiters[i].wait);
    }
    fixture_settle(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
        assert_int_equal(waiters[i].calls, 1);
        assert_non_null(strstr(waiters[i].failure.text, "out of order"));
    }
}

static void trouble_with_ready_keys_backs_off(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct keystore_status before;
    struct keystore_status after;
    atomic_store(&fake_hardware_fails, true);
    key_shelf_use(shelf);
    keystore_status(fixture->hardware, &before);
    for (int i = 0; i < 600; i++) {
        fixture_pass(fixture, 1000);
        fixture_turn(fixture);
    }
    fixture_settle(fixture);
    keystore_status(fixture->hardware, &after);
    assert_in_range(after.failures - before.failures, 8, 25);
    atomic_store(&fake_hardware_fails, false);
    fixture_pass(fixture, 60001);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    key_shelf_release(shelf);
}

static void lost_ready_keys_are_thrown_away(void **state)
{
    struct fixture *fixture = *state;
    struct key_shelf *shelf = hardware_shelf(fixture);
    struct waiter waiter = new_waiter(true);
    key_shelf_use(shelf);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    fake_lose_keys();
    key_shelf_take(shelf, &waiter.wait); /* before anybody said so */
    assert_int_equal(waiter.calls, 0);
    FIXTURE_WAIT(fixture, waiter.calls == 1 && ready(fixture) == 2);
    assert_true(key_is_alive(waiter.material.key));
    drop(&waiter);
    fake_lose_keys();
    key_pool_keystore_changed(fixture->manager->pool, fixture->hardware);
    assert_int_equal(ready(fixture), 0);
    FIXTURE_WAIT(fixture, ready(fixture) == 2);
    key_shelf_release(shelf);
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(fills_while_in_use_and_empties_after),
        FIXTURE_TEST(gives_a_ready_one_at_once_and_only_to_who_is_in_a_hurry),
        FIXTURE_TEST(a_patient_one_may_come_into_a_hurry),
        FIXTURE_TEST(one_that_is_cancelled_hears_nothing),
        FIXTURE_TEST(makes_keys_for_delivery),
        FIXTURE_TEST(each_who_waits_is_told_of_a_failure_once),
        FIXTURE_TEST(trouble_with_ready_keys_backs_off),
        FIXTURE_TEST(lost_ready_keys_are_thrown_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
