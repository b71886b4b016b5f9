#include "agent/api/api.h"

#include <stdarg.h>
#include <stdio.h>

#include "agent/api/context.h"
#include "lib/base/memory.h"

enum server { SERVER_WORKLOADS, SERVER_ADMIN };

enum {
    CONNECTIONS_MAX = 65536,
    ADMIN_UNSENT_BYTES = 64 << 20, /* lists of many thousand keys */
};

void api_refuse(struct rpc_call *call, enum error_code code, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    struct error status;
    (void)error_set(&status, code, "%s", text);
    rpc_call_finish(call, &status);
}

static int peer_opened(void *user, int descriptor, void **ret_peer, struct error *err)
{
    return caller_open(&((struct api *)user)->accounts, descriptor, (struct caller **)ret_peer,
                       err);
}

static void peer_closed(void *user, void *peer)
{
    caller_close(&((struct api *)user)->accounts, peer);
}

static void accounts_idle(void *user);

struct api *api_new(uv_loop_t *loop, const struct api_config *config)
{
    struct api *api = NEW(struct api);
    api->loop = loop;
    api->config = *config;
    api->config.trust_domain = memory_copy_text(config->trust_domain);
    api->config.pkcs11_path = memory_copy_text(config->pkcs11_path);
    api->accounts.connections_per_uid = config->connections_per_uid;
    api->accounts.descriptor_limit = config->descriptor_limit;
    api->accounts.idle = accounts_idle;
    api->accounts.user = api;
    LIST_INIT(&api->health_watchers.list);
    (void)uv_timer_init(loop, &api->health_watchers.timer);
    api->health_watchers.timer.data = api;
    api->is_timer_open = true;
    api->services[SERVER_WORKLOADS][0] = workload_service(api);
    api->services[SERVER_WORKLOADS][1] = hardware_service(api);
    api->services[SERVER_WORKLOADS][2] = health_service(api);
    api->services[SERVER_ADMIN][0] = admin_service(api);
    api->services[SERVER_ADMIN][1] = health_service(api);
    return api;
}

static int serve(struct api *api, enum server which, int listener, size_t unsent_bytes,
                 struct error *err)
{
    size_t count = 0;
    while (count < API_SERVICES_PER_SERVER && api->services[which][count].name) {
        count++;
    }
    const struct rpc_server_config config = {
        .services = api->services[which],
        .service_count = count,
        .limits = {.connections = CONNECTIONS_MAX, .unsent_bytes = unsent_bytes},
        .user = api,
        .peer_opened = peer_opened,
        .peer_closed = peer_closed,
    };
    return rpc_server_new(api->loop, listener, &config, &api->servers[which], err);
}

int api_serve_workloads(struct api *api, int listener, struct error *err)
{
    return serve(api, SERVER_WORKLOADS, listener, 0, err);
}

int api_serve_admin(struct api *api, int listener, struct error *err)
{
    return serve(api, SERVER_ADMIN, listener, ADMIN_UNSENT_BYTES, err);
}

static void timer_closed(uv_handle_t *handle)
{
    struct api *api = handle->data;
    void (*stopped)(void *user) = api->stopped;
    void *user = api->stopped_user;
    bundle_messages_clear(&api->bundles);
    free((char *)api->config.trust_domain);
    free((char *)api->config.pkcs11_path);
    free(api);
    stopped(user);
}

/* The end comes by way of the timer's close, thus never within a callback of those who wait. */
static void finish_stopping(struct api *api)
{
    if (api->stopped && api->servers_stopping == 0 && api->accounts.work == 0 &&
        api->is_timer_open) {
        api->is_timer_open = false;
        uv_close((uv_handle_t *)&api->health_watchers.timer, timer_closed);
    }
}

static void accounts_idle(void *user)
{
    finish_stopping(user);
}

static void server_stopped(void *user)
{
    struct api *api = user;
    api->servers_stopping--;
    finish_stopping(api);
}

struct accounts *api_accounts(struct api *api)
{
    return &api->accounts;
}

void api_stop(struct api *api, void (*stopped)(void *user), void *user)
{
    struct error status;
    (void)error_set(&status, ERROR_UNAVAILABLE, "the agent is stopping");
    api->stopped = stopped;
    api->stopped_user = user;
    for (size_t i = 0; i < API_SERVERS; i++) {
        api->servers_stopping += api->servers[i] ? 1 : 0;
    }
    for (size_t i = 0; i < API_SERVERS; i++) {
        if (api->servers[i]) {
            rpc_server_stop(take_ptr(api->servers[i]), &status, server_stopped, api);
        }
    }
    finish_stopping(api);
}
