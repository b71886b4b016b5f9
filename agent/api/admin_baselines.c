/* The part of the admin API that keeps the accepted sets of PCR values. */
#include "agent/api/admin.h"

#include <string.h>

#include "agent/api/context.h"
#include "agent/api/recorded.h"
#include "agent/node/node.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

/* An announced update that does not come is forgotten. */
enum { TTL_DEFAULT_S = 7 * 86400, TTL_MAX_S = 365 * 86400 };

struct item {
    Admin__Baseline message;
    struct admin_pcrs pcrs;
    uint32_t open[PCR_COUNT];
};

static const char *kind_of(const struct baseline *baseline)
{
    bool is_announced = baseline->open_mask || baseline->ends_at_s || baseline->announced_at_reset;
    return baseline->is_configured ? "configured" : is_announced ? "announced" : "recorded";
}

static void fill(struct item *item, const struct baseline *baseline)
{
    Admin__Baseline *message = &item->message;
    admin__baseline__init(message);
    message->name = (char *)baseline->name;
    message->kind = (char *)kind_of(baseline);
    admin_fill_pcrs(&baseline->pcrs, &item->pcrs);
    message->pcrs = item->pcrs.pointers;
    message->n_pcrs = item->pcrs.count;
    message->open = item->open;
    for (uint32_t i = 0; i < PCR_COUNT; i++) {
        if (baseline->open_mask >> i & 1) {
            item->open[message->n_open++] = i;
        }
    }
    message->made_at = baseline->made_at_s;
    message->ends_at = baseline->ends_at_s;
}

void admin_list_baselines(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    const struct api *api = user;
    struct node_state state;
    (void)request;
    if (!api->config.node) {
        admin_refuse_without_node(call);
        return;
    }
    node_state(api->config.node, &state);
    size_t count = state.baselines->count;
    _cleanup_(free_cleanup) struct item *items = memory_new_array(count, sizeof(*items));
    _cleanup_(free_cleanup) Admin__Baseline **pointers =
        memory_new_array(count, sizeof(Admin__Baseline *));
    Admin__ListBaselinesResponse response = ADMIN__LIST_BASELINES_RESPONSE__INIT;
    for (size_t i = 0; i < count; i++) {
        fill(&items[i], &state.baselines->items[i]);
        pointers[i] = &items[i].message;
    }
    response.baselines = pointers;
    response.n_baselines = count;
    rpc_call_reply(call, &response.base);
}

/* Changes: recorded as changes of the rules, which they are. */

struct change {
    struct audit *audit;   /* outlives the node, as the API does not */
    struct rpc_call *call; /* NULL once it has ended */
    struct audit_process asker;
    bool is_announcement;
};

static void call_closed(struct rpc_call *call, void *state)
{
    (void)call;
    ((struct change *)state)->call = NULL;
}

static struct change *change_new(struct api *api, struct rpc_call *call, bool is_announcement)
{
    struct change *change = NEW(struct change);
    *change = (struct change){.audit = api->config.audit,
                              .call = call,
                              .asker = recorded_process(rpc_call_peer(call)),
                              .is_announcement = is_announcement};
    rpc_call_on_closed(call, call_closed, change);
    return change;
}

static void record(struct audit *audit, const struct audit_process *asker, const char *asked,
                   const char *name, const char *what)
{
    _cleanup_(free_cleanup) char *detail = text_format("the baseline \"%s\" was %s", name, what);
    const struct audit_event event = {
        .action = AUDIT_RULES_CHANGED,
        .process = asker,
        .asked = asked,
        .decider = AUDIT_DECIDER_ADMIN,
        .detail = detail,
    };
    recorded_write(audit, &event);
    log_warning("%s uid=%u pid=%d", detail, asker->uid, asker->pid);
}

static void reply(struct change *change, const struct baseline *baseline)
{
    _cleanup_(free_cleanup) struct item *item = NEW(struct item);
    Admin__RecordBaselineResponse recorded = ADMIN__RECORD_BASELINE_RESPONSE__INIT;
    Admin__AnnounceBaselineResponse announced = ADMIN__ANNOUNCE_BASELINE_RESPONSE__INIT;
    fill(item, baseline);
    recorded.baseline = announced.baseline = &item->message;
    recorded_reply(change->audit, take_ptr(change->call),
                   change->is_announcement ? &announced.base : &recorded.base,
                   "the baseline counts and is kept");
}

