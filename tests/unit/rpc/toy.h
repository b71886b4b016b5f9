/* A toy gRPC server for the tests: service "toy.Toy" on a unix socket in a folder of its own, on a
 * loop that the test runs itself (toy_run_until) or that runs in a thread (toy_start_thread). */
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/base/secret.h"
#include "lib/rpc/server.h"
#include "proto/health.pb-c.h"
#include "proto/workload.pb-c.h"

enum { TOY_CALLS = 256, TOY_WAIT_MS = 20000 };

struct toy {
    uv_loop_t loop;
    uv_async_t wake;
    uv_thread_t thread;
    struct rpc_server *server;
    struct rpc_service service;
    struct rpc_server_config config;
    char folder[64];
    char path[96];
    /* Calls of "Hold" and "Keep", in order. */
    struct rpc_call *calls[TOY_CALLS];
    size_t call_count;
    size_t closed_count;  /* of calls whose closed ran */
    size_t handled_count; /* of all methods */
    size_t opened_count;  /* of peers */
    size_t gone_count;
    bool refuses_peers;
    bool is_stopped;
    bool is_threaded;
    size_t big_bytes; /* of each message of "Big" */
    size_t big_count;
    char metadata[256]; /* what "Check" saw under x-test */
};

static inline void toy_check(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct toy *toy = user;
    Health__HealthCheckResponse response = HEALTH__HEALTH_CHECK_RESPONSE__INIT;
    const char *value = rpc_call_metadata(call, "x-test", 0);
    toy->handled_count++;
    (void)snprintf(toy->metadata, sizeof(toy->metadata), "%s", value ? value : "none");
    (void)request;
    response.status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    rpc_call_reply(call, &response.base);
}

/* Ends with the status that the request names: a number, a blank, a text. */
static inline void toy_fail(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    const Health__HealthCheckRequest *check = (const Health__HealthCheckRequest *)request;
    struct toy *toy = user;
    struct error status;
    char *rest;
    toy->handled_count++;
    enum error_code code = (enum error_code)strtoul(check->service, &rest, 10);
    (void)error_set(&status, code, "%s", *rest ? rest + 1 : "");
    rpc_call_finish(call, &status);
}

static inline void toy_on_closed(struct rpc_call *call, void *state)
{
    struct toy *toy = state;
    for (size_t i = 0; i < toy->call_count; i++) {
        if (toy->calls[i] == call) {
            toy->calls[i] = NULL;
        }
    }
    toy->closed_count++;
}

static inline void toy_hold(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct toy *toy = user;
    (void)request;
    toy->handled_count++;
    rpc_call_on_closed(call, toy_on_closed, toy);
    toy->calls[toy->call_count++ % TOY_CALLS] = call;
}

static inline void toy_keep(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct toy *toy = user;
    (void)request;
    toy->handled_count++;
    toy->calls[toy->call_count++ % TOY_CALLS] = call;
}

/* The byte at a place of toy_message's bytes, of which the last is the message's own. */
static inline uint8_t toy_byte(size_t place)
{
    return (uint8_t)(place * 31 >> 3);
}

/* A message of size bytes and a bit. */
static inline struct rpc_message *toy_message(size_t size, int byte)
{
    Workload__X509BundlesResponse response = WORKLOAD__X509_BUNDLES_RESPONSE__INIT;
    _cleanup_(free_cleanup) uint8_t *data = memory_new(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = i + 1 < size ? toy_byte(i) : (uint8_t)byte;
    }
    ProtobufCBinaryData crl = {size, data};
    response.n_crl = 1;
    response.crl = &crl;
    return rpc_message_new(&response.base);
}

/* Sends big_count messages of big_bytes and ends. */
static inline void toy_big(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct toy *toy = user;
    (void)request;
    toy->handled_count++;
    for (size_t i = 0; i < toy->big_count; i++) {
        _cleanup_(rpc_message_unref_cleanup) struct rpc_message *message =
            toy_message(toy->big_bytes, (int)('a' + i % 26));
        rpc_call_send(call, message);
    }
    rpc_call_finish(call, NULL);
}

static inline void toy_secret(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct toy *toy = user;
    Workload__JWTSVIDResponse response = WORKLOAD__JWTSVIDRESPONSE__INIT;
    Workload__JWTSVID svid = WORKLOAD__JWTSVID__INIT;
    Workload__JWTSVID *svids[] = {&svid};
    struct rpc_message *message;
    struct error err;
    (void)request;
    toy->handled_count++;
    svid.svid = (char *)"very secret";
    response.n_svids = 1;
    response.svids = svids;
    if (rpc_message_new_secret(&response.base, &message, &err) < 0) {
        rpc_call_finish(call, &err);
        return;
    }
    rpc_call_send(call, message);
    rpc_message_unref(message);
    rpc_call_finish(call, NULL);
}

static inline void toy_on_stopped(void *user)
{
    ((struct toy *)user)->is_stopped = true;
}

