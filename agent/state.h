/* The agent's parts, for agent.c (life) and start.c (how they come up). Loop thread. */
#pragma once

#include "agent/access/access.h"
#include "agent/agent.h"
#include "agent/api/api.h"
#include "agent/keystores.h"
#include "agent/listener.h"
#include "agent/node/node.h"
#include "agent/service_manager.h"
#include "agent/token/tokens.h"

struct agent {
    const struct config *config;
    uv_loop_t loop;
    size_t descriptor_limit;
    int data_lock, run_lock;
    struct keystores *keystores;
    struct audit *audit;
    struct policy *policy;
    struct outside *outside; /* NULL: none is configured */
    struct usage *usage;
    struct access *access;
    struct metrics_server *metrics; /* NULL: off */
    struct issuer *issuer;
    struct node *node; /* NULL: no block node */
    struct manager *manager;
    struct attestor *attestor;
    struct api *api;
    struct tokens *tokens;
    struct passed_descriptors passed;
    struct listener api_socket, admin_socket, pkcs11_socket;
    uv_signal_t signals[3];
    size_t signal_count;
    uv_timer_t watchdog;
    bool is_watchdog_open;
    bool is_stopping;
};

/* start.c: claims folders, then brings up keystores, audit log, policy, issuer, node, attestor,
 * manager, access, sockets, API, tokens and metrics, in this order. With an error some of them may
 * be up; agent.c takes all down in the same way. */
int agent_start(struct agent *agent, struct error *err);

/* agent.c: reads the configuration again; struct api_config's reload. user is the agent. */
int agent_reload(void *user, struct api_reloaded *ret_reloaded, struct error *err);
/* agent.c: SIGTERM and SIGINT stop, SIGHUP reloads. */
void agent_watch_signals(struct agent *agent);