static void changed(void *user, const struct baseline *baseline, const struct error *failure)
{
    struct change *change = user;
    if (!failure || baseline) { /* kept */
        record(change->audit, &change->asker,
               change->is_announcement ? "AnnounceBaseline" : "RecordBaseline", baseline->name,
               change->is_announcement ? "announced" : "recorded");
    }
    if (change->call && failure) {
        rpc_call_finish(take_ptr(change->call), failure);
    } else if (change->call) {
        reply(change, baseline);
    }
    free(change);
}

static bool may_change(struct api *api, struct rpc_call *call, const char *what)
{
    struct error error;
    if (!api->config.node) {
        admin_refuse_without_node(call);
        return false;
    }
    if (recorded_may_grant(api->config.audit, what, &error) < 0) {
        rpc_call_finish(call, &error);
        return false;
    }
    return true;
}

void admin_record_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Admin__RecordBaselineRequest *wanted = (const Admin__RecordBaselineRequest *)request;
    struct pcr_selection selection = {0};
    struct error error;
    if (!may_change(api, call, "recording a baseline")) {
        return;
    }
    if (wanted->pcrs[0] && pcr_selection_parse(wanted->pcrs, &selection, &error) < 0) {
        (void)error_prepend(&error, "recording a baseline");
        rpc_call_finish(call, &error);
        return;
    }
    node_baseline_record(api->config.node, wanted->name, &selection, changed,
                         change_new(api, call, false));
}

static int baseline_of(const Admin__AnnounceBaselineRequest *wanted, struct baseline *ret_baseline,
                       struct error *err)
{
    size_t size = strlen(wanted->name);
    if (size > BASELINE_NAME_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the name of a baseline has at most %d bytes",
                         BASELINE_NAME_MAX);
    }
    memcpy(ret_baseline->name, wanted->name, size + 1);
    for (size_t i = 0; i < wanted->n_pcrs; i++) {
        const Admin__Pcr *pcr = wanted->pcrs[i];
        const struct hash_algorithm *hash = hash_by_name(pcr->bank);
        if (!hash) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.32s\" is no bank of registers",
                             pcr->bank);
        }
        TRY(pcr_set_put(&ret_baseline->pcrs, hash->id, pcr->index,
                        (struct bytes){pcr->value.data, pcr->value.len}, err));
    }
    for (size_t i = 0; i < wanted->n_open; i++) {
        if (wanted->open[i] >= PCR_COUNT) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "there is no register %u; 0 to %d are",
                             wanted->open[i], PCR_COUNT - 1);
        }
        ret_baseline->open_mask |= UINT32_C(1) << wanted->open[i];
    }
    uint32_t ttl_s = wanted->ttl ? wanted->ttl : TTL_DEFAULT_S;
    ret_baseline->ends_at_s = clock_now_s() + MIN(ttl_s, (uint32_t)TTL_MAX_S);
    return 0;
}

void admin_announce_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct error error;
    _cleanup_(free_cleanup) struct baseline *baseline = NEW(struct baseline);
    if (!may_change(api, call, "announcing a baseline")) {
        return;
    }
    if (baseline_of((const Admin__AnnounceBaselineRequest *)request, baseline, &error) < 0) {
        (void)error_prepend(&error, "announcing a baseline");
        rpc_call_finish(call, &error);
        return;
    }
    node_baseline_announce(api->config.node, baseline, changed, change_new(api, call, true));
}

void admin_remove_baseline(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const char *name = ((const Admin__RemoveBaselineRequest *)request)->name;
    const struct audit_process asker = recorded_process(rpc_call_peer(call));
    Admin__RemoveBaselineResponse response = ADMIN__REMOVE_BASELINE_RESPONSE__INIT;
    struct error error;
    if (!api->config.node) {
        admin_refuse_without_node(call);
        return;
    }
    if (node_baseline_remove(api->config.node, name, &error) < 0) {
        rpc_call_finish(call, &error);
        return;
    }
    record(api->config.audit, &asker, "RemoveBaseline", name, "removed");
    recorded_reply(api->config.audit, call, &response.base, "the baseline is removed");
}
