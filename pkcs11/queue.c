#include "pkcs11/queue.h"

#define uthash_fatal(message) abort()
#include <uthash.h>

#include "lib/base/memory.h"

/* The jobs of one flow with one priority, oldest first. */
struct queue_lane {
    struct rounds_turn turn;
    struct queue_flow *flow;
    struct keystore_job *first;
    struct keystore_job **last;
};

struct queue_flow {
    uint64_t flow;
    size_t waiting;
    bool is_idle; /* in queue->idle */
    TAILQ_ENTRY(queue_flow) idle;
    struct queue_lane lanes[KEYSTORE_PRIORITY_COUNT];
    UT_hash_handle hh;
};

/* How many quarters of the queue a priority may fill. */
static const size_t quarters[KEYSTORE_PRIORITY_COUNT] = {
    [KEYSTORE_PRIORITY_USE] = 4,
    [KEYSTORE_PRIORITY_ISSUE] = 3,
    [KEYSTORE_PRIORITY_BACKGROUND] = 2,
};

void queue_init(struct queue *queue, size_t limit, size_t flow_limit)
{
    *queue = (struct queue){.limit = limit, .flow_limit = flow_limit};
    TAILQ_INIT(&queue->idle);
    for (size_t i = 0; i < KEYSTORE_PRIORITY_COUNT; i++) {
        rounds_init(&queue->rounds[i].turns);
    }
}

/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macro */
static struct queue_flow *flow_add(struct queue *queue, uint64_t number)
{
    struct queue_flow *flow = NEW(struct queue_flow);
    flow->flow = number;
    for (size_t i = 0; i < KEYSTORE_PRIORITY_COUNT; i++) {
        flow->lanes[i].flow = flow;
        flow->lanes[i].last = &flow->lanes[i].first;
    }
    HASH_ADD(hh, queue->flows, flow, sizeof(flow->flow), flow);
    return flow;
}

static int check_room(const struct queue *queue, const struct queue_flow *flow,
                      const struct keystore_job *job, struct error *err)
{
    bool is_own = job->flow == 0 && job->priority == KEYSTORE_PRIORITY_USE;
    size_t share = quarters[job->priority] + (is_own ? 1 : 0);
    if (queue->waiting >= (queue->limit * share + 3) / 4) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "too much work waits: %zu jobs; try again later", queue->waiting);
    }
    if (flow && job->flow != 0 && flow->waiting >= queue->flow_limit) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%zu jobs of this caller wait already; wait for one of them",
                         flow->waiting);
    }
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macro */
static void forget_oldest(struct queue *queue)
{
    struct queue_flow *flow = TAILQ_FIRST(&queue->idle);
    TAILQ_REMOVE(&queue->idle, flow, idle);
    queue->idle_count--;
    HASH_DELETE(hh, queue->flows, flow);
    free(flow);
}

void queue_clear(struct queue *queue)
{
    while (queue->idle_count > 0) {
        forget_oldest(queue);
    }
}

static void note_busy(struct queue *queue, struct queue_flow *flow)
{
    if (flow->is_idle) {
        flow->is_idle = false;
        TAILQ_REMOVE(&queue->idle, flow, idle);
        queue->idle_count--;
    }
    flow->waiting++;
    queue->waiting++;
}

static void note_served(struct queue *queue, struct queue_flow *flow)
{
    queue->waiting--;
    if (--flow->waiting == 0) {
        flow->is_idle = true;
        TAILQ_INSERT_TAIL(&queue->idle, flow, idle);
        if (++queue->idle_count > QUEUE_REMEMBERED) {
            forget_oldest(queue);
        }
    }
}

int queue_push(struct queue *queue, struct keystore_job *job, struct error *err)
{
    struct queue_flow *flow = NULL;
    HASH_FIND(hh, queue->flows, &job->flow, sizeof(job->flow), flow);
    TRY(check_room(queue, flow, job, err));
    if (!flow) {
        flow = flow_add(queue, job->flow);
    }
    struct queue_lane *lane = &flow->lanes[job->priority];
    rounds_add(&queue->rounds[job->priority].turns, &lane->turn);
    job->next = NULL;
    *lane->last = job;
    lane->last = &job->next;
    note_busy(queue, flow);
    return 0;
}

static struct keystore_job *take_turn(struct queue *queue, struct queue_round *round)
{
    struct queue_lane *lane = container_of(rounds_next(&round->turns), struct queue_lane, turn);
    struct keystore_job *job = lane->first;
    lane->first = job->next;
    note_served(queue, lane->flow);
    if (lane->first) {
        rounds_add(&round->turns, &lane->turn);
    } else {
        lane->last = &lane->first;
    }
    job->next = NULL;
    return job;
}

/* Whether jobs of this round have let enough more urgent ones pass, with this one. */
static bool is_impatient(struct queue *queue, size_t priority)
{
    static const unsigned patience[KEYSTORE_PRIORITY_COUNT] = {
        [KEYSTORE_PRIORITY_ISSUE] = QUEUE_ISSUE_PATIENCE,
        [KEYSTORE_PRIORITY_BACKGROUND] = QUEUE_BACKGROUND_PATIENCE,
    };
    return queue->rounds[priority].passed++ >= patience[priority];
}

struct keystore_job *queue_pop(struct queue *queue, enum keystore_priority lowest)
{
    struct queue_round *next = NULL;
    for (size_t i = 0; i <= lowest && i < KEYSTORE_PRIORITY_COUNT; i++) {
        struct queue_round *round = &queue->rounds[i];
        if (round->turns.waiting > 0 && (!next || is_impatient(queue, i))) {
            next = round;
        }
    }
    if (!next) {
        return NULL;
    }
    next->passed = 0;
    return take_turn(queue, next);
}

bool queue_has(const struct queue *queue, enum keystore_priority lowest)
{
    for (size_t i = 0; i <= lowest; i++) {
        if (queue->rounds[i].turns.waiting > 0) {
            return true;
        }
    }
    return false;
}
