#include "pkcs11/queue.h"

#define uthash_fatal(message) abort()
#include <uthash.h>

#include "lib/base/memory.h"

/* The jobs of one flow with one priority, oldest first. */
struct queue_lane {
    TAILQ_ENTRY(queue_lane) turn;
    struct queue_flow *flow;
    struct keystore_job *first;
    struct keystore_job **last;
};

struct queue_flow {
    uint64_t flow;
    size_t waiting;
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
    for (size_t i = 0; i < KEYSTORE_PRIORITY_COUNT; i++) {
        TAILQ_INIT(&queue->turns[i]);
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
    if (queue->waiting >= (queue->limit * quarters[job->priority] + 3) / 4) {
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

int queue_push(struct queue *queue, struct keystore_job *job, struct error *err)
{
    struct queue_flow *flow = NULL;
    HASH_FIND(hh, queue->flows, &job->flow, sizeof(job->flow), flow);
    TRY(check_room(queue, flow, job, err));
    if (!flow) {
        flow = flow_add(queue, job->flow);
    }
    struct queue_lane *lane = &flow->lanes[job->priority];
    if (!lane->first) {
        TAILQ_INSERT_TAIL(&queue->turns[job->priority], lane, turn);
    }
    job->next = NULL;
    *lane->last = job;
    lane->last = &job->next;
    flow->waiting++;
    queue->waiting++;
    return 0;
}

static struct keystore_job *take_turn(struct queue *queue, struct queue_turns *turns)
{
    struct queue_lane *lane = TAILQ_FIRST(turns);
    struct queue_flow *flow = lane->flow;
    struct keystore_job *job = lane->first;
    TAILQ_REMOVE(turns, lane, turn);
    lane->first = job->next;
    if (lane->first) {
        TAILQ_INSERT_TAIL(turns, lane, turn);
    } else {
        lane->last = &lane->first;
    }
    queue->waiting--;
    if (--flow->waiting == 0) {
        HASH_DELETE(hh, queue->flows, flow);
        free(flow);
    }
    job->next = NULL;
    return job;
}

struct keystore_job *queue_pop(struct queue *queue, enum keystore_priority lowest)
{
    for (size_t i = 0; i <= lowest; i++) {
        if (!TAILQ_EMPTY(&queue->turns[i])) {
            return take_turn(queue, &queue->turns[i]);
        }
    }
    return NULL;
}

bool queue_has(const struct queue *queue, enum keystore_priority lowest)
{
    for (size_t i = 0; i <= lowest; i++) {
        if (!TAILQ_EMPTY(&queue->turns[i])) {
            return true;
        }
    }
    return false;
}
