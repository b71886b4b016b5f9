#include "agent/audit/audit.h"

#include <string.h>

#include "agent/audit/body.h"
#include "agent/audit/journal.h"
#include "agent/audit/writer.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/mailbox.h"
#include "lib/base/memory.h"

enum {
    START_LIMIT_MS = 5000,
    WRITE_LIMIT_MS = 4000, /* of the stop: then the writer gives up */
    STOP_LIMIT_MS = 5000,  /* and then it hangs itself */
    FREE_LIMIT_MS = 100,
    LOOK_INTERVAL_MS = 250,
    WARNING_INTERVAL_MS = 60000,
};

struct audit {
    enum audit_on_failure on_failure;
    void (*changed)(void *user, const struct error *failure);
    void *user;
    struct audit_writer *writer;
    struct audit_journal *journal; /* NULL: none */
    struct buffer body;            /* memory kept for the next */
    struct audit_wait waits;       /* the ring's own place; targets never go down in it */
    bool is_failing;               /* as was told */
    struct error failure;
    uint64_t warning_due_ms;
    uv_poll_t poll;
    uv_prepare_t turn_end; /* active while somebody waits whom the writer has not heard of */
    uv_timer_t look;       /* active while records wait */
    int open_handles;
    bool is_stopping;
    void (*stopped)(void *user);
    void *stopped_user;
};

static bool has_waits(const struct audit_wait *ring)
{
    return ring->next != ring;
}

static void wait_remove(struct audit_wait *wait)
{
    wait->next->previous = wait->previous;
    wait->previous->next = wait->next;
    wait->next = wait->previous = NULL;
}

static void wait_append(struct audit_wait *ring, struct audit_wait *wait)
{
    wait->next = ring;
    wait->previous = ring->previous;
    ring->previous->next = wait;
    ring->previous = wait;
}

void audit_wait_cancel(struct audit_wait *wait)
{
    if (wait->next) {
        wait_remove(wait);
    }
}

/* Those that wait now: a done may commit again. */
static void finish_all(struct audit *audit, const struct error *failure)
{
    struct audit_wait ring = {.next = &ring, .previous = &ring};
    while (has_waits(&audit->waits)) {
        struct audit_wait *wait = audit->waits.next;
        wait_remove(wait);
        wait_append(&ring, wait);
    }
    while (has_waits(&ring)) {
        struct audit_wait *wait = ring.next;
        wait_remove(wait);
        wait->done(wait, failure);
    }
}

static void finish_durable(struct audit *audit, uint64_t durable)
{
    while (has_waits(&audit->waits) && audit->waits.next->target <= durable) {
        struct audit_wait *wait = audit->waits.next;
        wait_remove(wait);
        wait->done(wait, NULL);
    }
}

static bool find_failure(const struct audit_writer_view *view, struct error *ret_failure)
{
    if (view->failure.code != ERROR_OK) {
        *ret_failure = view->failure;
        ret_failure->code = ERROR_UNAVAILABLE;
        (void)error_prepend(ret_failure, "the audit log cannot be written");
        return true;
    }
    if (view->oldest_waiting_ms > AUDIT_WRITER_PATIENCE_MS) {
        (void)error_set(ret_failure, ERROR_UNAVAILABLE,
                        "the audit log cannot be written: its disk has not answered for %llu s",
                        (unsigned long long)(view->oldest_waiting_ms / 1000));
        return true;
    }
    if (view->untold > 0) {
        (void)error_set(ret_failure, ERROR_UNAVAILABLE,
                        "the audit log cannot be written fast enough: records were dropped");
        return true;
    }
    return false;
}

static void warn(struct audit *audit)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms >= audit->warning_due_ms) {
        log_warning("%s on_failure=%s", audit->failure.text,
                    audit->on_failure == AUDIT_ON_FAILURE_DENY ? "deny" : "continue");
        audit->warning_due_ms = now_ms + WARNING_INTERVAL_MS;
    }
}

static void tell_change(struct audit *audit, bool is_failing)
{
    if (audit->is_failing == is_failing) {
        return;
    }
    audit->is_failing = is_failing;
    if (!is_failing) {
        log_info("the audit log can be written again");
    }
    if (audit->changed) {
        audit->changed(audit->user, is_failing ? &audit->failure : NULL);
    }
}

static void look(struct audit *audit)
{
    struct audit_writer_view view;
    audit_writer_view(audit->writer, &view);
    bool is_failing = find_failure(&view, &audit->failure);
    finish_durable(audit, view.durable);
    if (is_failing) {
        warn(audit);
    }
    tell_change(audit, is_failing);
    if (is_failing) {
        finish_all(audit, audit->on_failure == AUDIT_ON_FAILURE_DENY ? &audit->failure : NULL);
    }
    if (view.durable >= view.put && !is_failing && !audit->is_stopping) {
        (void)uv_timer_stop(&audit->look);
    }
}

