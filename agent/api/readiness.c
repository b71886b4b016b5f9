#include "agent/api/readiness.h"

#include <stdio.h>

#include "agent/api/context.h"
#include "agent/audit/audit.h"
#include "agent/node/node.h"
#include "agent/policy/outside.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* Says whether the part is ready and, where size is not 0, what there is to know of it. */
typedef bool assess_function(const struct api *api, char *ret_detail, size_t size);

static bool assess_keystore(struct keystore *keystore, char *ret_detail, size_t size)
{
    struct keystore_status status;
    keystore_status(keystore, &status);
    bool is_ready = status.state == KEYSTORE_STATE_READY;
    (void)snprintf(ret_detail, size,
                   "%s%s%zu waiting, %llu keys made, %llu signatures, %llu failures",
                   is_ready ? "" : status.reason, is_ready ? "" : "; ", status.waiting,
                   (unsigned long long)status.generations, (unsigned long long)status.signatures,
                   (unsigned long long)status.failures);
    return is_ready;
}

static bool assess_issuer(const struct api *api, char *ret_detail, size_t size)
{
    struct issuer *issuer = api->config.issuer;
    struct issuer_health health = {0};
    issuer->operations->health(issuer, &health);
    (void)snprintf(ret_detail, size, "%s%s%s", issuer->operations->name,
                   health.is_ready ? "" : ": ", health.is_ready ? "" : health.reason);
    return health.is_ready;
}

static void describe_manager(struct manager *manager, char *ret_detail, size_t size)
{
    struct manager_counters counters = {0};
    manager_counters(manager, &counters);
    int64_t left_s = counters.next_expiry_s - clock_now_s();
    _cleanup_(free_cleanup) char *left =
        text_format_duration_ms(left_s > 0 ? (uint64_t)left_s * 1000 : 0);
    (void)snprintf(ret_detail, size,
                   "%zu entries, %zu SVIDs, %zu being issued, %llu issued, %llu failures%s%s",
                   counters.entries, counters.svids, counters.issuing,
                   (unsigned long long)counters.issued, (unsigned long long)counters.failures,
                   counters.next_expiry_s ? ", next expiry in " : "",
                   counters.next_expiry_s ? left : "");
}

static bool assess_manager(const struct api *api, char *ret_detail, size_t size)
{
    struct manager *manager = api->config.manager;
    if (!manager_bundle(manager)) {
        (void)snprintf(ret_detail, size, "the issuer has not told its trust bundle yet");
        return false;
    }
    if (size > 0) {
        describe_manager(manager, ret_detail, size);
    }
    return true;
}

static bool assess_api(const struct api *api, char *ret_detail, size_t size)
{
    size_t connections = 0;
    size_t calls = 0;
    for (size_t i = 0; i < API_SERVERS; i++) {
        if (api->servers[i]) {
            connections += rpc_server_connection_count(api->servers[i]);
            calls += rpc_server_call_count(api->servers[i]);
        }
    }
    (void)snprintf(ret_detail, size, "%zu connections, %zu calls", connections, calls);
    return !api->stopped;
}

static bool assess_audit(const struct api *api, char *ret_detail, size_t size)
{
    struct audit_status status = {0};
    struct audit *audit = api->config.audit;
    if (audit) {
        audit_status(audit, &status);
    }
    (void)snprintf(ret_detail, size, "%s%s%llu records, %zu waiting, %llu dropped, %llu failures",
                   status.failure, status.failure[0] ? "; " : "",
                   (unsigned long long)status.records, status.waiting,
                   (unsigned long long)status.dropped, (unsigned long long)status.failures);
    return !audit || audit_is_usable(audit);
}

static bool assess_policy(const struct api *api, char *ret_detail, size_t size)
{
    struct outside_status status = {0};
    if (!api->config.outside) {
        (void)snprintf(ret_detail, size, "no outside policy");
        return true;
    }
    outside_status(api->config.outside, &status);
    (void)snprintf(ret_detail, size, "outside: %.200s%s%llu asked, %llu denied, %llu failures",
                   status.failure, status.failure[0] ? "; " : "", (unsigned long long)status.asked,
                   (unsigned long long)status.denied, (unsigned long long)status.failed);
    return status.failure[0] == '\0';
}

static bool assess_node(const struct api *api, char *ret_detail, size_t size)
{
    struct node_state state;
    if (!api->config.node) {
        (void)snprintf(ret_detail, size, "no block node: nothing is asked of this host");
        return true;
    }
    node_state(api->config.node, &state);
    if (size > 0) {
        int64_t age_s = MAX(clock_now_s() - state.checked_at_s, 0);
        _cleanup_(free_cleanup) char *age = text_format_duration_ms((uint64_t)age_s * 1000);
        if (state.is_attested) {
            (void)snprintf(ret_detail, size, "attested %s ago", age);
        } else {
            (void)snprintf(ret_detail, size, "%s, on_failure %s: %.280s",
                           verdict_reason_name(state.reason),
                           node_on_failure_name(state.on_failure), state.reason_text);
        }
    }
    return !state.is_issuing_denied;
}

static const struct {
    const char *name;
    assess_function *assess;
} parts[] = {{"issuer", assess_issuer}, {"manager", assess_manager}, {"audit", assess_audit},
             {"policy", assess_policy}, {"node", assess_node},       {"api", assess_api}};

void readiness_assess(const struct api *api, struct readiness *ret_readiness)
{
    size_t keystores = api->config.keystore_count;
    struct readiness readiness = {.is_ready = true, .count = keystores + ARRAY_SIZE(parts)};
    readiness.parts = memory_new_array(readiness.count, sizeof(*readiness.parts));
    for (size_t i = 0; i < readiness.count; i++) {
        struct readiness_part *part = &readiness.parts[i];
        if (i < keystores) {
            const struct manager_keystore *keystore = &api->config.keystores[i];
            (void)snprintf(part->name, sizeof(part->name), "keystore %s", keystore->name);
            part->is_ready =
                assess_keystore(keystore->keystore, part->detail, sizeof(part->detail));
        } else {
            (void)snprintf(part->name, sizeof(part->name), "%s", parts[i - keystores].name);
            part->is_ready = parts[i - keystores].assess(api, part->detail, sizeof(part->detail));
        }
        readiness.is_ready = readiness.is_ready && part->is_ready;
    }
    *ret_readiness = readiness;
}

void readiness_clear(struct readiness *readiness)
{
    free(readiness->parts);
    *readiness = (struct readiness){0};
}

bool readiness_is_ready(const struct api *api)
{
    char none[1];
    bool is_ready = true;
    for (size_t i = 0; i < api->config.keystore_count; i++) {
        is_ready = is_ready && assess_keystore(api->config.keystores[i].keystore, none, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        is_ready = is_ready && parts[i].assess(api, none, 0);
    }
    return is_ready;
}
