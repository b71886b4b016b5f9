#include "agent/workload/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "lib/base/macro.h"

enum { UIDS = 8, TURNS = 64 };

/* Seen from all threads. */
static struct {
    pthread_mutex_t mutex;
    unsigned running, most_running, running_of[UIDS], ran, done, pruned;
    bool has_collision;
    uid_t order[TURNS];
} seen;

static bool always(struct turn *turn)
{
    (void)turn;
    return true;
}

static bool never(struct turn *turn)
{
    (void)turn;
    seen.pruned++;
    return false;
}

static void run(struct turn *turn)
{
    pthread_mutex_lock(&seen.mutex);
    seen.running++;
    seen.most_running = MAX(seen.most_running, seen.running);
    seen.has_collision = seen.has_collision || seen.running_of[turn->uid]++ > 0;
    seen.order[seen.ran++] = turn->uid;
    pthread_mutex_unlock(&seen.mutex);
    uv_sleep(1);
    pthread_mutex_lock(&seen.mutex);
    seen.running--;
    seen.running_of[turn->uid]--;
    pthread_mutex_unlock(&seen.mutex);
}

static void done(struct turn *turn)
{
    (void)turn;
    seen.done++;
}

static void one_at_a_time_of_each(void **state)
{
    (void)state;
    static struct turn turns_of[TURNS];
    uv_loop_t loop;
    memset(&seen, 0, sizeof(seen));
    pthread_mutex_init(&seen.mutex, NULL);
    assert_int_equal(uv_loop_init(&loop), 0);
    struct turns *turns = turns_new(&loop);
    /* Almost all of uid 0, who came first; then one of each of the others. */
    for (unsigned i = 0; i < TURNS; i++) {
        uid_t uid = i < TURNS - UIDS + 1 ? 0 : i - (TURNS - UIDS);
        turns_of[i] = (struct turn){.uid = uid, .is_needed = always, .run = run, .done = done};
        turns_wait(turns, &turns_of[i]);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(seen.done, TURNS);
    assert_int_equal(seen.ran, TURNS);
    assert_false(seen.has_collision);
    assert_true(seen.most_running <= 3);
    /* Nobody waited for uid 0: the seven others came within the first twenty. */
    unsigned others = 0;
    for (unsigned i = 0; i < 20; i++) {
        others += seen.order[i] != 0;
    }
    assert_int_equal(others, UIDS - 1);
    turns_free(turns);
    assert_int_equal(uv_loop_close(&loop), 0);
    pthread_mutex_destroy(&seen.mutex);
}

static void not_needed_any_more(void **state)
{
    (void)state;
    struct turn turn = {.uid = 1, .is_needed = never, .run = run, .done = done};
    uv_loop_t loop;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(uv_loop_init(&loop), 0);
    struct turns *turns = turns_new(&loop);
    turns_wait(turns, &turn);
    assert_int_equal(seen.pruned, 1);
    assert_int_equal(seen.done, 1);
    assert_int_equal(seen.ran, 0);
    turns_free(turns);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time_of_each),
        cmocka_unit_test(not_needed_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
