#include "pkcs11/call.h"

#include <errno.h>

static void act(struct call *call, struct worker *worker)
{
    if (call->is_opening) {
        call->result = call->act(call, &call->error);
        return;
    }
    call->result = worker_command_begin(worker, &call->error);
    if (call->result == 0) {
        call->result = worker_command_end(worker, call->act(call, &call->error), &call->error);
    }
}

static void run(struct keystore_job *job)
{
    struct call *call = container_of(job, struct call, job);
    act(call, worker_current(call->keystore));
    /* The last touch: the call lies on the stack of the thread that waits. */
    (void)sem_post(&call->done);
}

bool call_cancel(struct keystore_job *job)
{
    if (job->run != run) {
        return false;
    }
    struct call *call = container_of(job, struct call, job);
    call->result =
        error_set(&call->error, ERROR_CANCELLED, "keystore %s is closing", call->keystore->name);
    (void)sem_post(&call->done);
    return true;
}

static int wait_for_worker(struct call *call, struct error *err)
{
    (void)sem_init(&call->done, 0, 0);
    int result = worker_submit(call->keystore, &call->job, err);
    if (result == 0) {
        while (sem_wait(&call->done) < 0 && errno == EINTR) {
        }
    }
    (void)sem_destroy(&call->done);
    return result;
}

int call_run(struct call *call, struct keystore *keystore, enum keystore_priority priority,
             uint64_t flow, struct error *err)
{
    struct worker *worker = worker_current(keystore);
    struct worker *borrowed = call->is_short && !worker ? worker_borrow(keystore) : NULL;
    call->keystore = keystore;
    call->job = (struct keystore_job){.run = run, .priority = priority, .flow = flow};
    if (worker) {
        act(call, worker);
    } else if (borrowed) {
        act(call, borrowed);
        worker_return(borrowed);
    } else {
        TRY(wait_for_worker(call, err));
    }
    if (call->result < 0 && err) {
        *err = call->error;
    }
    return call->result;
}