static void free_audit(struct audit *audit)
{
    if (audit->writer) {
        audit_writer_free(audit->writer, clock_monotonic_ms() + FREE_LIMIT_MS);
    }
    if (audit->journal) {
        audit_journal_free(audit->journal);
    }
    buffer_clear(&audit->body);
    free(audit);
}

static void finish_stopped(struct audit *audit)
{
    struct error failure;
    (void)error_set(&failure, ERROR_UNAVAILABLE, "the agent stops");
    finish_all(audit, audit->on_failure == AUDIT_ON_FAILURE_DENY ? &failure : NULL);
}

static void handle_closed(uv_handle_t *handle)
{
    struct audit *audit = handle->data;
    if (--audit->open_handles > 0) {
        return;
    }
    void (*stopped)(void *user) = audit->stopped;
    void *user = audit->stopped_user;
    finish_stopped(audit);
    free_audit(audit);
    stopped(user);
}

static void end(struct audit *audit, bool is_finished)
{
    struct audit_writer_view view;
    audit_writer_view(audit->writer, &view);
    finish_durable(audit, view.durable);
    finish_stopped(audit);
    if (!is_finished || view.durable < view.put) {
        log_error("the agent stops without the end of its audit log records_missing=%llu",
                  (unsigned long long)(view.put - view.durable));
    }
    uv_handle_t *handles[] = {(uv_handle_t *)&audit->poll, (uv_handle_t *)&audit->turn_end,
                              (uv_handle_t *)&audit->look};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        uv_close(handles[i], handle_closed);
    }
}

static bool is_ended(const struct audit *audit)
{
    return uv_is_closing((const uv_handle_t *)&audit->poll) != 0;
}

static void news_came(void *user)
{
    struct audit *audit = user;
    struct audit_writer_view view;
    if (is_ended(audit)) {
        return;
    }
    look(audit);
    audit_writer_view(audit->writer, &view);
    if (audit->is_stopping && view.is_finished) {
        end(audit, true);
    }
}

static void mail_came(uv_poll_t *poll, int status, int events)
{
    struct audit *audit = poll->data;
    (void)status;
    (void)events;
    mailbox_deliver(audit_writer_mailbox(audit->writer));
}

static void on_look(uv_timer_t *timer)
{
    look(timer->data);
}

static void on_stop_limit(uv_timer_t *timer)
{
    end(timer->data, false);
}

/* All that this turn of the loop wrote goes to the disk together. */
static void on_turn_end(uv_prepare_t *prepare)
{
    struct audit *audit = prepare->data;
    (void)uv_prepare_stop(prepare);
    audit_writer_hurry(audit->writer);
}

/* None of these can fail for an eventfd. */
static void open_handles(struct audit *audit, uv_loop_t *loop)
{
    (void)uv_poll_init(loop, &audit->poll, mailbox_descriptor(audit_writer_mailbox(audit->writer)));
    (void)uv_prepare_init(loop, &audit->turn_end);
    (void)uv_timer_init(loop, &audit->look);
    audit->poll.data = audit->turn_end.data = audit->look.data = audit;
    audit->open_handles = 3;
    (void)uv_poll_start(&audit->poll, UV_READABLE, mail_came);
}

static void put(struct audit *audit, const struct audit_event *event)
{
    struct audit_event timed = *event;
    timed.time_ms = event->time_ms ? event->time_ms : audit_now_ms();
    buffer_reset(&audit->body);
    audit_event_body(&timed, &audit->body);
    struct bytes body = buffer_bytes(&audit->body);
    audit_writer_put(audit->writer, body, timed.time_ms);
    if (audit->journal) {
        audit_journal_send(audit->journal, &timed, body);
    }
}

void audit_write(struct audit *audit, const struct audit_event *event)
{
    if (audit->is_stopping) {
        return;
    }
    put(audit, event);
    if (!uv_is_active((uv_handle_t *)&audit->look)) {
        (void)uv_timer_start(&audit->look, on_look, LOOK_INTERVAL_MS, LOOK_INTERVAL_MS);
    }
}

void audit_commit(struct audit *audit, struct audit_wait *wait)
{
    struct audit_writer_view view;
    audit_writer_view(audit->writer, &view);
    wait->target = view.put;
    wait_append(&audit->waits, wait);
    if (audit->is_failing || view.durable >= view.put || audit->is_stopping || view.untold > 0) {
        audit_writer_ask_news(audit->writer);
    } else if (!uv_is_active((uv_handle_t *)&audit->turn_end)) {
        (void)uv_prepare_start(&audit->turn_end, on_turn_end);
    }
}

bool audit_is_usable(const struct audit *audit)
{
    return audit->on_failure == AUDIT_ON_FAILURE_CONTINUE || audit_writer_is_usable(audit->writer);
}

