#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <string.h>

#include "pkcs11/queue.h"

enum { JOBS_MAX = 64 };

#define USE KEYSTORE_PRIORITY_USE
#define ISSUE KEYSTORE_PRIORITY_ISSUE
#define BACKGROUND KEYSTORE_PRIORITY_BACKGROUND

struct item {
    enum keystore_priority priority;
    uint64_t flow;
    char name;
};

/* What is pushed, and in which order it comes out. */
static const struct {
    const char *what;
    struct item items[16];
    const char *expected;
} orders[] = {
    {"first in, first out within a flow", {{USE, 1, 'a'}, {USE, 1, 'b'}, {USE, 1, 'c'}}, "abc"},
    {"the urgent first", {{BACKGROUND, 0, 'a'}, {ISSUE, 0, 'b'}, {USE, 0, 'c'}}, "cba"},
    {"flows take turns",
     {{USE, 1, 'a'}, {USE, 1, 'b'}, {USE, 1, 'c'}, {USE, 2, 'd'}, {USE, 3, 'e'}, {USE, 3, 'f'}},
     "adebfc"},
    {"turns are by priority",
     {{ISSUE, 1, 'a'},
      {ISSUE, 1, 'b'},
      {ISSUE, 2, 'c'},
      {USE, 1, 'd'},
      {USE, 1, 'e'},
      {USE, 2, 'f'}},
     "dfeacb"},
    {"the agent is a flow as any other", {{USE, 0, 'a'}, {USE, 0, 'b'}, {USE, 7, 'c'}}, "acb"},
};

static void test_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        struct queue queue;
        struct keystore_job jobs[16] = {0};
        char order[17] = "";
        size_t count = strlen(orders[i].expected);
        queue_init(&queue, 64, 16);
        for (size_t j = 0; j < count; j++) {
            jobs[j].priority = orders[i].items[j].priority;
            jobs[j].flow = orders[i].items[j].flow;
            assert_int_equal(queue_push(&queue, &jobs[j], NULL), 0);
        }
        assert_int_equal(queue.waiting, count);
        for (size_t j = 0; j < count; j++) {
            struct keystore_job *job = queue_pop(&queue, BACKGROUND);
            assert_non_null(job);
            order[j] = orders[i].items[job - jobs].name;
        }
        assert_string_equal(order, orders[i].expected);
        assert_null(queue_pop(&queue, BACKGROUND));
        queue_clear(&queue);
        assert_null(queue.flows);
    }
}

static void test_new_work_of_a_flow_goes_to_the_end_of_its_turn(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job jobs[4] = {{.flow = 1}, {.flow = 1}, {.flow = 2}, {.flow = 1}};
    queue_init(&queue, 64, 16);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(queue_push(&queue, &jobs[i], NULL), 0);
    }
    assert_ptr_equal(queue_pop(&queue, USE), &jobs[0]);
    assert_int_equal(queue_push(&queue, &jobs[3], NULL), 0);
    assert_ptr_equal(queue_pop(&queue, USE), &jobs[2]);
    assert_ptr_equal(queue_pop(&queue, USE), &jobs[1]);
    assert_ptr_equal(queue_pop(&queue, USE), &jobs[3]);
    queue_clear(&queue);
}

enum { HAMMERING = 20 };

/* Each asks again as soon as it was served. */
static void hammer(struct queue *queue, size_t turns)
{
    for (size_t i = 0; i < turns; i++) {
        struct keystore_job *job = queue_pop(queue, USE);
        assert_non_null(job);
        assert_int_equal(queue_push(queue, job, NULL), 0);
    }
}

/* How many of those who hammer go before the job. */
static size_t count_before(struct queue *queue, const struct keystore_job *wanted)
{
    size_t before = 0;
    for (struct keystore_job *job; (job = queue_pop(queue, BACKGROUND)) != wanted; before++) {
        assert_in_range(before, 0, JOBS_MAX);
        assert_int_equal(queue_push(queue, job, NULL), 0);
    }
    return before;
}

static void test_who_asks_seldom_does_not_wait_for_those_who_hammer(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job jobs[HAMMERING] = {0};
    struct keystore_job seldom = {.flow = 1000};
    queue_init(&queue, 64, 16);
    for (size_t i = 0; i < HAMMERING; i++) {
        jobs[i].flow = i + 1;
        assert_int_equal(queue_push(&queue, &jobs[i], NULL), 0);
    }
    for (size_t i = 0; i < 10; i++) {
        hammer(&queue, 3 * HAMMERING);
        assert_int_equal(queue_push(&queue, &seldom, NULL), 0);
        assert_ptr_equal(queue_pop(&queue, USE), &seldom);
    }
    /* Who comes back at once takes its turn behind them, once it has had what it left to them. */
    for (size_t i = 0; i < 2 * ROUNDS_LEAD; i++) {
        assert_int_equal(queue_push(&queue, &seldom, NULL), 0);
        size_t before = count_before(&queue, &seldom);
        assert_in_range(before, i > ROUNDS_LEAD ? HAMMERING : 0, HAMMERING);
    }
    while (queue_pop(&queue, USE)) {
    }
    queue_clear(&queue);
}

