/* The inside of a keystore: its threads, its state, and how work gets to the driver. For the files
 * of this folder. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#include "pkcs11/driver.h"
#include "pkcs11/queue.h"

enum { WORKER_LIMIT = 16 };

/* After how long lost hardware is asked again: at first, and at most. */
enum { BACKOFF_FIRST_MS = 100, BACKOFF_LAST_MS = 30000 };

/* One thread; or another one that has taken its place while it had nothing to do. */
struct worker {
    struct keystore *keystore;
    pthread_t thread;
    bool is_waiting, is_borrowed;    /* under the keystore's lock */
    sigset_t signals;                /* of the thread that has borrowed it */
    enum keystore_priority priority; /* of the job in hand */
    bool has_lost_keys;              /* said by the driver during the command in hand */
};

struct keystore {
    char *name;
    const struct keystore_driver *driver;
    const void *driver_config;
    void *driver_state;
    atomic_size_t keys;
    atomic_uint_fast64_t signatures, generations, failures;
    struct keystore_times times;

    pthread_mutex_t lock; /* for all that follows */
    pthread_cond_t wake;  /* there may be something to do for a worker */
    struct queue queue;
    STAILQ_HEAD(, key) closing; /* keys whose last reference is gone */
    enum keystore_state state;
    char reason[256];
    uint64_t probe_at_ms, ready_at_ms, backoff_ms;
    bool is_probing, is_stopping, is_open;
    bool must_tell; /* a change that a worker has yet to tell */
    void (*changed)(struct keystore *keystore, void *user);
    void *changed_user;
    unsigned background_running;
    unsigned worker_count; /* threads that were started */
    unsigned running;      /* threads that have not ended */
    struct worker workers[WORKER_LIMIT];
};

struct key {
    atomic_uint references;
    struct keystore *keystore;
    struct driver_key *driver_key;
    struct buffer reference; /* of lasting keys */
    uint8_t id[KEY_ID_BYTES];
    atomic_uint_fast64_t uses;
    STAILQ_ENTRY(key) closing;
};

/* Starts one more thread. */
int worker_start(struct keystore *keystore, struct error *err);
/* Ends the threads after the job in hand; the last one closes the driver. Waits for them. */
void worker_stop_all(struct keystore *keystore);

/* Queues a job unless the keystore is lost or full. */
int worker_submit(struct keystore *keystore, struct keystore_job *job, struct error *err);

/* There is work. With the lock held. */
void worker_wake(struct keystore *keystore);

/* Makes the calling thread the worker in the place of one that has nothing to do, which spares both
 * a change of threads; NULL when there is none or when other work waits. For one short command. */
struct worker *worker_borrow(struct keystore *keystore);
void worker_return(struct worker *worker);

/* The worker that this thread is of the keystore; NULL when it is none. */
struct worker *worker_current(const struct keystore *keystore);

/* Stand around every call of the driver that can fail. The first lets waiting signatures go first,
 * and fails while the keystore is lost. The second draws the conclusions from the result, which it
 * returns. err is never NULL. */
int worker_command_begin(struct worker *worker, struct error *err);
int worker_command_end(struct worker *worker, int result, struct error *err);

/* Frees the key and its part in the driver; on a worker. */
void key_close(struct key *key);
