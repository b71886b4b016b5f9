#include "pkcs11/keystore.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/call.h"

enum { QUEUE_LIMIT = 4096, FLOW_LIMIT = 64 };

static struct keystore *keystore_allocate(const struct keystore_config *config)
{
    struct keystore *keystore = NEW(struct keystore);
    keystore->name = memory_copy_text(config->name);
    keystore->driver = config->driver;
    keystore->driver_config = config->driver_config;
    queue_init(&keystore->queue, config->queue_limit ? config->queue_limit : QUEUE_LIMIT,
               config->flow_limit ? config->flow_limit : FLOW_LIMIT);
    STAILQ_INIT(&keystore->closing);
    (void)pthread_mutex_init(&keystore->lock, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&keystore->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return keystore;
}

/* Jobs that never ran: who submitted them learns it from the delivery. */
static void deliver_unrun(struct keystore *keystore)
{
    struct keystore_job *job = NULL;
    while ((job = queue_pop(&keystore->queue, KEYSTORE_PRIORITY_BACKGROUND))) {
        if (!call_cancel(job) && job->mailbox) {
            mailbox_post(job->mailbox, &job->message);
        }
    }
    queue_clear(&keystore->queue);
}

void keystore_free(struct keystore *keystore)
{
    worker_stop_all(keystore);
    deliver_unrun(keystore);
    size_t keys = atomic_load(&keystore->keys);
    if (keys > 0) {
        /* Rather leaked than used after it was freed. */
        log_error("keystore closed with keys in use keystore=%s keys=%zu", keystore->name, keys);
        return;
    }
    (void)pthread_cond_destroy(&keystore->wake);
    (void)pthread_mutex_destroy(&keystore->lock);
    free(keystore->name);
    free(keystore);
}

DEFINE_CLEANUP(struct keystore, keystore_free, keystore_free);

static int open_driver(struct call *call, struct error *err)
{
    struct keystore *keystore = call->keystore;
    TRY(keystore->driver->open(keystore->driver_config, keystore->name, &keystore->driver_state,
                               err));
    keystore->is_open = true;
    return 0;
}

static unsigned count_workers(const struct keystore_config *config)
{
    const struct keystore_driver *driver = config->driver;
    unsigned wanted = driver->worker_count ? driver->worker_count(config->driver_config) : 1;
    return MAX(1, MIN(wanted, MIN(driver->max_workers, (unsigned)WORKER_LIMIT)));
}

int keystore_new(const struct keystore_config *config, struct keystore **ret_keystore,
                 struct error *err)
{
    _cleanup_(keystore_free_cleanup) struct keystore *keystore = keystore_allocate(config);
    TRY(worker_start(keystore, err));
    struct call call = {.act = open_driver, .is_opening = true};
    if (call_run(&call, keystore, KEYSTORE_PRIORITY_USE, 0, err) < 0) {
        return error_prepend(err, "opening keystore %s", config->name);
    }
    for (unsigned i = count_workers(config); i > 1; i--) {
        TRY(worker_start(keystore, err));
    }
    *ret_keystore = take_ptr(keystore);
    return 0;
}

const char *keystore_name(const struct keystore *keystore)
{
    return keystore->name;
}

enum key_protection keystore_protection(const struct keystore *keystore)
{
    return keystore->driver->protection;
}

void keystore_status(struct keystore *keystore, struct keystore_status *ret_status)
{
    struct keystore_status status = {
        .signatures = atomic_load(&keystore->signatures),
        .generations = atomic_load(&keystore->generations),
        .failures = atomic_load(&keystore->failures),
    };
    (void)pthread_mutex_lock(&keystore->lock);
    status.state = keystore->state;
    status.waiting = keystore->queue.waiting;
    memcpy(status.reason, keystore->reason, sizeof(status.reason));
    (void)pthread_mutex_unlock(&keystore->lock);
    *ret_status = status;
}

const struct keystore_times *keystore_times(const struct keystore *keystore)
{
    return &keystore->times;
}

void keystore_on_change(struct keystore *keystore,
                        void (*changed)(struct keystore *keystore, void *user), void *user)
{
    (void)pthread_mutex_lock(&keystore->lock);
    keystore->changed = changed;
    keystore->changed_user = user;
    (void)pthread_mutex_unlock(&keystore->lock);
}

int keystore_submit(struct keystore *keystore, struct keystore_job *job, struct error *err)
{
    return worker_submit(keystore, job, err);
}

static int probe_driver(struct call *call, struct error *err)
{
    return call->keystore->driver->probe(call->keystore->driver_state, err);
}

int keystore_probe(struct keystore *keystore, struct error *err)
{
    struct call call = {.act = probe_driver};
    return call_run(&call, keystore, KEYSTORE_PRIORITY_USE, 0, err);
}

struct driver_call {
    struct call call;
    int (*run)(void *state, void *argument, struct error *err);
    void *argument;
    int result;
    struct error error;
};

/* Whatever the hardware answers shows that it is there: only Unavailable counts against it, and is
 * passed on to those who watch over it. */
static int run_for_driver(struct call *call, struct error *err)
{
    struct driver_call *driver_call = container_of(call, struct driver_call, call);
    driver_call->result =
        driver_call->run(call->keystore->driver_state, driver_call->argument, &driver_call->error);
    if (driver_call->result == 0 || driver_call->error.code != ERROR_UNAVAILABLE) {
        return 0;
    }
    *err = driver_call->error;
    return -1;
}

int keystore_run_driver(struct keystore *keystore, const struct keystore_driver *driver,
                        enum keystore_priority priority,
                        int (*run)(void *state, void *argument, struct error *err), void *argument,
                        struct error *err)
{
    struct driver_call call = {.call.act = run_for_driver, .run = run, .argument = argument};
    if (keystore->driver != driver) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "keystore %s has keys in '%s', where '%s' is needed", keystore->name,
                         keystore->driver->name, driver->name);
    }
    TRY(call_run(&call.call, keystore, priority, 0, err));
    if (call.result < 0 && err) {
        *err = call.error;
    }
    return call.result;
}
