#include "pkcs11/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

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

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tell_change(struct keystore *keystore)
{
    (void)pthread_mutex_lock(&keystore->lock);
    void (*changed)(struct keystore *, void *) = keystore->changed;
    void *user = keystore->changed_user;
    (void)pthread_mutex_unlock(&keystore->lock);
    if (changed) {
        changed(keystore, user);
    }
}

/* Half of the delay is random, so that agents that lost the same HSM do not come back as one. */
static void schedule_probe(struct keystore *keystore)
{
    uint64_t half_ms = keystore->backoff_ms / 2;
    keystore->probe_at_ms = now_ms() + half_ms + clock_random_below(half_ms + 1);
}

static bool set_reason(struct keystore *keystore, const struct error *reason)
{
    char text[sizeof(keystore->reason)];
    (void)snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, reason->text);
    bool is_new = strcmp(text, keystore->reason) != 0;
    memcpy(keystore->reason, text, sizeof(text));
    return is_new;
}

/* Starts small again only after the hardware was there for longer than it was waited for. */
static void begin_backoff(struct keystore *keystore)
{
    bool was_steady = now_ms() - keystore->ready_at_ms > keystore->backoff_ms;
    uint64_t longer_ms = MIN(2 * keystore->backoff_ms, (uint64_t)BACKOFF_LAST_MS);
    keystore->backoff_ms = was_steady ? (uint64_t)BACKOFF_FIRST_MS : longer_ms;
    schedule_probe(keystore);
}

static void become_lost(struct keystore *keystore, const struct error *reason)
{
    (void)pthread_mutex_lock(&keystore->lock);
    bool is_change = keystore->state == KEYSTORE_STATE_READY;
    if (is_change) {
        keystore->state = KEYSTORE_STATE_LOST;
        (void)set_reason(keystore, reason);
        begin_backoff(keystore);
        (void)pthread_cond_broadcast(&keystore->wake);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    if (is_change) {
        log_warning("keystore lost keystore=%s reason=\"%s\"", keystore->name, reason->text);
        tell_change(keystore);
    }
}

static void tell_lost_keys(struct worker *worker)
{
    if (worker->has_lost_keys) {
        worker->has_lost_keys = false;
        tell_change(worker->keystore);
    }
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
    /* A job may be many commands long; a signature waits for the one in progress only. */
    while (worker->priority != KEYSTORE_PRIORITY_USE && !keystore->is_stopping &&
           (job = queue_pop(&keystore->queue, KEYSTORE_PRIORITY_USE))) {
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
            become_lost(worker->keystore, err);
        }
        (void)error_prepend(err, "keystore %s", worker->keystore->name);
    }
    tell_lost_keys(worker);
    return result;
}

/* Called and returns with the lock held. */
static void probe(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct error reason = {0};
    bool is_new_reason = false;
    keystore->is_probing = true;
    (void)pthread_mutex_unlock(&keystore->lock);
    bool is_back = keystore->driver->probe(keystore->driver_state, &reason) == 0;
    (void)pthread_mutex_lock(&keystore->lock);
    keystore->is_probing = false;
    if (is_back) {
        keystore->state = KEYSTORE_STATE_READY;
        keystore->ready_at_ms = now_ms();
        keystore->reason[0] = '\0';
    } else {
        keystore->backoff_ms = MIN(2 * keystore->backoff_ms, (uint64_t)BACKOFF_LAST_MS);
        is_new_reason = set_reason(keystore, &reason);
        schedule_probe(keystore);
    }
    (void)pthread_cond_broadcast(&keystore->wake);
    (void)pthread_mutex_unlock(&keystore->lock);
    if (is_back) {
        worker->has_lost_keys = false;
        log_info("keystore is back keystore=%s", keystore->name);
        tell_change(keystore);
    } else if (is_new_reason) {
        log_warning("keystore is still lost keystore=%s reason=\"%s\"", keystore->name,
                    reason.text);
    }
    tell_lost_keys(worker);
    (void)pthread_mutex_lock(&keystore->lock);
}

/* The next job for a worker that has nothing in hand. Where there are several, one is kept from
 * background work, so that a signature never waits for the end of a key generation. */
static struct keystore_job *next_job(struct keystore *keystore)
{
    struct keystore_job *job = queue_pop(&keystore->queue, KEYSTORE_PRIORITY_ISSUE);
    unsigned allowed = MAX(keystore->worker_count, 2) - 1;
    if (!job && (STAILQ_EMPTY(&keystore->closing) || keystore->state == KEYSTORE_STATE_LOST) &&
        keystore->background_running < allowed) {
        job = queue_pop(&keystore->queue, KEYSTORE_PRIORITY_BACKGROUND);
    }
    return job;
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
static void close_one(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct key *key = STAILQ_FIRST(&keystore->closing);
    STAILQ_REMOVE_HEAD(&keystore->closing, closing);
    (void)pthread_mutex_unlock(&keystore->lock);
    key_close(key);
    tell_lost_keys(worker);
    (void)pthread_mutex_lock(&keystore->lock);
}

static void wait_for_work(struct keystore *keystore)
{
    if (keystore->state == KEYSTORE_STATE_LOST && !keystore->is_probing) {
        struct timespec until = {.tv_sec = (time_t)(keystore->probe_at_ms / 1000),
                                 .tv_nsec = (long)(keystore->probe_at_ms % 1000) * 1000000};
        (void)pthread_cond_timedwait(&keystore->wake, &keystore->lock, &until);
    } else {
        (void)pthread_cond_wait(&keystore->wake, &keystore->lock);
    }
}

/* One step: a job, a probe, a key to close, or a wait. Called and returns with the lock held. */
static void step(struct worker *worker)
{
    struct keystore *keystore = worker->keystore;
    struct keystore_job *job = next_job(keystore);
    if (job) {
        run_next(worker, job);
    } else if (keystore->state == KEYSTORE_STATE_READY && !STAILQ_EMPTY(&keystore->closing)) {
        close_one(worker);
    } else if (keystore->state == KEYSTORE_STATE_LOST && !keystore->is_probing &&
               now_ms() >= keystore->probe_at_ms) {
        probe(worker);
    } else {
        wait_for_work(keystore);
    }
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
    while (!keystore->is_stopping) {
        step(worker);
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
    (void)pthread_mutex_lock(&keystore->lock);
    if (keystore->is_stopping) {
        result = error_set(err, ERROR_CANCELLED, "keystore %s is closing", keystore->name);
    } else if (keystore->state == KEYSTORE_STATE_LOST) {
        result = error_set(err, ERROR_UNAVAILABLE, "keystore %s is lost: %s", keystore->name,
                           keystore->reason);
    } else if (queue_push(&keystore->queue, job, err) < 0) {
        result = error_prepend(err, "keystore %s", keystore->name);
    } else {
        (void)pthread_cond_signal(&keystore->wake);
    }
    (void)pthread_mutex_unlock(&keystore->lock);
    return result;
}