static void test_a_stream_of_new_flows_does_not_starve_the_others(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job steady[2] = {{.flow = 1}, {.flow = 1}};
    struct keystore_job fresh[JOBS_MAX] = {0};
    size_t before_steady = 0;
    queue_init(&queue, 2 * JOBS_MAX, 16);
    assert_int_equal(queue_push(&queue, &steady[0], NULL), 0);
    assert_ptr_equal(queue_pop(&queue, USE), &steady[0]);
    assert_int_equal(queue_push(&queue, &steady[1], NULL), 0);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        fresh[i].flow = 100 + i;
        assert_int_equal(queue_push(&queue, &fresh[i], NULL), 0);
    }
    while (queue_pop(&queue, USE) != &steady[1]) {
        before_steady++;
    }
    assert_in_range(before_steady, 0, ROUNDS_RUN);
    while (queue_pop(&queue, USE)) {
    }
    queue_clear(&queue);
}

static void test_signatures_without_end_keep_nothing_from_being_done(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job hammering[2] = {{.flow = 1}, {.flow = 2}};
    struct keystore_job issue = {.priority = ISSUE, .flow = 3};
    struct keystore_job background = {.priority = BACKGROUND};
    queue_init(&queue, 64, 16);
    for (size_t i = 0; i < ARRAY_SIZE(hammering); i++) {
        assert_int_equal(queue_push(&queue, &hammering[i], NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(queue_push(&queue, &issue, NULL), 0);
        assert_int_equal(count_before(&queue, &issue), QUEUE_ISSUE_PATIENCE);
    }
    assert_int_equal(queue_push(&queue, &background, NULL), 0);
    assert_int_equal(count_before(&queue, &background), QUEUE_BACKGROUND_PATIENCE);
    while (queue_pop(&queue, BACKGROUND)) {
    }
    queue_clear(&queue);
}

static void test_lowest(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job background = {.priority = BACKGROUND};
    struct keystore_job issue = {.priority = ISSUE};
    queue_init(&queue, 64, 16);
    assert_int_equal(queue_push(&queue, &background, NULL), 0);
    assert_int_equal(queue_push(&queue, &issue, NULL), 0);
    assert_null(queue_pop(&queue, USE));
    assert_ptr_equal(queue_pop(&queue, ISSUE), &issue);
    assert_null(queue_pop(&queue, ISSUE));
    assert_ptr_equal(queue_pop(&queue, BACKGROUND), &background);
    queue_clear(&queue);
}

/* How many jobs of a flow and priority an empty queue of 16, flows of 5, takes. */
static const struct {
    enum keystore_priority priority;
    uint64_t flow;
    size_t expected;
} limits[] = {
    {USE, 1, 5}, {USE, 0, 20}, {ISSUE, 0, 12}, {BACKGROUND, 0, 8}, {BACKGROUND, 3, 5},
};

static void test_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct queue queue;
        struct keystore_job jobs[JOBS_MAX] = {0};
        struct error err = {0};
        size_t taken = 0;
        queue_init(&queue, 16, 5);
        for (; taken < JOBS_MAX; taken++) {
            jobs[taken].priority = limits[i].priority;
            jobs[taken].flow = limits[i].flow;
            if (queue_push(&queue, &jobs[taken], &err) < 0) {
                break;
            }
        }
        assert_int_equal(taken, limits[i].expected);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        while (queue_pop(&queue, BACKGROUND)) {
        }
        assert_int_equal(queue_push(&queue, &jobs[0], NULL), 0);
        assert_ptr_equal(queue_pop(&queue, BACKGROUND), &jobs[0]);
        queue_clear(&queue);
    }
}

static void test_a_full_flow_does_not_stop_another(void **state)
{
    (void)state;
    struct queue queue;
    struct keystore_job jobs[7] = {0};
    queue_init(&queue, 16, 5);
    for (size_t i = 0; i < 7; i++) {
        jobs[i].flow = i < 6 ? 1 : 2;
        assert_int_equal(queue_push(&queue, &jobs[i], NULL), i == 5 ? -1 : 0);
    }
    while (queue_pop(&queue, USE)) {
    }
    queue_clear(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_new_work_of_a_flow_goes_to_the_end_of_its_turn),
        cmocka_unit_test(test_who_asks_seldom_does_not_wait_for_those_who_hammer),
        cmocka_unit_test(test_a_stream_of_new_flows_does_not_starve_the_others),
        cmocka_unit_test(test_signatures_without_end_keep_nothing_from_being_done),
        cmocka_unit_test(test_lowest),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_full_flow_does_not_stop_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
