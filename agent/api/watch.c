#include "agent/api/watch.h"

#include "agent/access/access.h"
#include "lib/base/memory.h"

struct watch {
    struct api *api;
    const struct watch_kind *kind;
    struct rpc_call *call; /* NULL once it has ended */
    struct peer *peer;
    struct access_watch *access;
    struct identity_set *set; /* answered last */
    struct rpc_message *sent;
    unsigned busy; /* callbacks in progress or to come that use the watch */
};

static void watch_free(struct watch *watch)
{
    access_watch_free(watch->access);
    if (watch->set) {
        identity_set_unref(watch->set);
    }
    if (watch->sent) {
        rpc_message_unref(watch->sent);
    }
    peer_unref(watch->peer);
    free(watch);
}

static void watch_leave(struct watch *watch)
{
    watch->busy--;
    if (watch->busy == 0 && !watch->call) {
        watch_free(watch);
    }
}

static void watch_closed(struct rpc_call *call, void *state)
{
    struct watch *watch = state;
    (void)call;
    watch->busy++;
    watch->call = NULL;
    watch_leave(watch);
}

/* Only between busy++ and watch_leave. */
static void watch_finish(struct watch *watch, const struct error *status)
{
    decision_denied(&watch->api->decisions, watch->peer, watch->kind->method, status);
    rpc_call_finish(take_ptr(watch->call), status);
}

static void log_granted(struct watch *watch, const struct identity_set *set)
{
    _cleanup_(buffer_clear) struct buffer what = {0};
    for (size_t i = 0; watch->kind->has && i < set->count; i++) {
        const struct svid_x509 *svid = set->svids[i];
        if (watch->kind->has(svid)) {
            _cleanup_(free_cleanup) char *item =
                text_format(" id=%s serial=%s", svid->entry->spiffe_id, svid->serial);
            buffer_append_text(&what, item);
        }
    }
    buffer_append_u8(&what, 0);
    decision_granted(&watch->api->decisions, watch->peer, watch->kind->method,
                     what.size > 1 ? (const char *)what.data + 1 : "");
}

/* Equal messages are the same message: the services take care of that. */
static bool watch_send(struct watch *watch, struct rpc_message *message)
{
    if (message == watch->sent) {
        return false;
    }
    struct rpc_message *before = watch->sent;
    watch->sent = rpc_message_ref(message);
    if (before) {
        rpc_message_unref(before);
    }
    rpc_call_send_latest(watch->call, message);
    return true;
}

/* denied: why identities of the process are missing in the set; or NULL. */
static void answer_set(struct watch *watch, struct identity_set *set, const struct error *denied)
{
    struct error error;
    struct rpc_message *message = NULL;
    if (set->count == 0) {
        (void)error_set(&error, ERROR_PERMISSION_DENIED, "no identity issued%s%s",
                        denied ? ": " : "", denied ? denied->text : "");
        watch_finish(watch, &error);
        return;
    }
    if (watch->kind->encode(watch->api, set, watch->set, &message, &error) < 0) {
        watch_finish(watch, denied ? denied : &error);
        return;
    }
    struct identity_set *before = watch->set;
    watch->set = identity_set_ref(set);
    if (before) {
        identity_set_unref(before);
    }
    if (watch_send(watch, message)) {
        log_granted(watch, set);
    }
}

static void answer_failure(struct watch *watch, const struct error *failure)
{
    struct rpc_message *message =
        watch->kind->encode_unissued ? watch->kind->encode_unissued(watch->api) : NULL;
    if (message) {
        (void)watch_send(watch, message);
    } else if (!watch->sent) {
        watch_finish(watch, failure);
    }
}

static void watch_changed(void *user, const struct access_offer *offer)
{
    struct watch *watch = user;
    if (!watch->call) {
        return;
    }
    watch->busy++;
    if (offer->is_over) {
        struct error error = *offer->failure;
        error.code = ERROR_UNAVAILABLE;
        watch_finish(watch, &error);
    } else if (offer->failure && offer->failure->code == ERROR_PERMISSION_DENIED) {
        watch_finish(watch, offer->failure);
    } else if (offer->failure) {
        answer_failure(watch, offer->failure);
    } else {
        answer_set(watch, offer->set, offer->denied);
    }
    watch_leave(watch);
}

static bool wants_none(const struct svid_x509 *svid)
{
    (void)svid;
    return false;
}

void watch_start(struct api *api, struct rpc_call *call, const struct watch_kind *kind)
{
    const struct caller *caller = rpc_call_peer(call);
    struct error error;
    struct watch *watch = NEW(struct watch);
    *watch = (struct watch){
        .api = api,
        .kind = kind,
        .call = call,
        .peer = peer_ref(caller->peer),
        .busy = 1,
    };
    rpc_call_on_closed(call, watch_closed, watch);
    if (access_watch_new(api->config.access, caller, ACCESS_PURPOSE_FETCH, kind->method,
                         kind->has ? kind->has : wants_none, watch_changed, watch, &watch->access,
                         &error) < 0) {
        watch_finish(watch, &error);
    }
    watch_leave(watch);
}
