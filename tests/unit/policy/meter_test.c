#include "tests/unit/cmocka_all.h"

#include <pthread.h>

#include "agent/policy/meter.h"
#include "lib/base/macro.h"

static const uint64_t second_ns = 1000000000;

/* How many there are at once. */
static unsigned take_all(struct meter *meter, uint64_t now_ns, uint32_t rate, uint64_t period_ns,
                         uint32_t burst)
{
    unsigned taken = 0;
    while (taken < 100000 && meter_take(meter, now_ns, rate, period_ns, burst, NULL)) {
        taken++;
    }
    return taken;
}

static void burst_then_rate(void **state)
{
    (void)state;
    static const struct {
        uint64_t now_ns;
        uint64_t period_ns;
        uint32_t rate, burst;
        unsigned at_once, after_a_period;
    } cases[] = {
        {0, 1000000000, 10, 10, 10, 10},       {5000000000, 1000000000, 10, 1, 1, 1},
        {5000000000, 1000000000, 10, 0, 1, 1}, {1, 1000000000, 3, 5, 5, 3},
        {1, 60000000000, 7, 7, 7, 7},          {UINT64_MAX / 2, 1000000000, 1000, 20, 20, 20},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct meter meter = {0};
        uint64_t now = cases[i].now_ns, period = cases[i].period_ns;
        uint32_t rate = cases[i].rate, burst = cases[i].burst;
        assert_int_equal(take_all(&meter, now, rate, period, burst), cases[i].at_once);
        /* The rate is rounded so that it is never exceeded: the last may come a moment later. */
        unsigned after = take_all(&meter, now + period, rate, period, burst);
        after += take_all(&meter, now + period + rate, rate, period, burst);
        assert_int_equal(after, cases[i].after_a_period);
    }
}

static void steady_use_gets_the_rate(void **state)
{
    (void)state;
    struct meter meter = {0};
    unsigned taken = 0;
    for (uint64_t now = 0; now < 10 * second_ns; now += second_ns / 1000) {
        taken += meter_take(&meter, now, 200, second_ns, 50, NULL);
    }
    assert_in_range(taken, 2040, 2050);
}

static void the_wait_is_what_it_takes(void **state)
{
    (void)state;
    struct meter meter = {0};
    uint64_t wait_ns = 0, now_ns = 7 * second_ns;
    (void)take_all(&meter, now_ns, 4, second_ns, 4);
    assert_false(meter_take(&meter, now_ns + 1, 4, second_ns, 4, &wait_ns));
    assert_int_equal(wait_ns, second_ns / 4 - 1);
    assert_false(meter_take(&meter, now_ns + wait_ns, 4, second_ns, 4, NULL));
    assert_true(meter_take(&meter, now_ns + 1 + wait_ns, 4, second_ns, 4, NULL));
}

static void what_does_not_divide_is_never_more_than_the_rate(void **state)
{
    (void)state;
    struct meter meter = {0};
    assert_true(meter_take(&meter, 0, 3, second_ns, 1, NULL));
    assert_false(meter_take(&meter, second_ns / 3, 3, second_ns, 1, NULL));
    assert_true(meter_take(&meter, second_ns / 3 + 1, 3, second_ns, 1, NULL));
}

static void rate_0_is_no_limit(void **state)
{
    (void)state;
    struct meter meter = {0};
    assert_int_equal(take_all(&meter, 0, 0, second_ns, 1), 100000);
    assert_int_equal(meter.due_ns, 0);
}

static void nothing_overflows(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 1000000000, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
    static const uint32_t rates[] = {1, 2, 1000000000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values) * ARRAY_SIZE(rates); i++) {
        uint64_t now = values[i % ARRAY_SIZE(values)], wait_ns = 0;
        uint64_t period = values[i / ARRAY_SIZE(values) % ARRAY_SIZE(values)];
        uint32_t rate = rates[i / ARRAY_SIZE(values) / ARRAY_SIZE(values)];
        struct meter meter = {0};
        /* The first is always there. */
        assert_true(meter_take(&meter, now, rate, period, 1, &wait_ns));
        assert_true(meter_take(&meter, now, rate, period, UINT32_MAX, &wait_ns));
        /* Neither does a clock that is set back, which this one never is. */
        (void)meter_take(&meter, 0, rate, period, 1, &wait_ns);
    }
}

static void a_raised_limit_counts_at_once(void **state)
{
    (void)state;
    struct meter meter = {0};
    assert_int_equal(take_all(&meter, 0, 1, 3600 * second_ns, 100), 100);
    uint64_t wait_ns = 0;
    assert_false(meter_take(&meter, 1, 1000, second_ns, 10, &wait_ns));
    assert_true(wait_ns <= second_ns / 1000);
    assert_true(meter_take(&meter, 1 + wait_ns, 1000, second_ns, 10, NULL));
}

enum { THREADS = 4, TRIES = 20000, BURST = 1000 };
struct shared {
    struct meter meter;
    atomic_uint taken;
};

static void *take_many(void *user)
{
    struct shared *shared = user;
    for (unsigned i = 0; i < TRIES; i++) {
        if (meter_take(&shared->meter, second_ns, 1, 1000 * second_ns, BURST, NULL)) {
            atomic_fetch_add(&shared->taken, 1);
        }
    }
    return NULL;
}

static void threads_share_one_burst(void **state)
{
    (void)state;
    struct shared shared = {0};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &shared), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(shared.taken, BURST);
}

static void the_clock_goes_on(void **state)
{
    (void)state;
    uint64_t first_ns = meter_now_ns();
    assert_true(first_ns > 0);
    assert_true(meter_now_ns() >= first_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_then_rate),
        cmocka_unit_test(steady_use_gets_the_rate),
        cmocka_unit_test(the_wait_is_what_it_takes),
        cmocka_unit_test(what_does_not_divide_is_never_more_than_the_rate),
        cmocka_unit_test(rate_0_is_no_limit),
        cmocka_unit_test(nothing_overflows),
        cmocka_unit_test(a_raised_limit_counts_at_once),
        cmocka_unit_test(threads_share_one_burst),
        cmocka_unit_test(the_clock_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