void audit_status(struct audit *audit, struct audit_status *ret_status)
{
    struct audit_writer_view view;
    struct error failure;
    audit_writer_view(audit->writer, &view);
    *ret_status = (struct audit_status){
        .link = view.link,
        .signed_link = view.signed_link,
        .records = view.durable,
        .dropped = view.dropped,
        .failures = view.failures,
        .waiting = (size_t)(view.put - view.durable),
        .oldest_waiting_ms = view.oldest_waiting_ms,
    };
    memcpy(ret_status->key_id, view.key_id, sizeof(ret_status->key_id));
    if (find_failure(&view, &failure)) {
        size_t size = MIN(strlen(failure.text), sizeof(ret_status->failure) - 1);
        memcpy(ret_status->failure, failure.text, size);
    }
}

/* What was found, and that the agent runs. */
static void put_started(struct audit *audit, const struct audit_config *config,
                        const struct audit_found *found)
{
    /* Without signed heads the end of a run cannot be told from its crash. */
    bool has_crashed = !found->is_new && !found->is_in_order && config->keystore;
    _cleanup_(free_cleanup) char *torn =
        found->torn_bytes > 0
            ? text_format("; %llu bytes of a record that was never finished were put aside",
                          (unsigned long long)found->torn_bytes)
            : memory_copy_text("");
    _cleanup_(free_cleanup) char *detail = text_format(
        "signet %s%s%s%s", SIGNET_VERSION, found->is_new ? "; a new audit log" : "",
        has_crashed ? "; the run before did not end with a signed head: it was ended, or could not "
                      "sign, and its last records may be missing"
                    : "",
        torn);
    const struct audit_event event = {
        .action = AUDIT_STARTED,
        .is_failure = found->damage[0] != '\0',
        .reason = found->damage[0] ? found->damage : NULL,
        .detail = detail,
    };
    if (event.is_failure) {
        log_error("the audit log is damaged folder=%s reason=\"%s\"", config->log.folder,
                  found->damage);
    }
    put(audit, &event);
}

static int open_writer(struct audit *audit, const struct audit_config *config,
                       struct audit_found *ret_found, struct error *err)
{
    struct audit_log *log = NULL;
    _cleanup_(free_cleanup) char *key_path = file_join(config->log.folder, "head.key");
    TRY(audit_log_open(&config->log, &log, ret_found, err));
    const struct audit_writer_config of_writer = {.log = log,
                                                  .keystore = config->keystore,
                                                  .key_path = key_path,
                                                  .head_interval_s = config->head_interval_s,
                                                  .news = news_came,
                                                  .user = audit};
    return audit_writer_new(&of_writer, &audit->writer, err);
}

static int open_parts(struct audit *audit, const struct audit_config *config, struct error *err)
{
    struct audit_found found = {0};
    struct audit_writer_view view;
    if (config->is_journald) {
        TRY(audit_journal_new(config->journal_path, &audit->journal, err));
    }
    TRY(open_writer(audit, config, &found, err));
    put_started(audit, config, &found);
    audit_writer_settle(audit->writer, clock_monotonic_ms() + START_LIMIT_MS);
    audit_writer_view(audit->writer, &view);
    if (view.durable >= view.put || config->on_failure == AUDIT_ON_FAILURE_CONTINUE) {
        return 0;
    }
    audit_writer_stop(audit->writer, clock_monotonic_ms());
    if (find_failure(&view, err)) {
        return -1;
    }
    return error_set(err, ERROR_UNAVAILABLE, "the disk has not answered for %d s",
                     START_LIMIT_MS / 1000);
}

int audit_new(uv_loop_t *loop, const struct audit_config *config, struct audit **ret_audit,
              struct error *err)
{
    struct audit *audit = NEW(struct audit);
    audit->on_failure = config->on_failure;
    audit->changed = config->changed;
    audit->user = config->user;
    audit->waits.next = audit->waits.previous = &audit->waits;
    if (open_parts(audit, config, err) < 0) {
        free_audit(audit);
        return error_prepend(err, "opening the audit log %s", config->log.folder);
    }
    open_handles(audit, loop);
    /* What the writer had to tell so far was told to a loop that did not run yet. */
    (void)uv_timer_start(&audit->look, on_look, LOOK_INTERVAL_MS, LOOK_INTERVAL_MS);
    *ret_audit = audit;
    return 0;
}

void audit_stop(struct audit *audit, void (*stopped)(void *user), void *user)
{
    const struct audit_event event = {.action = AUDIT_STOPPED};
    put(audit, &event);
    audit->is_stopping = true;
    audit->stopped = stopped;
    audit->stopped_user = user;
    (void)uv_prepare_stop(&audit->turn_end);
    (void)uv_timer_start(&audit->look, on_stop_limit, STOP_LIMIT_MS, 0);
    audit_writer_stop(audit->writer, clock_monotonic_ms() + WRITE_LIMIT_MS);
}
