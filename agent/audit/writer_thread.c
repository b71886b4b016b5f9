/* The thread: one turn takes a head that was signed, then the next records, writes both with one
 * wait for the disk, tells of it, and asks for the next head. */
#include <string.h>

#include "agent/audit/body.h"
#include "agent/audit/thread.h"
#include "agent/audit/writer_state.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    LINGER_MS = 20,        /* for records that nobody waits for: more may come */
    SLICE_BYTES = 4 << 20, /* written with one wait for the disk */
    KEPT_BYTES = 1 << 20,  /* of memory, between batches */
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 5000,
    SIGNER_PATIENCE_MS = 200,
};

static bool has_batch(const struct audit_batch *batch)
{
    return batch->bodies.size > 0 || batch->gap.count > 0;
}

static int append(struct audit_writer *writer, struct bytes body, struct error *err)
{
    bool is_new_file = false;
    TRY(audit_log_append(writer->log, body, &is_new_file, err));
    writer->must_sync = true;
    writer->heads.records++;
    if (is_new_file) {
        audit_heads_want(&writer->heads, AUDIT_HEAD_FILE);
        writer->has_cut = writer->heads.signer != NULL;
    }
    return 0;
}

static int append_notice(struct audit_writer *writer, const struct audit_notice *notice,
                         struct error *err)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    audit_notice_body(notice, &body);
    return append(writer, buffer_bytes(&body), err);
}

static int append_gap(struct audit_writer *writer, struct error *err)
{
    struct audit_gap *gap = &writer->batch.gap;
    if (gap->count == 0) {
        return 0;
    }
    const struct audit_notice notice = {
        .is_failure = true,
        .message = "records were dropped, as the audit log could not be written for too long",
        .count = gap->count,
        .first_ms = gap->first_ms,
        .last_ms = gap->last_ms,
    };
    TRY(append_notice(writer, &notice, err));
    writer->telling += gap->count;
    *gap = (struct audit_gap){0};
    return 0;
}

/* A record that the log refuses for what it is would be refused each time. */
static void give_up(struct audit_writer *writer, const struct error *why)
{
    log_error("a record cannot be written to the audit log reason=\"%s\"", why->text);
    (void)pthread_mutex_lock(&writer->lock);
    audit_writer_count_dropped(writer, &writer->batch.gap, audit_now_ms());
    (void)pthread_mutex_unlock(&writer->lock);
}

/* The next body of the batch. */
static int append_next(struct audit_writer *writer, struct error *err)
{
    const struct buffer *bodies = &writer->batch.bodies;
    struct reader reader =
        reader_of((struct bytes){bodies->data + writer->batch_at, bodies->size - writer->batch_at});
    uint32_t size = reader_u32(&reader);
    struct bytes body = reader_bytes(&reader, size);
    if (append(writer, body, err) < 0) {
        if (err->code != ERROR_INVALID_ARGUMENT) {
            return -1;
        }
        give_up(writer, err);
    }
    writer->batch_at = bodies->size - reader.rest.size;
    writer->batch_bytes += size;
    if (writer->taken++ == 0) {
        audit_heads_want(&writer->heads, AUDIT_HEAD_START);
    }
    return 0;
}

static int append_batch(struct audit_writer *writer, struct error *err)
{
    while (writer->batch_at < writer->batch.bodies.size) {
        if (audit_log_pending_bytes(writer->log) >= SLICE_BYTES || writer->has_cut) {
            return 0;
        }
        TRY(append_next(writer, err));
    }
    return writer->has_cut ? 0 : append_gap(writer, err);
}

/* After a time without writing, before all else. */
static int append_outage(struct audit_writer *writer, struct error *err)
{
    if (writer->failed_at_ms == 0) {
        return 0;
    }
    _cleanup_(free_cleanup) char *message =
        text_format("the audit log can be written again after: %s", writer->view.failure.text);
    const struct audit_notice notice = {
        .is_failure = true, .message = message, .first_ms = writer->failed_at_ms};
    TRY(append_notice(writer, &notice, err));
    /* Where files were taken away, what is left may have no head that tells of it. */
    audit_heads_want(&writer->heads, AUDIT_HEAD_INTERVAL);
    writer->failed_at_ms = 0;
    return 0;
}

