#include "agent/audit/event.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "agent/audit/body.h"
#include "agent/audit/json.h"
#include "agent/audit/sentence.h"
#include "audit/record.h"

static const char *const action_names[AUDIT_ACTION_COUNT] = {
    [AUDIT_IDENTIFIED] = "identified",
    [AUDIT_ISSUED] = "issued",
    [AUDIT_RENEWED] = "renewed",
    [AUDIT_DENIED] = "denied",
    [AUDIT_USED] = "used",
    [AUDIT_WITHDRAWN] = "withdrawn",
    [AUDIT_LOCKED] = "locked",
    [AUDIT_UNLOCKED] = "unlocked",
    [AUDIT_ENTRY_SET] = "entry-set",
    [AUDIT_ENTRY_REMOVED] = "entry-removed",
    [AUDIT_RULES_CHANGED] = "rules-changed",
    [AUDIT_NODE_ATTESTED] = "node-attested",
    [AUDIT_NODE_NOT_ATTESTED] = "node-not-attested",
    [AUDIT_EVIDENCE] = "evidence",
    [AUDIT_KEYSTORE_LOST] = "keystore-lost",
    [AUDIT_KEYSTORE_BACK] = "keystore-back",
    [AUDIT_STARTED] = "started",
    [AUDIT_STOPPED] = "stopped",
};

static const char *const decider_names[] = {
    [AUDIT_DECIDER_NONE] = "none",       [AUDIT_DECIDER_ENTRY] = "entry",
    [AUDIT_DECIDER_RULE] = "rule",       [AUDIT_DECIDER_LOCK] = "lock",
    [AUDIT_DECIDER_OUTSIDE] = "outside", [AUDIT_DECIDER_PROCESS] = "process",
    [AUDIT_DECIDER_NODE] = "node",       [AUDIT_DECIDER_ADMIN] = "admin",
};

/* Longest values, as written. Their sum, with the names, is what a record can have. */
enum {
    SHORT_BYTES = 256,
    LONG_BYTES = 2048,
    PATH_BYTES = 4096,
    SELECTORS_BYTES = 24576,
    AUDIENCE_BYTES = 8192,
    SHORT_COUNT = 13,
    LONG_COUNT = 5,
    NAMES_BYTES = 2048, /* names, numbers and times too */
};
_Static_assert(SHORT_BYTES *SHORT_COUNT + LONG_BYTES * LONG_COUNT + PATH_BYTES + SELECTORS_BYTES +
                       AUDIENCE_BYTES + NAMES_BYTES <
                   AUDIT_RECORD_MAX_BYTES - AUDIT_BODY_OVERHEAD_BYTES,
               "the longest body makes a record");

const char *audit_action_name(enum audit_action action)
{
    return action_names[action];
}

const char *audit_decider_name(enum audit_decider decider)
{
    return decider_names[decider];
}

int64_t audit_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct frame {
    const char *action, *message, *reason;
    bool is_failure;
    int64_t time_ms, first_ms;
};

static void put_frame(struct audit_json *json, const struct frame *frame)
{
    struct utsname host;
    audit_json_time(json, "@timestamp", frame->time_ms ? frame->time_ms : audit_now_ms(), true);
    audit_json_text(json, "ecs.version", "8.11", SHORT_BYTES);
    audit_json_text(json, "event.kind", "event", SHORT_BYTES);
    audit_json_text(json, "event.dataset", "signet.audit", SHORT_BYTES);
    audit_json_text(json, "event.action", frame->action, SHORT_BYTES);
    audit_json_text(json, "event.outcome", frame->is_failure ? "failure" : "success", SHORT_BYTES);
    if (frame->first_ms) {
        audit_json_time(json, "event.start", frame->first_ms, true);
    }
    audit_json_text(json, "message", frame->message, LONG_BYTES);
    audit_json_text(json, "event.reason", frame->reason, LONG_BYTES);
    if (uname(&host) == 0) {
        audit_json_text(json, "host.name", host.nodename, SHORT_BYTES);
    }
}

