/* The part of the admin API that locks and unlocks. */
#include "agent/api/admin.h"

#include <string.h>

#include "agent/access/access.h"
#include "agent/api/context.h"
#include "agent/api/recorded.h"
#include "agent/policy/lock_value.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static void fill_lock(Admin__LockItem *message, const struct lock *lock)
{
    admin__lock_item__init(message);
    message->id = lock->id;
    message->kind = (char *)lock_kind_name(lock->kind);
    message->what = lock->what;
    message->reason = lock->reason;
    message->by = lock->by;
    message->created_at = lock->created_at_s;
    message->ends_at = lock->ends_at_s;
}

/* lock */

static char *name_of(const struct caller *caller)
{
    return text_format("uid %u pid %d", caller->peer->uid, caller->peer->pid);
}

/* reason: why it is done now. */
static void record(struct api *api, struct rpc_call *call, enum audit_action action,
                   const struct lock *lock, const char *reason)
{
    const struct audit_process process = recorded_process(rpc_call_peer(call));
    _cleanup_(free_cleanup) char *detail =
        lock->kind == LOCK_NODE
            ? memory_copy_text("lock of the node")
            : text_format("lock of %s %s", lock_kind_name(lock->kind), lock->what);
    const struct audit_event event = {
        .action = action,
        .spiffe_id = lock->kind == LOCK_SPIFFE_ID ? lock->what : NULL,
        .process = &process,
        .asked = action == AUDIT_LOCKED ? "Lock" : "Unlock",
        .decider = AUDIT_DECIDER_ADMIN,
        .decider_id = lock->id,
        .reason = reason,
        .detail = detail,
    };
    recorded_write(api->config.audit, &event);
    log_warning("%s id=%s kind=%s what=\"%s\" uid=%u pid=%d reason=\"%s\"",
                audit_action_name(action), lock->id, lock_kind_name(lock->kind), lock->what,
                process.uid, process.pid, reason ? reason : "");
}

static int lock_of_request(const Admin__LockRequest *request, struct lock *ret_wanted,
                           struct error *err)
{
    TRY(lock_kind_parse(request->kind, &ret_wanted->kind, err));
    ret_wanted->what = request->what;
    ret_wanted->reason = request->reason;
    ret_wanted->ends_at_s = request->ttl > 0 ? clock_now_s() + request->ttl : 0;
    return 0;
}

/* In the records before what comes of it. */
static void take_effect(struct api *api, struct rpc_call *call, const struct lock *lock,
                        struct access_effect *ret_effect)
{
    record(api, call, AUDIT_LOCKED, lock, lock->reason);
    access_policy_changed(api->config.access, ret_effect);
}

static void answer_lock(struct api *api, struct rpc_call *call, const struct lock *lock,
                        const struct access_effect *effect)
{
    Admin__LockItem item;
    Admin__LockResponse response = ADMIN__LOCK_RESPONSE__INIT;
    fill_lock(&item, lock);
    response.lock = &item;
    response.identities = (uint32_t)effect->identities;
    response.processes = (uint32_t)effect->processes;
    recorded_reply(api->config.audit, call, &response.base, "the lock is in force and kept");
}

void admin_lock(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct error error;
    struct access_effect effect = {0};
    const struct lock *added = NULL;
    _cleanup_(lock_clear) struct lock lock = {0};
    _cleanup_(free_cleanup) char *by = name_of(rpc_call_peer(call));
    struct lock wanted = {.by = by};
    int result = lock_of_request((const Admin__LockRequest *)request, &wanted, &error);
    if (result == 0) {
        result = locks_add(policy_locks(api->config.policy), &wanted, &added, &error);
    }
    if (!added) {
        (void)error_prepend(&error, "locking");
        rpc_call_finish(call, &error);
        return;
    }
    lock_copy(&lock, added);
    take_effect(api, call, &lock, &effect);
    if (result < 0) {
        log_error("locks are not kept id=%s error=\"%s\"", lock.id, error.text);
        error.code = ERROR_UNAVAILABLE;
        rpc_call_finish(call, &error);
    } else {
        answer_lock(api, call, &lock, &effect);
    }
}

