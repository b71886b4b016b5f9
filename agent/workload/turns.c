#include "agent/workload/turns.h"

#include "lib/base/memory.h"

/* libuv's pool has four threads unless told otherwise; one stays free for others' work. */
enum { AT_ONCE_MAX = 3 };

TAILQ_HEAD(turn_list, turn);

struct turns {
    uv_loop_t *loop;
    struct turn_list waiting, running;
    unsigned running_count;
    bool is_starting; /* turns that end at once do not start others recursively */
};

struct turns *turns_new(uv_loop_t *loop)
{
    struct turns *turns = NEW(struct turns);
    turns->loop = loop;
    TAILQ_INIT(&turns->waiting);
    TAILQ_INIT(&turns->running);
    return turns;
}

void turns_free(struct turns *turns)
{
    free(turns);
}

static bool is_running(const struct turns *turns, uid_t uid)
{
    const struct turn *turn;
    TAILQ_FOREACH (turn, &turns->running, link) {
        if (turn->uid == uid) {
            return true;
        }
    }
    return false;
}

/* The one that has waited longest among those that may run. */
static struct turn *next_turn(struct turns *turns)
{
    struct turn *turn;
    if (turns->running_count == AT_ONCE_MAX) {
        return NULL;
    }
    TAILQ_FOREACH (turn, &turns->waiting, link) {
        if (!is_running(turns, turn->uid)) {
            return turn;
        }
    }
    return NULL;
}

static void run(uv_work_t *work)
{
    struct turn *turn = container_of(work, struct turn, work);
    turn->run(turn);
}

static void start_all(struct turns *turns);

static void after_run(uv_work_t *work, int status)
{
    struct turn *turn = container_of(work, struct turn, work);
    struct turns *turns = turn->turns;
    (void)status; /* nothing here cancels work */
    TAILQ_REMOVE(&turns->running, turn, link);
    turns->running_count--;
    turn->done(turn);
    start_all(turns);
}

static void start(struct turns *turns, struct turn *turn)
{
    TAILQ_REMOVE(&turns->waiting, turn, link);
    if (!turn->is_needed(turn)) {
        turn->done(turn);
        return;
    }
    TAILQ_INSERT_TAIL(&turns->running, turn, link);
    turns->running_count++;
    /* Fails only where a function is missing. */
    (void)uv_queue_work(turns->loop, &turn->work, run, after_run);
}

static void start_all(struct turns *turns)
{
    if (turns->is_starting) {
        return;
    }
    turns->is_starting = true;
    for (struct turn *turn = next_turn(turns); turn; turn = next_turn(turns)) {
        start(turns, turn);
    }
    turns->is_starting = false;
}

void turns_wait(struct turns *turns, struct turn *turn)
{
    turn->turns = turns;
    TAILQ_INSERT_TAIL(&turns->waiting, turn, link);
    start_all(turns);
}