static int write_all(struct audit_writer *writer, uint64_t now_ms, struct error *err)
{
    bool has_head = false;
    writer->has_cut = false;
    /* What is left of the last try first: the log holds no more than one slice. */
    if (writer->failures > 0) {
        TRY(audit_log_sync(writer->log, err));
        TRY(append_outage(writer, err));
    }
    TRY(audit_heads_take(&writer->heads, writer->log, now_ms, &has_head, err));
    writer->must_sync |= has_head;
    TRY(append_batch(writer, err));
    return writer->must_sync ? audit_log_sync(writer->log, err) : 0;
}

/* Those below are called with the lock held. */

static void note_failure(struct audit_writer *writer, const struct error *failure, uint64_t now_ms)
{
    uint64_t pause_ms = (uint64_t)RETRY_FIRST_MS << MIN(writer->failures, 6U);
    writer->retry_ms = now_ms + MIN(pause_ms, (uint64_t)RETRY_MAX_MS);
    writer->failures++;
    writer->view.failures++;
    writer->view.failure = *failure;
    writer->failed_at_ms = writer->failed_at_ms ? writer->failed_at_ms : audit_now_ms();
    if (!atomic_exchange(&writer->is_failing, true)) {
        audit_writer_tell_news(writer);
    }
}

static void drop_written(struct audit_batch *batch, size_t *at)
{
    if (*at < batch->bodies.size) {
        return;
    }
    buffer_reset(&batch->bodies);
    if (batch->bodies.capacity > KEPT_BYTES) {
        buffer_clear(&batch->bodies);
    }
    *at = 0;
}

static void note_success(struct audit_writer *writer)
{
    bool has_news = writer->view.durable < writer->taken || atomic_load(&writer->is_failing) ||
                    writer->telling > 0;
    writer->must_sync = false;
    writer->failures = 0;
    writer->view.durable = writer->taken;
    writer->view.link = *audit_log_link(writer->log);
    writer->view.failure = (struct error){0};
    writer->waiting_bytes -= writer->batch_bytes;
    writer->batch_bytes = 0;
    (void)atomic_fetch_sub(&writer->untold, writer->telling);
    writer->telling = 0;
    drop_written(&writer->batch, &writer->batch_at);
    atomic_store(&writer->oldest_ms, writer->batch.bodies.size > 0   ? writer->batch.oldest_ms
                                     : writer->queue.bodies.size > 0 ? writer->queue.oldest_ms
                                                                     : 0);
    if (atomic_exchange(&writer->is_failing, false)) {
        /* The folder may be another one now. */
        text_list_clear(&writer->heads.keys);
    }
    if (has_news) {
        audit_writer_tell_news(writer);
    }
}

static void note_heads(struct audit_writer *writer)
{
    const struct audit_heads *heads = &writer->heads;
    writer->is_first_over = heads->is_first_over;
    if (heads->has_head && !writer->must_sync) {
        writer->view.signed_link = heads->head.link;
        memcpy(writer->view.key_id, heads->head.key_id, sizeof(writer->view.key_id));
    }
    (void)pthread_cond_broadcast(&writer->settled);
}

/* Takes all that waits where the last was written. */
static void take_queue(struct audit_writer *writer)
{
    if (has_batch(&writer->batch)) {
        return;
    }
    struct audit_batch empty = writer->batch;
    writer->batch = writer->queue;
    writer->queue = empty;
    writer->queue.gap = (struct audit_gap){0};
    writer->is_urgent = false;
}

static bool is_drained(const struct audit_writer *writer)
{
    return !has_batch(&writer->queue) && !has_batch(&writer->batch) && !writer->must_sync;
}

