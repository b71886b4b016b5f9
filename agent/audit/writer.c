#include "agent/audit/writer.h"

#include <string.h>

#include "agent/audit/thread.h"
#include "agent/audit/writer_state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { WAITING_MAX_RECORDS = 65536, WAITING_MAX_BYTES = 64 << 20 };

void audit_writer_unref(struct audit_writer *writer)
{
    if (atomic_fetch_sub(&writer->references, 1) != 1) {
        return;
    }
    buffer_clear(&writer->queue.bodies);
    buffer_clear(&writer->batch.bodies);
    audit_heads_clear(&writer->heads);
    mailbox_free(writer->mailbox);
    (void)pthread_cond_destroy(&writer->wake);
    (void)pthread_cond_destroy(&writer->settled);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer);
}

static void signer_is_ready(void *user)
{
    struct audit_writer *writer = user;
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_signer_ready = true;
    (void)pthread_cond_signal(&writer->wake);
    (void)pthread_mutex_unlock(&writer->lock);
}

static void message_delivered(struct mailbox_message *message)
{
    struct audit_writer *writer = container_of(message, struct audit_writer, message);
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_message_on_its_way = false;
    (void)pthread_mutex_unlock(&writer->lock);
    writer->news(writer->user);
}

void audit_writer_tell_news(struct audit_writer *writer)
{
    if (!writer->is_message_on_its_way) {
        writer->is_message_on_its_way = true;
        mailbox_post(writer->mailbox, &writer->message);
    }
}

static int start(struct audit_writer *writer, const struct audit_writer_config *config,
                 struct error *err)
{
    const struct audit_signer_config of_signer = {.keystore = config->keystore,
                                                  .key_path = config->key_path,
                                                  .ready = signer_is_ready,
                                                  .user = writer};
    if (config->keystore) {
        TRY(audit_signer_new(&of_signer, &writer->heads.signer, err));
    }
    writer->heads.is_first_over = writer->heads.is_stop_over = !config->keystore;
    (void)atomic_fetch_add(&writer->references, 1);
    int failure = audit_thread_start(&writer->thread, audit_writer_main, writer);
    if (failure) {
        (void)atomic_fetch_sub(&writer->references, 1);
        if (writer->heads.signer) {
            (void)audit_signer_stop(writer->heads.signer, clock_monotonic_ms());
        }
        return error_set_errno(err, failure, "starting the thread that writes the audit log");
    }
    return 0;
}

int audit_writer_new(const struct audit_writer_config *config, struct audit_writer **ret_writer,
                     struct error *err)
{
    struct audit_writer *writer = NEW(struct audit_writer);
    if (mailbox_new(&writer->mailbox, err) < 0) {
        audit_log_close(config->log);
        free(writer);
        return -1;
    }
    writer->log = config->log;
    writer->news = config->news;
    writer->user = config->user;
    writer->message.deliver = message_delivered;
    writer->heads.interval_ms = (uint64_t)config->head_interval_s * 1000;
    writer->view.link = *audit_log_link(config->log);
    atomic_init(&writer->references, 1);
    audit_thread_init(&writer->lock, (pthread_cond_t *[]){&writer->wake, &writer->settled}, 2);
    if (start(writer, config, err) < 0) {
        audit_log_close(config->log);
        audit_writer_unref(writer);
        return -1;
    }
    *ret_writer = writer;
    return 0;
}

struct mailbox *audit_writer_mailbox(struct audit_writer *writer)
{
    return writer->mailbox;
}

void audit_writer_count_dropped(struct audit_writer *writer, struct audit_gap *gap, int64_t time_ms)
{
    gap->first_ms = gap->count == 0 ? time_ms : gap->first_ms;
    gap->last_ms = time_ms;
    gap->count++;
    writer->view.dropped++;
    (void)atomic_fetch_add(&writer->untold, 1);
}

void audit_writer_put(struct audit_writer *writer, struct bytes body, int64_t time_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    (void)pthread_mutex_lock(&writer->lock);
    struct audit_batch *queue = &writer->queue;
    if (writer->put - writer->view.durable >= WAITING_MAX_RECORDS ||
        writer->waiting_bytes + body.size > WAITING_MAX_BYTES) {
        audit_writer_count_dropped(writer, &queue->gap, time_ms);
    } else {
        bool is_first = queue->bodies.size == 0;
        buffer_append_sized(&queue->bodies, body);
        writer->waiting_bytes += body.size;
        writer->put++;
        if (is_first) {
            queue->oldest_ms = now_ms;
            (void)pthread_cond_signal(&writer->wake);
        }
        if (atomic_load(&writer->oldest_ms) == 0) {
            atomic_store(&writer->oldest_ms, now_ms);
        }
    }
    (void)pthread_mutex_unlock(&writer->lock);
}

void audit_writer_hurry(struct audit_writer *writer)
{
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_urgent = true;
    (void)pthread_cond_signal(&writer->wake);
    (void)pthread_mutex_unlock(&writer->lock);
}

void audit_writer_ask_news(struct audit_writer *writer)
{
    (void)pthread_mutex_lock(&writer->lock);
    audit_writer_tell_news(writer);
    (void)pthread_mutex_unlock(&writer->lock);
}

void audit_writer_settle(struct audit_writer *writer, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_urgent = true;
    (void)pthread_cond_signal(&writer->wake);
    while ((writer->view.durable < writer->put || !writer->is_first_over) &&
           !atomic_load(&writer->is_failing) &&
           audit_thread_wait(&writer->settled, &writer->lock, deadline_ms)) {
    }
    (void)pthread_mutex_unlock(&writer->lock);
}

static uint64_t oldest_age_ms(const struct audit_writer *writer)
{
    uint64_t oldest_ms = atomic_load(&writer->oldest_ms);
    uint64_t now_ms = clock_monotonic_ms();
    return oldest_ms == 0 || oldest_ms > now_ms ? 0 : now_ms - oldest_ms;
}

void audit_writer_view(struct audit_writer *writer, struct audit_writer_view *ret_view)
{
    (void)pthread_mutex_lock(&writer->lock);
    writer->view.put = writer->put;
    *ret_view = writer->view;
    (void)pthread_mutex_unlock(&writer->lock);
    ret_view->untold = atomic_load(&writer->untold);
    ret_view->oldest_waiting_ms = oldest_age_ms(writer);
}

bool audit_writer_is_usable(const struct audit_writer *writer)
{
    return !atomic_load(&writer->is_failing) && atomic_load(&writer->untold) == 0 &&
           oldest_age_ms(writer) <= AUDIT_WRITER_PATIENCE_MS;
}

void audit_writer_stop(struct audit_writer *writer, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_stopping = true;
    writer->deadline_ms = deadline_ms;
    (void)pthread_cond_signal(&writer->wake);
    (void)pthread_mutex_unlock(&writer->lock);
}

void audit_writer_free(struct audit_writer *writer, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&writer->lock);
    while (!writer->view.is_finished &&
           audit_thread_wait(&writer->settled, &writer->lock, deadline_ms)) {
    }
    bool is_finished = writer->view.is_finished;
    (void)pthread_mutex_unlock(&writer->lock);
    if (is_finished) {
        (void)pthread_join(writer->thread, NULL);
    } else {
        (void)pthread_detach(writer->thread);
    }
    audit_writer_unref(writer);
}
