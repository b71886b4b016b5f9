#include "pkcs11/worker.h"

#include <signal.h>
#include <stdio.h>

#include "pkcs11/outage.h"

/* A thread's memory counts only where it was touched; below 2 MiB no huge page can back it whole.
 */
enum { WORKER_STACK_BYTES = 1 << 20 };

static _Thread_local struct worker *worker_of_thread;

struct worker *worker_current(const struct keystore *keystore)
{
    return worker_of_thread && worker_of_thread->keystore == keystore ? worker_of_thread : NULL;
}

void keystore_driver_keys_lost(void)
{
    if (worker_of_thread) {
        worker_of_thread->has_lost_keys = true;
    }
}

/* With the lock held. */
static struct keystore_job *take_job(struct keystore *keystore, enum keystore_priority lowest)
{
    struct keystore_job *job = queue_pop(&keystore->queue, lowest);
    if (job) {
        times_add_since(&keystore->times.waiting, job->submitted_us);
    }
    return job;
}

static void run_job(struct worker *worker, struct keystore_job *job)
{
    enum keystore_priority before = worker->priority;
    struct mailbox *mailbox = job->mailbox;
    worker->priority = job->priority;
    job->run(job);
    worker->priority = before;
    /* Without a mailbox the job may be gone by now. */
    if (mailbox) {
        mailbox_post(mailbox, &job->message);
    }
}

