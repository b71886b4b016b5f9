#include "agent/svid/key_pool.h"

#include "agent/svid/timing.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/memory/memory.h"

struct ready_key {
    struct key_material material;
    STAILQ_ENTRY(ready_key) link;
};

TAILQ_HEAD(wait_list, key_wait);

struct key_shelf {
    struct key_pool *pool;
    struct keystore *keystore;
    enum key_type type;
    bool is_delivered;
    size_t users;
    STAILQ_HEAD(, ready_key) ready;
    size_t ready_count;
    struct wait_list waits[2]; /* by is_urgent */
    size_t wait_counts[2];
    size_t job_counts[2];
    unsigned failures; /* of making keys ahead */
    struct timer retry;
    SLIST_ENTRY(key_shelf) link;
};

struct key_pool {
    struct timer_heap *timers;
    struct mailbox *mailbox;
    unsigned ready_count;
    size_t job_count;
    bool is_stopping;
    SLIST_HEAD(, key_shelf) shelves; /* at most keystores x types x 2 */
};

/* On its way to a worker and back. */
struct key_job {
    struct keystore_job job;
    struct key_shelf *shelf;
    bool is_urgent;
    struct key_material material;
    bool is_failed;
    struct error failure;
};

struct bytes key_material_public(const struct key *key, const struct buffer *spki)
{
    return key ? key_public_der(key) : buffer_bytes(spki);
}

void key_material_clear(struct key_material *material)
{
    if (material->key) {
        key_unref(material->key);
    }
    secret_clear(&material->pkcs8);
    buffer_clear(&material->spki);
    *material = (struct key_material){0};
}

/* On a worker. */
static void run_job(struct keystore_job *base)
{
    struct key_job *job = container_of(base, struct key_job, job);
    const struct key_shelf *shelf = job->shelf;
    int result = shelf->is_delivered
                     ? delivered_key_generate(shelf->type, &job->material.pkcs8,
                                              &job->material.spki, &job->failure)
                     : keystore_key_generate(shelf->keystore, shelf->type, NULL, base->priority,
                                             &job->material.key, &job->failure);
    job->is_failed = result < 0;
}

static void deliver_job(struct mailbox_message *message);

static int submit_job(struct key_shelf *shelf, bool is_urgent, struct error *err)
{
    _cleanup_(free_cleanup) struct key_job *job = NEW(struct key_job);
    job->shelf = shelf;
    job->is_urgent = is_urgent;
    /* What it says where the keystore is freed before the job has run. */
    job->is_failed = true;
    (void)error_set(&job->failure, ERROR_CANCELLED, "making a key in keystore %s: it was stopped",
                    keystore_name(shelf->keystore));
    job->job = (struct keystore_job){
        .run = run_job,
        .mailbox = shelf->pool->mailbox,
        .message.deliver = deliver_job,
        .priority = is_urgent ? KEYSTORE_PRIORITY_ISSUE : KEYSTORE_PRIORITY_BACKGROUND,
    };
    TRY(keystore_submit(shelf->keystore, &job->job, err));
    (void)take_ptr(job);
    shelf->job_counts[is_urgent]++;
    shelf->pool->job_count++;
    return 0;
}

static void remove_wait(struct key_wait *wait)
{
    struct key_shelf *shelf = wait->shelf;
    TAILQ_REMOVE(&shelf->waits[wait->is_urgent], wait, link);
    shelf->wait_counts[wait->is_urgent]--;
    wait->shelf = NULL;
}

static void fail_first(struct key_shelf *shelf, bool is_urgent, const struct error *failure)
{
    struct key_wait *wait = TAILQ_FIRST(&shelf->waits[is_urgent]);
    if (wait) {
        struct key_material nothing = {0};
        remove_wait(wait);
        wait->done(wait, &nothing, failure);
    }
}

