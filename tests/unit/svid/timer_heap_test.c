#include "tests/unit/cmocka_all.h"

#include <uv.h>

#include "agent/svid/timer_heap.h"
#include "lib/base/clock.h"
#include "lib/base/macro.h"

enum { TIMERS = 500 };

static int64_t wall_s;
static uint64_t now_ms;
static int64_t get_wall_s(void)
{
    return wall_s;
}
static uint64_t get_now_ms(void)
{
    return now_ms;
}
static const struct timer_clock test_clock = {get_wall_s, get_now_ms};

struct item {
    struct timer timer;
    uint64_t due_ms;
    unsigned fired;
};

struct bench {
    uv_loop_t loop;
    struct timer_heap timers;
    unsigned jumps;
    bool is_closed;
};

static uint64_t last_due_ms;

static void fire(struct timer *timer)
{
    struct item *item = container_of(timer, struct item, timer);
    assert_true(item->due_ms <= now_ms);
    assert_true(item->due_ms >= last_due_ms);
    last_due_ms = item->due_ms;
    item->fired++;
}

static void note_jump(void *user)
{
    ((struct bench *)user)->jumps++;
}

static void note_closed(void *user)
{
    ((struct bench *)user)->is_closed = true;
}

static void open_bench(struct bench *bench, const struct timer_clock *clock)
{
    struct error err;
    *bench = (struct bench){0};
    wall_s = 1700000000;
    now_ms = 5000;
    last_due_ms = 0;
    (void)uv_loop_init(&bench->loop);
    assert_int_equal(timer_heap_open(&bench->timers, &bench->loop, clock, note_jump, bench, &err),
                     0);
}

static void close_bench(struct bench *bench)
{
    timer_heap_close(&bench->timers, note_closed);
    (void)uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_true(bench->is_closed);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
}

static void fires_in_order_whatever_is_set_and_cancelled(void **state)
{
    (void)state;
    struct bench bench;
    static struct item items[TIMERS];
    open_bench(&bench, &test_clock);
    for (int round = 0; round < 20; round++) {
        unsigned expected = 0;
        last_due_ms = 0;
        for (size_t i = 0; i < TIMERS; i++) {
            items[i] = (struct item){.timer.fire = fire};
            items[i].due_ms = now_ms + clock_random_below(1000);
            timer_set(&bench.timers, &items[i].timer, items[i].due_ms);
        }
        for (size_t i = 0; i < TIMERS; i++) {
            uint64_t choice = clock_random_below(4);
            if (choice == 0) {
                timer_cancel(&bench.timers, &items[i].timer);
                timer_cancel(&bench.timers, &items[i].timer);
                continue;
            }
            if (choice == 1) {
                items[i].due_ms = now_ms + clock_random_below(1000);
                timer_set(&bench.timers, &items[i].timer, items[i].due_ms);
            }
            expected++;
        }
        unsigned fired = 0;
        for (int step = 0; step < 25; step++) {
            now_ms += 40;
            timer_heap_run(&bench.timers);
        }
        for (size_t i = 0; i < TIMERS; i++) {
            assert_true(items[i].fired <= 1);
            fired += items[i].fired;
        }
        assert_int_equal(fired, expected);
        assert_int_equal(bench.timers.count, 0);
    }
    close_bench(&bench);
}

static struct timer_heap *restless_heap;
static unsigned restless_count;

static void set_again(struct timer *timer)
{
    restless_count++;
    timer_set(restless_heap, timer, 0);
}

static void one_that_sets_itself_waits_its_turn(void **state)
{
    (void)state;
    struct bench bench;
    struct timer restless = {.fire = set_again};
    open_bench(&bench, &test_clock);
    restless_heap = &bench.timers;
    restless_count = 0;
    timer_set(&bench.timers, &restless, 0);
    timer_heap_run(&bench.timers);
    timer_heap_run(&bench.timers);
    assert_int_equal(restless_count, 1);
    now_ms++;
    timer_heap_run(&bench.timers);
    assert_int_equal(restless_count, 2);
    close_bench(&bench);
}

static void tells_jumps_of_the_wall_clock(void **state)
{
    static const struct {
        int64_t wall_s;
        uint64_t ms;
        unsigned jumps;
    } table[] = {
        {0, 0, 0}, {30, 30000, 0}, {86400, 30, 1}, {-86400, 0, 1},   {3, 0, 1},     {-3, 0, 1},
        {1, 0, 0}, {-1, 0, 0},     {1, 1999, 0},   {600, 600000, 0}, {0, 10000, 1},
    };
    (void)state;
    struct bench bench;
    open_bench(&bench, &test_clock);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        bench.jumps = 0;
        wall_s += table[i].wall_s;
        now_ms += table[i].ms;
        timer_heap_run(&bench.timers);
        assert_int_equal(bench.jumps, table[i].jumps);
    }
    close_bench(&bench);
}

static void stop_loop(struct timer *timer)
{
    (void)timer;
    uv_stop(&container_of(restless_heap, struct bench, timers)->loop);
}

static void fires_by_the_true_clock(void **state)
{
    (void)state;
    struct bench bench;
    struct timer timer = {.fire = stop_loop};
    open_bench(&bench, &timer_clock_system);
    restless_heap = &bench.timers;
    uint64_t start_ms = timer_heap_now_ms(&bench.timers);
    timer_set(&bench.timers, &timer, start_ms + 20);
    (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
    assert_in_range(timer_heap_now_ms(&bench.timers) - start_ms, 20, 5000);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_in_order_whatever_is_set_and_cancelled),
        cmocka_unit_test(one_that_sets_itself_waits_its_turn),
        cmocka_unit_test(tells_jumps_of_the_wall_clock),
        cmocka_unit_test(fires_by_the_true_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