int worker_command_begin(struct worker *worker, struct error *err)
{
    struct keystore *keystore = worker->keystore;
    struct keystore_job *job = NULL;
    int result = 0;
    (void)pthread_mutex_lock(&keystore->lock);
    /* A job may be many commands long; a signature waits for the one in progress only. But those
     * who sign without end must not keep it from its end. */
    for (unsigned passed = 0;
         worker->priority != KEYSTORE_PRIORITY_USE && !keystore->is_stopping &&
         passed < QUEUE_ISSUE_PATIENCE && (job = take_job(keystore, KEYSTORE_PRIORITY_USE));
         passed++) {
        (void)pthread_mutex_unlock(&keystore->lock);
        run_job(worker, job);
        (void)pthread_mutex_lock(&keystore->lock);
    }
    if (keystore->state == KEYSTORE_STATE_LOST) {
        result = error_set(err, ERROR_UNAVAILABLE, "keystore %s is lost: %s", keystore->name,
                           keystore->reason);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    return result;
}

int worker_command_end(struct worker *worker, int result, struct error *err)
{
    if (result < 0) {
        atomic_fetch_add_explicit(&worker->keystore->failures, 1, memory_order_relaxed);
        if (err->code == ERROR_UNAVAILABLE) {
            outage_begin(worker, err);
        }
        (void)error_prepend(err, "keystore %s", worker->keystore->name);
    }
    outage_tell_lost_keys(worker);
    return result;
}

/* The next job for a worker that has nothing in hand. Where there are several, one is kept from
 * background work, so that a signature never waits for the end of a key generation. Else that has
 * its turn as the queue gives it, also among those who sign without end. */
static struct keystore_job *next_job(struct keystore *keystore)
{
    unsigned allowed = MAX(keystore->worker_count, 2) - 1;
    bool may_do_background =
        (STAILQ_EMPTY(&keystore->closing) || keystore->state == KEYSTORE_STATE_LOST) &&
        keystore->background_running < allowed;
    return take_job(keystore,
                    may_do_background ? KEYSTORE_PRIORITY_BACKGROUND : KEYSTORE_PRIORITY_ISSUE);
}

/* Called and returns with the lock held. */
static void run_next(struct worker *worker, struct keystore_job *job)
{
    struct keystore *keystore = worker->keystore;
    unsigned background = job->priority == KEYSTORE_PRIORITY_BACKGROUND ? 1 : 0;
    keystore->background_running += background;
    (void)pthread_mutex_unlock(&keystore->lock);
    run_job(worker, job);
    (void)pthread_mutex_lock(&keystore->lock);
    keystore->background_running -= background;
}

/* Called and returns with the lock held. */
static void tell_later(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    keystore->must_tell = false;
    (void)pthread_mutex_unlock(&keystore->lock);
    outage_tell(worker);
    (void)pthread_mutex_lock(&keystore->lock);
}

/* Called and returns with the lock held. */
static void close_one(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct key *key = STAILQ_FIRST(&keystore->closing);
    STAILQ_REMOVE_HEAD(&keystore->closing, closing);
    (void)pthread_mutex_unlock(&keystore->lock);
    key_close(key);
    outage_tell_lost_keys(worker);
    (void)pthread_mutex_lock(&keystore->lock);
}

/* Somebody else may be this worker in the meantime. Called and returns with the lock held. */
static void wait_for_work(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    worker->is_waiting = true;
    if (worker->is_borrowed) {
        (void)pthread_cond_wait(&keystore->wake, &keystore->lock);
    } else {
        outage_wait(keystore);
    }
    worker->is_waiting = false;
}

/* Does one thing, if there is one: a job, telling, closing a key, a probe. Called and returns with
 * the lock held. */
static bool work(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct keystore_job *job = next_job(keystore);
    if (job) {
        run_next(worker, job);
    } else if (keystore->must_tell) {
        tell_later(worker);
    } else if (keystore->state == KEYSTORE_STATE_READY && !STAILQ_EMPTY(&keystore->closing)) {
        close_one(worker);
    } else if (outage_is_probe_due(keystore)) {
        outage_probe(worker);
    } else {
        return false;
    }
    return true;
}

void worker_wake(struct keystore *keystore)
{
    unsigned idle = 0;
    unsigned borrowed = 0;
    for (unsigned i = 0; i < keystore->worker_count; i++) {
        const struct worker *worker = &keystore->workers[i];
        idle += worker->is_waiting && !worker->is_borrowed;
        borrowed += worker->is_borrowed;
    }
    /* A signal may reach the thread of a borrowed worker, which has no use for it. */
    if (idle > 0 && borrowed > 0) {
        (void)pthread_cond_broadcast(&keystore->wake);
    } else if (idle > 0) {
        (void)pthread_cond_signal(&keystore->wake);
    }
}

static struct worker *find_idle(struct keystore *keystore)
{
    if (keystore->is_stopping || keystore->state == KEYSTORE_STATE_LOST ||
        queue_has(&keystore->queue, KEYSTORE_PRIORITY_ISSUE)) {
        return NULL;
    }
    for (unsigned i = 0; i < keystore->worker_count; i++) {
        struct worker *worker = &keystore->workers[i];
        if (worker->is_waiting && !worker->is_borrowed) {
            return worker;
        }
    }
    return NULL;
}

struct worker *worker_borrow(struct keystore *keystore)
{
    if (worker_of_thread) {
        return NULL;
    }
    (void)pthread_mutex_lock(&keystore->lock);
    struct worker *worker = find_idle(keystore);
    if (worker) {
        worker->is_borrowed = true;
        worker->priority = KEYSTORE_PRIORITY_USE;
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    if (worker) {
        sigset_t all;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &worker->signals);
        worker_of_thread = worker;
    }
    return worker;
}

void worker_return(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    worker_of_thread = NULL;
    (void)pthread_sigmask(SIG_SETMASK, &worker->signals, NULL);
    (void)pthread_mutex_lock(&keystore->lock);
    worker->is_borrowed = false;
    if (keystore->queue.waiting > 0 || !STAILQ_EMPTY(&keystore->closing) || keystore->must_tell ||
        keystore->state == KEYSTORE_STATE_LOST || keystore->is_stopping) {
        (void)pthread_cond_broadcast(&keystore->wake);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct keystore *keystore = worker->keystore;
    char name[16];
    (void)snprintf(name, sizeof(name), "ks-%.12s", keystore->name);
    (void)pthread_setname_np(pthread_self(), name);
    worker_of_thread = worker;
    (void)pthread_mutex_lock(&keystore->lock);
    while (!keystore->is_stopping || worker->is_borrowed) {
        if (worker->is_borrowed || !work(worker)) {
            wait_for_work(worker);
        }
    }
    bool is_last = --keystore->running == 0;
    while (is_last && !STAILQ_EMPTY(&keystore->closing)) {
        close_one(worker);
    }
    bool must_close = is_last && keystore->is_open;
    (void)pthread_mutex_unlock(&keystore->lock);
    if (must_close) {
        keystore->driver->close(keystore->driver_state);
    }
    return NULL;
}

int worker_start(struct keystore *keystore, struct error *err)
{
    struct worker *worker = &keystore->workers[keystore->worker_count];
    worker->keystore = keystore;
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    /* Signals are for the thread of the event loop. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_mutex_lock(&keystore->lock);
    int failure = pthread_create(&worker->thread, &attributes, worker_main, worker);
    if (failure == 0) {
        keystore->worker_count++;
        keystore->running++;
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (failure) {
        return error_set_errno(err, failure, "starting a thread for keystore %s", keystore->name);
    }
    return 0;
}

void worker_stop_all(struct keystore *keystore)
{
    (void)pthread_mutex_lock(&keystore->lock);
    keystore->is_stopping = true;
    unsigned count = keystore->worker_count;
    (void)pthread_cond_broadcast(&keystore->wake);
    (void)pthread_mutex_unlock(&keystore->lock);
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(keystore->workers[i].thread, NULL);
    }
}

int worker_submit(struct keystore *keystore, struct keystore_job *job, struct error *err)
{
    int result = 0;
    job->submitted_us = times_now_us();
    (void)pthread_mutex_lock(&keystore->lock);
    if (keystore->is_stopping) {
        result = error_set(err, ERROR_CANCELLED, "keystore %s is closing", keystore->name);
    } else if (keystore->state == KEYSTORE_STATE_LOST) {
        result = error_set(err, ERROR_UNAVAILABLE, "keystore %s is lost: %s", keystore->name,
                           keystore->reason);
    } else if (queue_push(&keystore->queue, job, err) < 0) {
        result = error_prepend(err, "keystore %s", keystore->name);
    } else {
        worker_wake(keystore);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    return result;
}