/* A handler that stops its own server. */
static inline void toy_stop_inside(struct rpc_call *call, const ProtobufCMessage *request,
                                   void *user)
{
    struct toy *toy = user;
    struct error status;
    (void)request;
    rpc_call_on_closed(call, toy_on_closed, toy);
    (void)error_set(&status, ERROR_UNAVAILABLE, "stopped from inside");
    rpc_server_stop(toy->server, &status, toy_on_stopped, toy);
}

static inline int toy_admit(struct rpc_call *call, void *user, struct error *err)
{
    (void)user;
    const char *value = rpc_call_metadata(call, "x-refuse", 0);
    return value ? error_set(err, ERROR_PERMISSION_DENIED, "refused: %s", value) : 0;
}

static inline int toy_peer_opened(void *user, int descriptor, void **ret_peer, struct error *err)
{
    struct toy *toy = user;
    (void)descriptor;
    if (toy->refuses_peers) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "too many connections of uid 7");
    }
    toy->opened_count++;
    *ret_peer = toy;
    return 0;
}

static inline void toy_peer_closed(void *user, void *peer)
{
    struct toy *toy = user;
    toy->gone_count += peer == user;
}

static const struct rpc_method toy_methods[] = {
    {"Check", &health__health_check_request__descriptor, toy_check},
    {"Fail", &health__health_check_request__descriptor, toy_fail},
    {"Hold", &health__health_check_request__descriptor, toy_hold},
    {"Keep", &health__health_check_request__descriptor, toy_keep},
    {"Big", &health__health_check_request__descriptor, toy_big},
    {"Secret", &health__health_check_request__descriptor, toy_secret},
    {"Stop", &health__health_check_request__descriptor, toy_stop_inside},
    {"Known", &health__health_check_request__descriptor, NULL},
};

static inline void toy_on_wake(uv_async_t *wake)
{
    struct toy *toy = container_of(wake, struct toy, wake);
    uv_close((uv_handle_t *)wake, NULL);
    if (!toy->is_stopped) {
        rpc_server_stop(toy->server, NULL, toy_on_stopped, toy);
    }
}

static inline int toy_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 4096) < 0) {
        abort();
    }
    return listener;
}

/* limits: NULL for the usual ones. */
static inline struct toy *toy_new(const struct rpc_limits *limits)
{
    struct toy *toy = NEW(struct toy);
    struct error err;
    (void)snprintf(toy->folder, sizeof(toy->folder), "/tmp/signet-rpc-XXXXXX");
    if (!mkdtemp(toy->folder)) {
        abort();
    }
    (void)snprintf(toy->path, sizeof(toy->path), "%s/toy.sock", toy->folder);
    toy->service = (struct rpc_service){.name = "toy.Toy",
                                        .methods = toy_methods,
                                        .method_count = ARRAY_SIZE(toy_methods),
                                        .user = toy,
                                        .admit = toy_admit};
    toy->config = (struct rpc_server_config){.services = &toy->service,
                                             .service_count = 1,
                                             .user = toy,
                                             .peer_opened = toy_peer_opened,
                                             .peer_closed = toy_peer_closed};
    if (limits) {
        toy->config.limits = *limits;
    }
    (void)uv_loop_init(&toy->loop);
    (void)uv_async_init(&toy->loop, &toy->wake, toy_on_wake);
    if (rpc_server_new(&toy->loop, toy_listen(toy->path), &toy->config, &toy->server, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return toy;
}

static inline void toy_thread(void *user)
{
    struct toy *toy = user;
    (void)uv_run(&toy->loop, UV_RUN_DEFAULT);
}

static inline void toy_start_thread(struct toy *toy)
{
    toy->is_threaded = true;
    (void)uv_thread_create(&toy->thread, toy_thread, toy);
}

static inline void toy_free(struct toy *toy)
{
    (void)uv_async_send(&toy->wake);
    if (toy->is_threaded) {
        (void)uv_thread_join(&toy->thread);
    }
    (void)uv_run(&toy->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&toy->loop) != 0 || !toy->is_stopped) {
        abort();
    }
    (void)unlink(toy->path);
    (void)rmdir(toy->folder);
    free(toy);
}
DEFINE_CLEANUP(struct toy, toy_free, toy_free);

/* Connects without waiting for the loop. */
static inline int toy_connect(const struct toy *toy)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", toy->path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0) {
        abort();
    }
    return descriptor;
}

static inline void toy_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until the condition holds; false when it does not within TOY_WAIT_MS. */
static inline bool toy_run_until(struct toy *toy, bool (*condition)(void *state), void *state)
{
    uint64_t end_ms = clock_monotonic_ms() + TOY_WAIT_MS;
    uv_timer_t tick;
    (void)uv_timer_init(&toy->loop, &tick);
    (void)uv_timer_start(&tick, toy_tick, 5, 5);
    bool is_met = condition(state);
    while (!is_met && clock_monotonic_ms() < end_ms) {
        (void)uv_run(&toy->loop, UV_RUN_ONCE);
        is_met = condition(state);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&toy->loop, UV_RUN_NOWAIT);
    return is_met;
}
