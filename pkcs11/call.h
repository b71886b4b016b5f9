/* How a function that blocks gets its work done on a worker of the keystore: at once when the
 * thread is one, else through the queue with a wait. For the files of this folder. */
#pragma once

#include "pkcs11/worker.h"

/* Embed it in a struct with parameters and results, on the stack. */
struct call {
    struct keystore_job job;
    struct keystore *keystore;
    int (*act)(struct call *call, struct error *err); /* on a worker; err is never NULL */
    bool is_opening; /* the driver has no state yet that could be lost or found */
    bool is_short;   /* the calling thread may do it itself when no worker has anything to do */
    struct error error;
    int result;
    sem_t done;
};

/* Runs call->act on a worker and returns its result. */
int call_run(struct call *call, struct keystore *keystore, enum keystore_priority priority,
             uint64_t flow, struct error *err);

/* Whether the job is a call that somebody waits for; then it gets Cancelled. */
bool call_cancel(struct keystore_job *job);
