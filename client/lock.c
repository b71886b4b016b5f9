/* signet lock, unlock, lock list */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/lock_target.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static json_t *lock_json(const Admin__LockItem *lock)
{
    _cleanup_(free_cleanup) char *created = output_time_json(lock->created_at);
    _cleanup_(free_cleanup) char *ends = output_time_json(lock->ends_at);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "id", lock->id, "kind", lock->kind,
                     "what", lock->what, "reason", lock->reason, "by", lock->by, "created_at",
                     created, "ends_at", lock->ends_at > 0 ? json_string(ends) : json_null());
}

static void print_lock(const Admin__LockItem *lock)
{
    _cleanup_(free_cleanup) char *created = output_time(lock->created_at);
    _cleanup_(free_cleanup) char *ends = output_time(lock->ends_at);
    output_title("%s%s%s", lock->kind, lock->what[0] ? " " : "", lock->what);
    output_field("id", "%s", lock->id);
    output_field("reason", "%s", lock->reason);
    output_field("by", "%s", lock->by);
    output_field("since", "%s", created);
    output_field("until", "%s", lock->ends_at > 0 ? ends : "unlocked");
}

/* lock */

static void print_locked(const struct arguments *arguments, const Admin__LockResponse *response)
{
    if (arguments->output == OUTPUT_JSON) {
        json_t *document = lock_json(response->lock);
        (void)json_object_set_new(document, "identities", json_integer(response->identities));
        (void)json_object_set_new(document, "processes", json_integer(response->processes));
        output_json(document, false);
        return;
    }
    (void)puts("locked");
    print_lock(response->lock);
    output_field("stopped", "%u identities, %u processes", response->identities,
                 response->processes);
}

static int lock(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(lock_target_clear) struct lock_target target = {0};
    Admin__LockRequest request = ADMIN__LOCK_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(lock_target_choose(arguments, &target, err));
    request.kind = (char *)target.kind;
    request.what = target.what;
    request.reason = arguments->reason;
    request.ttl = (uint32_t)(arguments->lock_ms / 1000);
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/Lock", &request.base,
                        &admin__lock_response__descriptor, &response, err));
    print_locked(arguments, (const Admin__LockResponse *)response);
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

/* lock list */

static json_t *locks_json(Admin__LockItem *const *locks, size_t count)
{
    json_t *items = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(items, lock_json(locks[i]));
    }
    return json_pack("{s:o}", "locks", items);
}

static void print_locks(const Admin__ListLocksResponse *response)
{
    static const char *const headings[] = {"ID", "KIND", "WHAT", "SINCE", "UNTIL", "BY", "REASON"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    if (response->n_locks == 0) {
        (void)puts("nothing is locked");
        return;
    }
    for (size_t i = 0; i < response->n_locks; i++) {
        const Admin__LockItem *item = response->locks[i];
        _cleanup_(free_cleanup) char *created = output_time(item->created_at);
        _cleanup_(free_cleanup) char *ends = output_time(item->ends_at);
        const char *const cells[] = {item->id,
                                     item->kind,
                                     item->what[0] ? item->what : "-",
                                     created,
                                     item->ends_at > 0 ? ends : "unlocked",
                                     item->by,
                                     item->reason};
        for (size_t j = 0; j < ARRAY_SIZE(cells); j++) {
            output_table_add(&table, cells[j]);
        }
    }
    output_table_print(&table);
}

static int list_locks(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__ListLocksRequest request = ADMIN__LIST_LOCKS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/ListLocks", &request.base,
                        &admin__list_locks_response__descriptor, &message, err));
    const Admin__ListLocksResponse *response = (const Admin__ListLocksResponse *)message;
    if (arguments->output == OUTPUT_JSON) {
        output_json(locks_json(response->locks, response->n_locks), false);
    } else {
        print_locks(response);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

/* unlock */

static int fill_unlock(const struct arguments *arguments, struct lock_target *target,
                       Admin__UnlockRequest *request, struct error *err)
{
    bool has_target =
        arguments->spiffe_id || arguments->pid > 0 || arguments->executable || arguments->is_node;
    if (arguments->reason) {
        request->reason = arguments->reason;
    }
    if (arguments->id && has_target) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--id names the lock already; nothing else is needed beside it");
    }
    if (arguments->id) {
        request->id = arguments->id;
        return 0;
    }
    if (!has_target) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--id is needed, or one of --spiffe-id, --pid, --executable and --node");
    }
    TRY(lock_target_choose(arguments, target, err));
    request->kind = (char *)target->kind;
    request->what = target->what;
    return 0;
}

