/* The part of the admin API that tells where the audit log stands. */
#include "agent/api/admin.h"

#include "agent/api/context.h"
#include "agent/audit/audit.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static char *hash_hex(const struct audit_link *link)
{
    return text_hex((struct bytes){link->hash, sizeof(link->hash)});
}

static void reply(struct rpc_call *call, const struct api_config *config)
{
    struct audit_status status;
    audit_status(config->audit, &status);
    _cleanup_(free_cleanup) char *hash = hash_hex(&status.link);
    _cleanup_(free_cleanup) char *signed_hash = hash_hex(&status.signed_link);
    Admin__GetAuditResponse response = ADMIN__GET_AUDIT_RESPONSE__INIT;
    response.folder = (char *)config->audit_folder;
    response.sequence = status.link.sequence;
    response.hash = hash;
    response.signed_sequence = status.signed_link.sequence;
    response.signed_hash = signed_hash;
    response.key_id = status.key_id;
    response.waiting = status.waiting;
    response.dropped = status.dropped;
    response.failure = status.failure;
    rpc_call_reply(call, &response.base);
}

/* A call that waits for the disk, so that who asks finds in the files what has happened so far. */
struct question {
    struct audit_wait wait;
    struct rpc_call *call; /* NULL once it has ended */
    const struct api_config *config;
};

static void call_closed(struct rpc_call *call, void *state)
{
    (void)call;
    ((struct question *)state)->call = NULL;
}

static void written(struct audit_wait *wait, const struct error *failure)
{
    struct question *question = container_of(wait, struct question, wait);
    (void)failure; /* it is part of the answer */
    if (question->call) {
        reply(take_ptr(question->call), question->config);
    }
    free(question);
}

void admin_get_audit(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    const struct api_config *config = &((struct api *)user)->config;
    (void)request;
    struct question *question = NEW(struct question);
    *question = (struct question){.wait.done = written, .call = call, .config = config};
    rpc_call_on_closed(call, call_closed, question);
    audit_commit(config->audit, &question->wait);
}
