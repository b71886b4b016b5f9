/* Jobs that wait for a worker: the most urgent priority first, but none waits without end for more
 * urgent ones to run out; and within a priority the flows take turns, one job each (rounds.h).
 * Bounded. It has no lock of its own: the keystore's lock guards it. */
#pragma once

#include <sys/queue.h>

#include "pkcs11/keystore.h"
#include "pkcs11/rounds.h"

struct queue_flow;

/* How many flows without jobs are remembered, so that one is known to have been served lately. */
enum { QUEUE_REMEMBERED = 4096 };
/* How many more urgent jobs go before one that issues, and before one in the background. */
enum { QUEUE_ISSUE_PATIENCE = 8, QUEUE_BACKGROUND_PATIENCE = 64 };

/* The flows that have jobs of one priority. */
struct queue_round {
    struct rounds turns;
    unsigned passed; /* more urgent jobs that went first while one waited here */
};

struct queue {
    struct queue_round rounds[KEYSTORE_PRIORITY_COUNT];
    struct queue_flow *flows;      /* hash by flow */
    TAILQ_HEAD(, queue_flow) idle; /* those without jobs, the one served last at the end */
    size_t idle_count;
    size_t waiting, limit, flow_limit;
};

/* No job may be left. */
void queue_clear(struct queue *queue);

/* limit: jobs in all; flow_limit: jobs of one flow, which does not hold for flow 0. */
void queue_init(struct queue *queue, size_t limit, size_t flow_limit);

/* Takes the job until queue_pop. Fails with ResourceExhausted. The less urgent a job is, the
 * earlier the queue is full for it: background work leaves half of it free, issuing a quarter, so
 * that there is always a place for a signature. What the agent itself needs at once (flow 0,
 * KEYSTORE_PRIORITY_USE) has a quarter beyond the limit: workloads cannot keep it out. */
int queue_push(struct queue *queue, struct keystore_job *job, struct error *err);

/* The next job that is at least as urgent as lowest; NULL when there is none. Patience is counted
 * among these. */
struct keystore_job *queue_pop(struct queue *queue, enum keystore_priority lowest);

/* Whether queue_pop would find one. */
bool queue_has(const struct queue *queue, enum keystore_priority lowest);