static void retry_later(struct key_shelf *shelf, const struct error *failure)
{
    struct timer_heap *timers = shelf->pool->timers;
    if (shelf->failures++ == 0) {
        log_warning("cannot make keys ahead keystore=%s key_type=%s reason=\"%s\"",
                    keystore_name(shelf->keystore), key_type_name(shelf->type), failure->text);
    }
    timer_set(timers, &shelf->retry,
              timer_heap_now_ms(timers) + timing_retry_ms(shelf->failures, 0));
}

/* One key ahead at a time: the shelf fills without a crowd in the keystore's queue. */
static bool needs_ready_key(const struct key_shelf *shelf)
{
    return shelf->users > 0 && shelf->ready_count < shelf->pool->ready_count &&
           shelf->retry.position == 0;
}

/* Brings the number of keys being made up to what is wanted. */
static void supply(struct key_shelf *shelf)
{
    struct error err;
    if (shelf->pool->is_stopping) {
        return;
    }
    while (shelf->job_counts[true] < shelf->wait_counts[true]) {
        if (submit_job(shelf, true, &err) < 0) {
            fail_first(shelf, true, &err);
        }
    }
    while (shelf->job_counts[false] < shelf->wait_counts[false]) {
        if (submit_job(shelf, false, &err) < 0) {
            fail_first(shelf, false, &err);
        }
    }
    if (needs_ready_key(shelf) && shelf->job_counts[false] == shelf->wait_counts[false] &&
        submit_job(shelf, false, &err) < 0) {
        retry_later(shelf, &err);
    }
}

static void on_retry(struct timer *timer)
{
    supply(container_of(timer, struct key_shelf, retry));
}

static void put_on_shelf(struct key_shelf *shelf, struct key_material *material)
{
    struct ready_key *ready = NEW(struct ready_key);
    ready->material = *material;
    *material = (struct key_material){0};
    STAILQ_INSERT_TAIL(&shelf->ready, ready, link);
    shelf->ready_count++;
}

static void drop_ready(struct key_shelf *shelf, struct ready_key *ready)
{
    STAILQ_REMOVE(&shelf->ready, ready, ready_key, link);
    shelf->ready_count--;
    key_material_clear(&ready->material);
    free(ready);
}

static void hand_out(struct key_shelf *shelf, struct key_material *material)
{
    struct key_wait *wait = TAILQ_FIRST(&shelf->waits[true]);
    wait = wait ? wait : TAILQ_FIRST(&shelf->waits[false]);
    if (wait) {
        remove_wait(wait);
        wait->done(wait, material, NULL);
    } else if (shelf->users > 0 && shelf->ready_count < shelf->pool->ready_count) {
        put_on_shelf(shelf, material);
    } else {
        key_material_clear(material);
    }
}

static void deliver_job(struct mailbox_message *message)
{
    struct key_job *job = container_of(message, struct key_job, job.message);
    struct key_shelf *shelf = job->shelf;
    shelf->job_counts[job->is_urgent]--;
    shelf->pool->job_count--;
    if (shelf->pool->is_stopping) {
        key_material_clear(&job->material);
    } else if (!job->is_failed) {
        shelf->failures = 0;
        hand_out(shelf, &job->material);
    } else if (shelf->wait_counts[job->is_urgent] > shelf->job_counts[job->is_urgent]) {
        fail_first(shelf, job->is_urgent, &job->failure);
    } else if (!job->is_urgent) {
        retry_later(shelf, &job->failure);
    }
    free(job);
    supply(shelf);
}

struct key_pool *key_pool_new(struct timer_heap *timers, struct mailbox *mailbox,
                              unsigned ready_count)
{
    struct key_pool *pool = NEW(struct key_pool);
    *pool = (struct key_pool){.timers = timers, .mailbox = mailbox, .ready_count = ready_count};
    return pool;
}

