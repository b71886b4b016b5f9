/* What the services share. */
#pragma once

#include "agent/access/account.h"
#include "agent/access/decision.h"
#include "agent/api/api.h"
#include "agent/api/bundles.h"
#include "agent/api/health.h"
#include "lib/rpc/server.h"

enum { API_SERVERS = 2, API_SERVICES_PER_SERVER = 3 };

struct api {
    struct api_config config; /* its strings are owned */
    uv_loop_t *loop;
    struct accounts accounts;
    struct bundle_messages bundles;
    struct decisions decisions;
    struct health_watchers health_watchers;
    struct rpc_service services[API_SERVERS][API_SERVICES_PER_SERVER];
    struct rpc_server *servers[API_SERVERS];
    size_t servers_stopping;
    bool is_timer_open;
    void (*stopped)(void *user); /* set once the api is stopping */
    void *stopped_user;
};

/* The services; each is filled in by the file that is named after it. */
struct rpc_service workload_service(struct api *api);
struct rpc_service hardware_service(struct api *api);
struct rpc_service health_service(struct api *api);
struct rpc_service admin_service(struct api *api);

/* For admit: the metadata that keeps requests forged by a browser out (SPIFFE Workload Endpoint 6).
 */
int api_admit_workload(struct rpc_call *call, void *user, struct error *err);

/* Ends the call with a status made on the spot. */
void api_refuse(struct rpc_call *call, enum error_code code, const char *format, ...)
    _printf_(3, 4);
