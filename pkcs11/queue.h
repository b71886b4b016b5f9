/* Jobs that wait for a worker: the most urgent priority first, and within a priority the flows take
 * turns, one job each. Bounded. It has no lock of its own: the keystore's lock guards it. */
#pragma once

#include <sys/queue.h>

#include "pkcs11/keystore.h"

struct queue_flow;

/* The flows that have jobs of one priority, in the order of their turns. */
TAILQ_HEAD(queue_turns, queue_lane);

struct queue {
    struct queue_turns turns[KEYSTORE_PRIORITY_COUNT];
    struct queue_flow *flows; /* hash by flow; only those with jobs */
    size_t waiting, limit, flow_limit;
};

/* limit: jobs in all; flow_limit: jobs of one flow, which does not hold for flow 0. */
void queue_init(struct queue *queue, size_t limit, size_t flow_limit);

/* Takes the job until queue_pop. Fails with ResourceExhausted. The less urgent a job is, the
 * earlier the queue is full for it: background work leaves half of it free, issuing a quarter, so
 * that there is always a place for a signature. */
int queue_push(struct queue *queue, struct keystore_job *job, struct error *err);

/* The next job that is at least as urgent as lowest; NULL when there is none. */
struct keystore_job *queue_pop(struct queue *queue, enum keystore_priority lowest);

/* Whether queue_pop would find one. */
bool queue_has(const struct queue *queue, enum keystore_priority lowest);