static void print_unlocked(const struct arguments *arguments, const Admin__UnlockResponse *response)
{
    if (arguments->output == OUTPUT_JSON) {
        output_json(locks_json(response->locks, response->n_locks), false);
        return;
    }
    (void)puts("unlocked");
    for (size_t i = 0; i < response->n_locks; i++) {
        print_lock(response->locks[i]);
    }
}

static int unlock(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(lock_target_clear) struct lock_target target = {0};
    Admin__UnlockRequest request = ADMIN__UNLOCK_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(fill_unlock(arguments, &target, &request, err));
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/Unlock", &request.base,
                        &admin__unlock_response__descriptor, &response, err));
    print_unlocked(arguments, (const Admin__UnlockResponse *)response);
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

#define TARGET_OPTIONS                                                                             \
    {"spiffe-id",                                                                                  \
     "PATTERN",                                                                                    \
     "a SPIFFE ID, one that ends in /* for all below it, or *",                                    \
     option_set_text,                                                                              \
     offsetof(struct arguments, spiffe_id),                                                        \
     false},                                                                                       \
        {"pid", "N", "a process, until it ends", option_set_pid, offsetof(struct arguments, pid),  \
         false},                                                                                   \
        {"executable",                                                                             \
         "FILE",                                                                                   \
         "a program: its path, or sha256:HEX",                                                     \
         option_set_text,                                                                          \
         offsetof(struct arguments, executable),                                                   \
         false},                                                                                   \
    {                                                                                              \
        "node", NULL, "everything on this host", option_set_flag,                                  \
            offsetof(struct arguments, is_node), false                                             \
    }

static const struct command_option lock_options[] = {
    TARGET_OPTIONS,
    {"reason", "TEXT", "why; kept with the lock and in the audit log", option_set_text,
     offsetof(struct arguments, reason), true},
    {"for", "TIME", "until it ends by itself, such as 30m; else until signet unlock",
     option_set_seconds, offsetof(struct arguments, lock_ms), false},
};

const struct command command_lock = {
    .name = "lock",
    .summary = "stop an identity, a process, a program or all, at once",
    .about = "When it returns, no key that it stops is used any more and nothing is issued: open\n"
             "streams have ended with PermissionDenied, signatures fail. It is kept over restarts.",
    .example = "signet lock --spiffe-id 'spiffe://example.org/web/*' --reason 'incident 42'",
    .options = lock_options,
    .option_count = ARRAY_SIZE(lock_options),
    .run = lock,
};

const struct command command_lock_list = {
    .name = "lock list",
    .summary = "what is locked, since when, by whom and why",
    .example = "signet lock list",
    .run = list_locks,
};

static const struct command_option unlock_options[] = {
    {"id", "ID", "of the lock, as lock list shows it", option_set_text,
     offsetof(struct arguments, id), false},
    TARGET_OPTIONS,
    {"reason", "TEXT", "why; kept in the audit log", option_set_text,
     offsetof(struct arguments, reason), false},
};

const struct command command_unlock = {
    .name = "unlock",
    .summary = "take back a lock",
    .about = "Named by its id, or by exactly what was locked.",
    .example = "signet unlock --id 6f1c0b9a5d3e2f71 --reason 'incident 42 is over'",
    .options = unlock_options,
    .option_count = ARRAY_SIZE(unlock_options),
    .run = unlock,
};
