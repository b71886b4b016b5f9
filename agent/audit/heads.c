#include "agent/audit/heads.h"

#include <string.h>

#include "agent/audit/body.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { RETRY_FIRST_MS = 1000, RETRY_MAX_MS = 60000, WARNING_INTERVAL_MS = 60000, KEYS_MAX = 64 };

/* What goes before what, and how long records wait for it. A file that begins with a head can be
 * judged without the files before it. */
static const struct {
    unsigned rank;
    uint64_t hold_ms;
} reasons[] = {
    [AUDIT_HEAD_INTERVAL] = {0, 50},
    [AUDIT_HEAD_FILE] = {1, 250},
    [AUDIT_HEAD_START] = {2, 50},
    [AUDIT_HEAD_STOP] = {3, 50},
};

void audit_heads_want(struct audit_heads *heads, enum audit_head_reason reason)
{
    if (!heads->signer) {
        return;
    }
    if (!heads->is_wanted || reasons[reason].rank > reasons[heads->reason].rank) {
        heads->reason = reason;
        heads->retry_ms = reason == AUDIT_HEAD_STOP ? 0 : heads->retry_ms;
    }
    heads->is_wanted = true;
}

static void settle(struct audit_heads *heads, enum audit_head_reason reason)
{
    heads->is_first_over |= reason == AUDIT_HEAD_START;
    heads->is_stop_over |= reason == AUDIT_HEAD_STOP;
}

/* A warning at most once a minute. */
static void warn(struct audit_heads *heads, uint64_t now_ms, const char *what,
                 const struct error *failure)
{
    if (now_ms >= heads->warning_ms) {
        log_warning("%s reason=\"%s\"", what, failure->text);
        heads->warning_ms = now_ms + WARNING_INTERVAL_MS;
    }
}

static void try_again(struct audit_heads *heads, const struct audit_signed *made, uint64_t now_ms)
{
    uint64_t pause_ms = (uint64_t)RETRY_FIRST_MS << MIN(heads->failures, 6U);
    heads->failures++;
    heads->retry_ms = now_ms + MIN(pause_ms, (uint64_t)RETRY_MAX_MS);
    warn(heads, now_ms, "the head of the audit log is not signed now", &made->failure);
    audit_heads_want(heads, made->head.reason);
    if (heads->reason == AUDIT_HEAD_STOP) {
        heads->retry_ms = now_ms;
    }
    settle(heads, made->head.reason);
}

static bool is_key_written(const struct audit_heads *heads, const char *id)
{
    for (size_t i = 0; i < heads->keys.count; i++) {
        if (strcmp(heads->keys.items[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static int write_key(struct audit_heads *heads, struct audit_log *log, struct audit_signed *made)
{
    if (is_key_written(heads, made->head.key_id)) {
        return 0;
    }
    TRY(audit_log_add_key(log, buffer_bytes(&made->public_key), &made->failure));
    if (heads->keys.count >= KEYS_MAX) {
        text_list_clear(&heads->keys);
    }
    text_list_add(&heads->keys, made->head.key_id);
    return 0;
}

static int append(struct audit_log *log, const struct buffer *body, struct audit_heads *heads,
                  struct error *err)
{
    bool is_new_file = false;
    TRY(audit_log_append(log, buffer_bytes(body), &is_new_file, err));
    if (is_new_file) {
        audit_heads_want(heads, AUDIT_HEAD_FILE);
    }
    return 0;
}

static int append_notice(struct audit_heads *heads, struct audit_log *log, const char *message,
                         struct error *err)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    const struct audit_notice notice = {.message = message};
    audit_notice_body(&notice, &body);
    heads->records++;
    return append(log, &body, heads, err);
}

static int append_made(struct audit_heads *heads, struct audit_log *log,
                       const struct audit_signed *made, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer body = {0};
    audit_head_body(&made->head, audit_now_ms(), &body);
    TRY(append(log, &body, heads, err));
    heads->head = made->head;
    heads->has_head = true;
    heads->is_set = false;
    settle(heads, made->head.reason);
    if (made->notice && made->head.reason == AUDIT_HEAD_STOP) {
        /* Nothing comes after that head. */
        log_warning("%s", made->notice);
        return 0;
    }
    return made->notice ? append_notice(heads, log, made->notice, err) : 0;
}

int audit_heads_take(struct audit_heads *heads, struct audit_log *log, uint64_t now_ms,
                     bool *ret_has_appended, struct error *err)
{
    _cleanup_(audit_signed_clear) struct audit_signed made = {0};
    *ret_has_appended = false;
    if (!heads->is_asked || !audit_signer_take(heads->signer, &made)) {
        return 0;
    }
    heads->is_asked = false;
    heads->hold_ms = 0;
    if (made.is_failed || write_key(heads, log, &made) < 0) {
        try_again(heads, &made, now_ms);
        return 0;
    }
    heads->failures = 0;
    if (append_made(heads, log, &made, err) < 0) {
        audit_heads_want(heads, made.head.reason);
        return -1;
    }
    *ret_has_appended = true;
    return 0;
}

static void tell_head(struct audit_heads *heads, struct audit_log *log, uint64_t now_ms)
{
    struct error failure;
    if (audit_log_set_head(log, &heads->head, &failure) < 0) {
        warn(heads, now_ms, "the newest head of the audit log is not remembered", &failure);
    }
    heads->is_set = true;
}

void audit_heads_synced(struct audit_heads *heads, struct audit_log *log, uint64_t now_ms)
{
    if (heads->has_head && !heads->is_set) {
        tell_head(heads, log, now_ms);
    }
    if (heads->interval_ms > 0 && heads->records > 0 && now_ms >= heads->due_ms) {
        audit_heads_want(heads, AUDIT_HEAD_INTERVAL);
    }
    if (heads->is_wanted && !heads->is_asked && now_ms >= heads->retry_ms) {
        audit_signer_ask(heads->signer, audit_log_link(log), heads->reason);
        heads->is_asked = true;
        heads->hold_ms = now_ms + reasons[heads->reason].hold_ms;
        heads->is_wanted = false;
        heads->records = 0;
        heads->due_ms = now_ms + heads->interval_ms;
    }
}

uint64_t audit_heads_next_ms(const struct audit_heads *heads)
{
    if (!heads->signer || heads->is_asked) {
        return UINT64_MAX;
    }
    if (heads->is_wanted) {
        return heads->retry_ms;
    }
    return heads->interval_ms > 0 && heads->records > 0 ? heads->due_ms : UINT64_MAX;
}

void audit_heads_clear(struct audit_heads *heads)
{
    text_list_clear(&heads->keys);
}
