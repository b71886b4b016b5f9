#include "agent/api/recorded.h"

#include "lib/base/memory.h"

struct recorded {
    struct audit_wait wait;
    struct rpc_call *call; /* NULL once it has ended */
    struct rpc_message *message;
    const char *done_text;
};

struct audit_process recorded_process(const struct caller *caller)
{
    const struct peer *peer = caller->peer;
    return (struct audit_process){
        .pid = peer->pid,
        .uid = peer->uid,
        .gid = peer->gid,
        .start_time = peer->start_time,
    };
}

void recorded_write(struct audit *audit, const struct audit_event *event)
{
    if (audit) {
        audit_write(audit, event);
    }
}

/* The wait goes on, as the log knows of it. */
static void call_closed(struct rpc_call *call, void *state)
{
    (void)call;
    ((struct recorded *)state)->call = NULL;
}

static void on_disk(struct audit_wait *wait, const struct error *failure)
{
    struct recorded *recorded = container_of(wait, struct recorded, wait);
    struct error status;
    if (recorded->call && failure) {
        (void)error_set(&status, ERROR_UNAVAILABLE, "%s, but that is not in the audit log: %s",
                        recorded->done_text, failure->text);
        rpc_call_finish(take_ptr(recorded->call), &status);
    } else if (recorded->call) {
        rpc_call_send(recorded->call, recorded->message);
        rpc_call_finish(take_ptr(recorded->call), NULL);
    }
    rpc_message_unref(recorded->message);
    free(recorded);
}

void recorded_reply(struct audit *audit, struct rpc_call *call, const ProtobufCMessage *response,
                    const char *done_text)
{
    if (!audit) {
        rpc_call_reply(call, response);
        return;
    }
    struct recorded *recorded = NEW(struct recorded);
    *recorded = (struct recorded){
        .wait = {.done = on_disk},
        .call = call,
        .message = rpc_message_new(response),
        .done_text = done_text,
    };
    rpc_call_on_closed(call, call_closed, recorded);
    audit_commit(audit, &recorded->wait);
}

int recorded_may_grant(const struct audit *audit, const char *what, struct error *err)
{
    struct audit_status status;
    if (!audit || audit_is_usable(audit)) {
        return 0;
    }
    audit_status((struct audit *)audit, &status);
    return error_set(err, ERROR_UNAVAILABLE,
                     "%s: it could not be recorded, so it is not done; the audit log cannot be "
                     "written: %s",
                     what, status.failure[0] ? status.failure : "its disk does not answer");
}