/* unlock */

struct unlocked {
    struct lock *items;
    size_t count;
};

static void unlocked_add(void *user, const struct lock *lock)
{
    struct unlocked *unlocked = user;
    unlocked->items =
        memory_resize_array(unlocked->items, unlocked->count + 1, sizeof(*unlocked->items));
    lock_copy(&unlocked->items[unlocked->count++], lock);
}

static void unlocked_clear(struct unlocked *unlocked)
{
    for (size_t i = 0; i < unlocked->count; i++) {
        lock_clear(&unlocked->items[i]);
    }
    free(unlocked->items);
}

static int remove_locks(struct api *api, const Admin__UnlockRequest *request,
                        struct unlocked *unlocked, struct error *err)
{
    enum lock_kind kind = LOCK_NODE;
    const char *id = request->id[0] ? request->id : NULL;
    if (id && (request->kind[0] || request->what[0])) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "either the id of a lock or what is locked is given, not both");
    }
    if (!id) {
        TRY(lock_kind_parse(request->kind, &kind, err));
    }
    if (strlen(request->reason) > LOCK_REASON_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the reason is longer than %d bytes",
                         LOCK_REASON_MAX_BYTES);
    }
    /* Looked at before anything changes: it opens what was shut. */
    TRY(recorded_may_grant(api->config.audit, "nothing is unlocked", err));
    return locks_remove(policy_locks(api->config.policy), kind, request->what, id, unlocked_add,
                        unlocked, err);
}

static void answer_unlock(struct api *api, struct rpc_call *call, const struct unlocked *unlocked)
{
    _cleanup_(free_cleanup) Admin__LockItem *items =
        memory_new_array(unlocked->count, sizeof(*items));
    _cleanup_(free_cleanup) Admin__LockItem **pointers =
        memory_new_array(unlocked->count, sizeof(Admin__LockItem *));
    Admin__UnlockResponse response = ADMIN__UNLOCK_RESPONSE__INIT;
    response.locks = pointers;
    response.n_locks = unlocked->count;
    for (size_t i = 0; i < unlocked->count; i++) {
        pointers[i] = &items[i];
        fill_lock(pointers[i], &unlocked->items[i]);
    }
    recorded_reply(api->config.audit, call, &response.base, "it is unlocked");
}

void admin_unlock(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Admin__UnlockRequest *wanted = (const Admin__UnlockRequest *)request;
    struct access_effect effect = {0};
    struct error error;
    _cleanup_(unlocked_clear) struct unlocked unlocked = {0};
    if (remove_locks(api, wanted, &unlocked, &error) < 0) {
        (void)error_prepend(&error, "unlocking");
        rpc_call_finish(call, &error);
        return;
    }
    for (size_t i = 0; i < unlocked.count; i++) {
        record(api, call, AUDIT_UNLOCKED, &unlocked.items[i],
               wanted->reason[0] ? wanted->reason : NULL);
    }
    access_policy_changed(api->config.access, &effect);
    answer_unlock(api, call, &unlocked);
}

/* list */

struct listed {
    Admin__LockItem items[LOCKS_MAX], *pointers[LOCKS_MAX];
    size_t count;
};

static void listed_add(void *user, const struct lock *lock)
{
    struct listed *listed = user;
    if (listed->count < LOCKS_MAX) {
        listed->pointers[listed->count] = &listed->items[listed->count];
        fill_lock(listed->pointers[listed->count++], lock);
    }
}

void admin_list_locks(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    (void)request;
    _cleanup_(free_cleanup) struct listed *listed = NEW(struct listed);
    Admin__ListLocksResponse response = ADMIN__LIST_LOCKS_RESPONSE__INIT;
    locks_each(policy_locks(api->config.policy), listed_add, listed);
    response.locks = listed->pointers;
    response.n_locks = listed->count;
    rpc_call_reply(call, &response.base);
}
