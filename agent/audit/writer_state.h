/* What the two halves of the writer share: writer.c, which others call, and writer_thread.c. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "agent/audit/heads.h"
#include "agent/audit/writer.h"
#include "lib/base/mailbox.h"

/* Records that found no room. */
struct audit_gap {
    uint64_t count;
    int64_t first_ms, last_ms; /* since 1970 */
};

/* Records that wait, each with its size before it. */
struct audit_batch {
    struct buffer bodies;
    uint64_t oldest_ms;   /* when the first came */
    struct audit_gap gap; /* came after them */
};

struct audit_writer {
    atomic_uint references; /* the loop's and the thread's */
    pthread_t thread;
    struct mailbox *mailbox;
    void (*news)(void *user);
    void *user;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* the thread's */
    pthread_cond_t settled; /* of audit_writer_settle */
    /* Below the lock. */
    struct mailbox_message message;
    bool is_message_on_its_way;
    struct audit_batch queue;
    uint64_t put;
    size_t waiting_bytes; /* put and not on disk */
    bool is_urgent, is_signer_ready, is_stopping;
    uint64_t deadline_ms;
    struct audit_writer_view view;
    bool is_first_over; /* see audit_heads */

    /* Every thread. */
    atomic_bool is_failing;
    _Atomic uint64_t oldest_ms; /* when the oldest that waits came; 0: nothing waits */
    _Atomic uint64_t untold;    /* dropped, and no record on disk tells of it */

    /* The thread's own. */
    struct audit_log *log;
    struct audit_heads heads;
    struct audit_batch batch;
    size_t batch_at;    /* what of it was appended */
    size_t batch_bytes; /* bodies appended and not on disk */
    uint64_t taken;     /* records appended so far */
    uint64_t telling;   /* dropped ones that an appended record tells of */
    bool must_sync;
    bool has_cut;      /* the next record begins a file: first a head */
    unsigned failures; /* in a row */
    uint64_t retry_ms;
    int64_t failed_at_ms; /* since 1970; 0: it does not fail */
};

void *audit_writer_main(void *writer);
/* The last one frees. */
void audit_writer_unref(struct audit_writer *writer);
/* With the lock held. */
void audit_writer_tell_news(struct audit_writer *writer);
void audit_writer_count_dropped(struct audit_writer *writer, struct audit_gap *gap,
                                int64_t time_ms);