static bool is_over(const struct audit_writer *writer, uint64_t now_ms)
{
    return writer->is_stopping &&
           ((is_drained(writer) && writer->heads.is_stop_over) || now_ms >= writer->deadline_ms);
}

static bool is_stop_head_due(const struct audit_writer *writer)
{
    return writer->is_stopping && is_drained(writer) && !writer->heads.is_stop_wanted;
}

/* When there is something to do, as things are; 0: now. */
static uint64_t next_turn_ms(const struct audit_writer *writer)
{
    uint64_t next_ms = writer->is_stopping ? writer->deadline_ms : UINT64_MAX;
    if (writer->failures > 0) {
        return MIN(next_ms, writer->retry_ms);
    }
    if (!writer->is_signer_ready && clock_monotonic_ms() < writer->heads.hold_ms) {
        return MIN(next_ms, writer->heads.hold_ms);
    }
    if (has_batch(&writer->batch) || writer->must_sync || writer->queue.gap.count > 0 ||
        writer->is_signer_ready || is_stop_head_due(writer)) {
        return 0;
    }
    if (writer->queue.bodies.size > 0) {
        bool is_due = writer->is_urgent || writer->is_stopping;
        next_ms = MIN(next_ms, is_due ? 0 : writer->queue.oldest_ms + LINGER_MS);
    }
    return MIN(next_ms, audit_heads_next_ms(&writer->heads));
}

static bool is_queue_due(const struct audit_writer *writer, uint64_t now_ms)
{
    return writer->is_urgent || writer->is_stopping || writer->queue.gap.count > 0 ||
           now_ms >= writer->queue.oldest_ms + LINGER_MS;
}

static void take_turn(struct audit_writer *writer, uint64_t now_ms)
{
    struct error failure = {0};
    writer->is_signer_ready = false;
    if (is_queue_due(writer, now_ms)) {
        take_queue(writer);
    }
    if (is_stop_head_due(writer)) {
        writer->heads.is_stop_wanted = true;
        audit_heads_want(&writer->heads, AUDIT_HEAD_STOP);
    }
    (void)pthread_mutex_unlock(&writer->lock);
    int result = write_all(writer, now_ms, &failure);
    (void)pthread_mutex_lock(&writer->lock);
    if (result < 0) {
        note_failure(writer, &failure, clock_monotonic_ms());
    } else {
        note_success(writer);
        (void)pthread_mutex_unlock(&writer->lock);
        audit_heads_synced(&writer->heads, writer->log, clock_monotonic_ms());
        (void)pthread_mutex_lock(&writer->lock);
    }
    note_heads(writer);
}

static void finish(struct audit_writer *writer)
{
    (void)pthread_mutex_unlock(&writer->lock);
    if (writer->heads.signer) {
        uint64_t limit_ms = MAX(writer->deadline_ms, clock_monotonic_ms() + SIGNER_PATIENCE_MS);
        if (!audit_signer_stop(take_ptr(writer->heads.signer), limit_ms)) {
            log_warning("the keystore that signs heads of the audit log does not answer");
        }
    }
    audit_log_close(writer->log);
    (void)pthread_mutex_lock(&writer->lock);
    writer->view.is_finished = true;
    (void)pthread_cond_broadcast(&writer->settled);
    audit_writer_tell_news(writer);
}

void *audit_writer_main(void *argument)
{
    struct audit_writer *writer = argument;
    (void)pthread_setname_np(pthread_self(), "audit-write");
    (void)pthread_mutex_lock(&writer->lock);
    while (!is_over(writer, clock_monotonic_ms())) {
        if (!audit_thread_wait(&writer->wake, &writer->lock, next_turn_ms(writer))) {
            take_turn(writer, clock_monotonic_ms());
        }
    }
    finish(writer);
    (void)pthread_mutex_unlock(&writer->lock);
    audit_writer_unref(writer);
    return NULL;
}