struct key_shelf *key_pool_shelf(struct key_pool *pool, struct keystore *keystore,
                                 enum key_type type, bool is_delivered)
{
    struct key_shelf *shelf;
    SLIST_FOREACH(shelf, &pool->shelves, link)
    {
        if (shelf->keystore == keystore && shelf->type == type &&
            shelf->is_delivered == is_delivered) {
            return shelf;
        }
    }
    shelf = NEW(struct key_shelf);
    shelf->pool = pool;
    shelf->keystore = keystore;
    shelf->type = type;
    shelf->is_delivered = is_delivered;
    shelf->retry.fire = on_retry;
    STAILQ_INIT(&shelf->ready);
    TAILQ_INIT(&shelf->waits[false]);
    TAILQ_INIT(&shelf->waits[true]);
    SLIST_INSERT_HEAD(&pool->shelves, shelf, link);
    return shelf;
}

enum key_type key_shelf_type(const struct key_shelf *shelf)
{
    return shelf->type;
}

struct keystore *key_shelf_keystore(const struct key_shelf *shelf)
{
    return shelf->keystore;
}

void key_shelf_use(struct key_shelf *shelf)
{
    if (shelf->users++ == 0) {
        supply(shelf);
    }
}

void key_shelf_release(struct key_shelf *shelf)
{
    if (--shelf->users == 0) {
        timer_cancel(shelf->pool->timers, &shelf->retry);
        while (!STAILQ_EMPTY(&shelf->ready)) {
            drop_ready(shelf, STAILQ_FIRST(&shelf->ready));
        }
    }
}

static void drop_dead(struct key_shelf *shelf)
{
    struct ready_key *next = NULL;
    for (struct ready_key *ready = STAILQ_FIRST(&shelf->ready); ready; ready = next) {
        next = STAILQ_NEXT(ready, link);
        if (ready->material.key && !key_is_alive(ready->material.key)) {
            drop_ready(shelf, ready);
        }
    }
}

void key_shelf_take(struct key_shelf *shelf, struct key_wait *wait)
{
    drop_dead(shelf);
    struct ready_key *ready = wait->is_urgent ? STAILQ_FIRST(&shelf->ready) : NULL;
    if (ready) {
        struct key_material material = ready->material;
        ready->material = (struct key_material){0};
        drop_ready(shelf, ready);
        wait->done(wait, &material, NULL);
    } else {
        wait->shelf = shelf;
        TAILQ_INSERT_TAIL(&shelf->waits[wait->is_urgent], wait, link);
        shelf->wait_counts[wait->is_urgent]++;
    }
    supply(shelf);
}

void key_wait_hurry(struct key_wait *wait)
{
    struct key_shelf *shelf = wait->shelf;
    remove_wait(wait);
    wait->is_urgent = true;
    key_shelf_take(shelf, wait);
}

void key_wait_cancel(struct key_wait *wait)
{
    remove_wait(wait);
}

void key_pool_keystore_changed(struct key_pool *pool, struct keystore *keystore)
{
    struct key_shelf *shelf;
    SLIST_FOREACH(shelf, &pool->shelves, link)
    {
        if (shelf->keystore == keystore) {
            drop_dead(shelf);
            timer_cancel(pool->timers, &shelf->retry);
            supply(shelf);
        }
    }
}

void key_pool_stop(struct key_pool *pool)
{
    struct key_shelf *shelf;
    pool->is_stopping = true;
    SLIST_FOREACH(shelf, &pool->shelves, link)
    {
        timer_cancel(pool->timers, &shelf->retry);
        while (!STAILQ_EMPTY(&shelf->ready)) {
            drop_ready(shelf, STAILQ_FIRST(&shelf->ready));
        }
    }
}

size_t key_pool_job_count(const struct key_pool *pool)
{
    return pool->job_count;
}

size_t key_pool_ready_count(const struct key_pool *pool)
{
    size_t count = 0;
    const struct key_shelf *shelf;
    SLIST_FOREACH(shelf, &pool->shelves, link)
    {
        count += shelf->ready_count;
    }
    return count;
}

void key_pool_free(struct key_pool *pool)
{
    while (!SLIST_EMPTY(&pool->shelves)) {
        struct key_shelf *shelf = SLIST_FIRST(&pool->shelves);
        SLIST_REMOVE_HEAD(&pool->shelves, link);
        free(shelf);
    }
    free(pool);
}
