#include "agent/api/health.h"

#include <string.h>

#include "agent/api/context.h"
#include "agent/api/readiness.h"
#include "lib/base/memory.h"
#include "proto/health.pb-c.h"

enum { LOOK_EVERY_MS = 500 };

struct health_watcher {
    struct api *api;
    struct rpc_call *call;
    Health__HealthCheckResponse__ServingStatus sent;
    LIST_ENTRY(health_watcher) link;
};

static Health__HealthCheckResponse__ServingStatus serving_status(const struct api *api)
{
    return readiness_is_ready(api) ? HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                                   : HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

/* "" stands for the agent as a whole. A service of the other socket is as well as the agent is. */
static bool is_known(const struct api *api, const char *service)
{
    if (!service[0]) {
        return true;
    }
    for (size_t i = 0; i < API_SERVERS; i++) {
        for (size_t j = 0; j < API_SERVICES_PER_SERVER; j++) {
            const char *name = api->services[i][j].name;
            if (name && strcmp(service, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void check(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    const char *service = ((const Health__HealthCheckRequest *)request)->service;
    if (!is_known(user, service)) {
        api_refuse(call, ERROR_NOT_FOUND, "unknown service \"%.200s\"", service);
        return;
    }
    Health__HealthCheckResponse response = HEALTH__HEALTH_CHECK_RESPONSE__INIT;
    response.status = serving_status(user);
    rpc_call_reply(call, &response.base);
}

static void send_status(struct health_watcher *watcher,
                        Health__HealthCheckResponse__ServingStatus status)
{
    Health__HealthCheckResponse response = HEALTH__HEALTH_CHECK_RESPONSE__INIT;
    response.status = status;
    _cleanup_(rpc_message_unref_cleanup) struct rpc_message *message =
        rpc_message_new(&response.base);
    watcher->sent = status;
    rpc_call_send_latest(watcher->call, message);
}

static void look(uv_timer_t *timer)
{
    struct api *api = timer->data;
    Health__HealthCheckResponse__ServingStatus status = serving_status(api);
    struct health_watcher *next = NULL;
    for (struct health_watcher *watcher = LIST_FIRST(&api->health_watchers.list); watcher;
         watcher = next) {
        next = LIST_NEXT(watcher, link);
        if (watcher->sent != status &&
            watcher->sent != HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN) {
            send_status(watcher, status);
        }
    }
}

static void watch_closed(struct rpc_call *call, void *state)
{
    struct health_watcher *watcher = state;
    struct health_watchers *watchers = &watcher->api->health_watchers;
    (void)call;
    LIST_REMOVE(watcher, link);
    if (LIST_EMPTY(&watchers->list)) {
        (void)uv_timer_stop(&watchers->timer);
    }
    free(watcher);
}

static void watch(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const char *service = ((const Health__HealthCheckRequest *)request)->service;
    struct health_watcher *watcher = NEW(struct health_watcher);
    *watcher = (struct health_watcher){.api = api, .call = call};
    if (LIST_EMPTY(&api->health_watchers.list)) {
        (void)uv_timer_start(&api->health_watchers.timer, look, LOOK_EVERY_MS, LOOK_EVERY_MS);
    }
    LIST_INSERT_HEAD(&api->health_watchers.list, watcher, link);
    rpc_call_on_closed(call, watch_closed, watcher);
    send_status(watcher, is_known(api, service)
                             ? serving_status(api)
                             : HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN);
}

struct rpc_service health_service(struct api *api)
{
    static const struct rpc_method methods[] = {
        {"Check", &health__health_check_request__descriptor, check},
        {"Watch", &health__health_check_request__descriptor, watch},
    };
    return (struct rpc_service){
        .name = "grpc.health.v1.Health",
        .methods = methods,
        .method_count = ARRAY_SIZE(methods),
        .user = api,
    };
}
