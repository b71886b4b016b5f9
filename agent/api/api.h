/* What the agent says over gRPC: the Workload API, hardware identities and health on api.sock, the
 * admin API and health on admin.sock. Loop thread only. */
#pragma once

#include <uv.h>

#include "agent/svid/manager.h"
#include "agent/workload/attest.h"

struct access;   /* agent/access/access.h */
struct accounts; /* agent/access/account.h */
struct audit;    /* agent/audit/audit.h */
struct node;     /* agent/node/node.h */
struct outside;  /* agent/policy/outside.h */
struct policy;   /* agent/policy/policy.h */
struct usage;    /* agent/access/usage.h */
struct api;

/* What was read again. */
struct api_reloaded {
    size_t entries, rules;
    char *restart_keys; /* as reload_restart_keys; the caller frees it */
};

/* All but the strings, which are copied, is borrowed and must outlive the api. */
struct api_config {
    struct manager *manager;
    struct attestor *attestor;
    struct issuer *issuer;
    struct access *access;
    struct policy *policy;
    struct outside *outside; /* NULL: none */
    struct audit *audit;     /* NULL: no records; for tests */
    struct usage *usage;
    struct node *node; /* NULL: this node is not attested */
    const char *audit_folder;
    const struct manager_keystore *keystores;
    size_t keystore_count;
    const char *trust_domain;
    const char *pkcs11_path;      /* of the socket named to callers whose keys stay in hardware */
    unsigned connections_per_uid; /* open at once, of either socket */
    size_t descriptor_limit;      /* of the process: bounds the connections in all */
    /* Reads the configuration again, all or nothing. */
    int (*reload)(void *user, struct api_reloaded *ret_reloaded, struct error *err);
    void *user;
};

struct api *api_new(uv_loop_t *loop, const struct api_config *config);
/* Begins to serve on a listening unix socket, which is taken. Once each. */
int api_serve_workloads(struct api *api, int listener, struct error *err);
int api_serve_admin(struct api *api, int listener, struct error *err);
/* Who is connected; for others that share the limits. */
struct accounts *api_accounts(struct api *api);
/* Ends all calls with Unavailable, waits for work in hand, then calls stopped; the api is freed. */
void api_stop(struct api *api, void (*stopped)(void *user), void *user);