static void put_process(struct audit_json *json, const struct audit_process *process)
{
    audit_json_number(json, "process.pid", (uint64_t)MAX(process->pid, 0));
    if (process->started_at_ms) {
        audit_json_time(json, "process.start", process->started_at_ms, true);
    }
    audit_json_text(json, "process.executable", process->executable, PATH_BYTES);
    audit_json_text(json, "process.hash.sha256", process->sha256, SHORT_BYTES);
    audit_json_number_text(json, "user.id", process->uid);
    audit_json_number_text(json, "group.id", process->gid);
    audit_json_text(json, "container.id", process->container_id, SHORT_BYTES);
    audit_json_text(json, "systemd.unit", process->unit, SHORT_BYTES);
    audit_json_number(json, "signet.process.start_time", process->start_time);
    audit_json_list(json, "signet.process.selectors", process->selectors, SELECTORS_BYTES);
}

static void put_decision(struct audit_json *json, const struct audit_event *event)
{
    audit_json_text(json, "signet.spiffe_id", event->spiffe_id, LONG_BYTES);
    audit_json_text(json, "signet.asked", event->asked, SHORT_BYTES);
    audit_json_list(json, "signet.audience", event->audience, AUDIENCE_BYTES);
    if (event->decider != AUDIT_DECIDER_NONE) {
        audit_json_text(json, "signet.decision.by", audit_decider_name(event->decider),
                        SHORT_BYTES);
        audit_json_text(json, "signet.decision.id", event->decider_id, LONG_BYTES);
    }
}

static void put_credential(struct audit_json *json, const struct audit_credential *credential)
{
    bool is_jwt = credential->kind && strcmp(credential->kind, "jwt-svid") == 0;
    audit_json_text(json, "signet.credential.kind", credential->kind, SHORT_BYTES);
    audit_json_text(json, is_jwt ? "signet.credential.jti" : "x509.serial_number",
                    credential->serial, SHORT_BYTES);
    audit_json_text(json, "signet.credential.fingerprint", credential->fingerprint, SHORT_BYTES);
    audit_json_text(json, "signet.key.id", credential->key_id, SHORT_BYTES);
    audit_json_text(json, "signet.key.protection", credential->protection, SHORT_BYTES);
    if (credential->expires_at_s) {
        static const int64_t last_s = INT64_MAX / 1000;
        audit_json_time(json, "signet.credential.expires",
                        MIN(MAX(credential->expires_at_s, 0), last_s) * 1000, false);
    }
}

void audit_event_body(const struct audit_event *event, struct buffer *ret_body)
{
    char message[AUDIT_SENTENCE_BYTES];
    struct audit_json json = audit_json_to(ret_body);
    audit_sentence(event, message);
    const struct frame frame = {audit_action_name(event->action),
                                message,
                                event->reason,
                                event->is_failure,
                                event->time_ms,
                                event->first_ms};
    put_frame(&json, &frame);
    if (event->process) {
        put_process(&json, event->process);
    }
    put_decision(&json, event);
    if (event->credential) {
        put_credential(&json, event->credential);
    }
    if (event->count > 1) {
        audit_json_number(&json, "signet.count", event->count);
    }
    audit_json_text(&json, "signet.detail", event->detail, LONG_BYTES);
    if (json.is_cut) {
        audit_json_true(&json, "signet.truncated");
    }
}

void audit_notice_body(const struct audit_notice *notice, struct buffer *ret_body)
{
    struct audit_json json = audit_json_to(ret_body);
    const struct frame frame = {"audit-log",        notice->message, NULL,
                                notice->is_failure, notice->last_ms, notice->first_ms};
    put_frame(&json, &frame);
    if (notice->count > 0) {
        audit_json_number(&json, "signet.count", notice->count);
    }
}
