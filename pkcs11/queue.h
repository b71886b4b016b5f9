/* Jobs that wait for a worker: the most urgent priority first, but none waits without end for more
 * urgent ones to run out; and within a priority the flows take turns, one job each. A flow that has
 * let a whole round of the others pass comes next, so that one who asks now and then does not wait
 * behind a thousand who ask without end. Bounded. It has no lock of its own: the keystore's lock
 * guards it. */
#pragma once

#include <sys/queue.h>

#include "pkcs11/keystore.h"

struct queue_flow;

TAILQ_HEAD(queue_turns, queue_lane);

/* Turns of rested flows in a row before one of the others has its own; and how many flows without
 * jobs are remembered, so that one is known to have been served lately. */
enum { QUEUE_RESTED_RUN = 8, QUEUE_REMEMBERED = 4096 };
/* How many more urgent jobs go before one that issues, and before one in the background. */
enum { QUEUE_ISSUE_PATIENCE = 8, QUEUE_BACKGROUND_PATIENCE = 64 };

/* The flows that have jobs of one priority, each list in the order of their turns. */
struct queue_round {
    struct queue_turns rested, busy;
    size_t waiting;      /* flows in both */
    unsigned rested_run; /* rested ones served since the last busy one */
    unsigned passed;     /* more urgent jobs that went first while one waited here */
};

struct queue {
    struct queue_round rounds[KEYSTORE_PRIORITY_COUNT];
    struct queue_flow *flows;      /* hash by flow */
    TAILQ_HEAD(, queue_flow) idle; /* those without jobs, the one served last at the end */
    size_t idle_count;
    size_t waiting, limit, flow_limit;
    uint64_t served; /* jobs so far */
};

/* No job may be left. */
void queue_clear(struct queue *queue);

/* limit: jobs in all; flow_limit: jobs of one flow, which does not hold for flow 0. */
void queue_init(struct queue *queue, size_t limit, size_t flow_limit);

/* Takes the job until queue_pop. Fails with ResourceExhausted. The less urgent a job is, the
 * earlier the queue is full for it: background work leaves half of it free, issuing a quarter, so
 * that there is always a place for a signature. */
int queue_push(struct queue *queue, struct keystore_job *job, struct error *err);

/* The next job that is at least as urgent as lowest; NULL when there is none. Patience is counted
 * among these. */
struct keystore_job *queue_pop(struct queue *queue, enum keystore_priority lowest);

/* Whether queue_pop would find one. */
bool queue_has(const struct queue *queue, enum keystore_priority lowest);
