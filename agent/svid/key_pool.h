/* Ready keys, made in the background, so that the first SVID of a workload need not wait for slow
 * hardware. One shelf for each keystore and key type; all keys are ephemeral. Loop thread only; the
 * keys are made on the keystores' workers. */
#pragma once

#include <sys/queue.h>

#include "agent/svid/timer_heap.h"
#include "pkcs11/keystore.h"

/* A new key: in a keystore, or about to be delivered. */
struct key_material {
    struct key *key;     /* hardware and guarded */
    struct secret pkcs8; /* delivered, with its */
    struct buffer spki;  /* SubjectPublicKeyInfo */
};
/* SubjectPublicKeyInfo, borrowed; key NULL: the one of a delivered key. */
struct bytes key_material_public(const struct key *key, const struct buffer *spki);
void key_material_clear(struct key_material *material);

struct key_shelf;
struct key_pool;

/* Somebody who waits for a key. Embed it. */
struct key_wait {
    TAILQ_ENTRY(key_wait) link;
    struct key_shelf *shelf;
    bool is_urgent;
    /* Exactly once unless cancelled. material is the waiter's to clear; empty on failure. */
    void (*done)(struct key_wait *wait, struct key_material *material, const struct error *failure);
};

/* ready_count keys are kept on each shelf that is in use. The timers and the mailbox (delivered
 * on the loop thread) outlive the pool. */
struct key_pool *key_pool_new(struct timer_heap *timers, struct mailbox *mailbox,
                              unsigned ready_count);
/* The shelf of the keystore and type, made where there is none. is_delivered: keys for delivery, by
 * a worker of this keystore. */
struct key_shelf *key_pool_shelf(struct key_pool *pool, struct keystore *keystore,
                                 enum key_type type, bool is_delivered);
struct keystore *key_shelf_keystore(const struct key_shelf *shelf);
enum key_type key_shelf_type(const struct key_shelf *shelf);
/* In use as often as it was not released: keys are made ready ahead. */
void key_shelf_use(struct key_shelf *shelf);
void key_shelf_release(struct key_shelf *shelf);

/* Asks for a key. An urgent one comes off the shelf, before the return, if one is ready; else it is
 * made at KEYSTORE_PRIORITY_ISSUE. Others are made in the background and leave the shelf alone. */
void key_shelf_take(struct key_shelf *shelf, struct key_wait *wait);
/* A workload has come to wait for it. */
void key_wait_hurry(struct key_wait *wait);
void key_wait_cancel(struct key_wait *wait);

/* Throws away the ready keys that the keystore lost, and makes new ones where it came back. */
void key_pool_keystore_changed(struct key_pool *pool, struct keystore *keystore);

/* Makes no more keys and drops those that are ready. Nobody may wait any more. */
void key_pool_stop(struct key_pool *pool);
/* Keys being made: the pool may be freed when there are none after key_pool_stop. */
size_t key_pool_job_count(const struct key_pool *pool);
size_t key_pool_ready_count(const struct key_pool *pool);
void key_pool_free(struct key_pool *pool);
