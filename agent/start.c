#include "agent/handover.h"
#include "agent/issuer/embedded.h"
#include "agent/lock.h"
#include "agent/node/attestation.h"
#include "agent/observe.h"
#include "agent/state.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static void record_keystore(struct agent *agent, const struct keystore *keystore,
                            const struct keystore_status *status)
{
    bool is_ready = status->state == KEYSTORE_STATE_READY;
    const struct audit_event event = {
        .action = is_ready ? AUDIT_KEYSTORE_BACK : AUDIT_KEYSTORE_LOST,
        .is_failure = !is_ready,
        .reason = is_ready ? NULL : status->reason,
        .detail = keystore_name(keystore),
    };
    if (agent->audit) {
        audit_write(agent->audit, &event);
    }
}

static void keystore_changed(void *user, struct keystore *keystore)
{
    struct agent *agent = user;
    struct keystore_status status;
    keystore_status(keystore, &status);
    if (status.state == KEYSTORE_STATE_READY) {
        log_info("keystore ready name=%s", keystore_name(keystore));
    } else {
        log_error("keystore lost name=%s: %s", keystore_name(keystore), status.reason);
    }
    record_keystore(agent, keystore, &status);
    if (agent->manager && !agent->is_stopping) {
        manager_keystore_changed(agent->manager, keystore);
    }
    /* What comes back may be another TPM, or not what it was. */
    if (agent->node && !agent->is_stopping && status.state == KEYSTORE_STATE_READY &&
        keystore == node_keystore(agent->node)) {
        node_attest(agent->node, NULL, NULL);
    }
}

static int claim_folders(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    _cleanup_(free_cleanup) char *data = text_format("using the folder %s", config->data_dir);
    _cleanup_(free_cleanup) char *run =
        text_format("creating the socket %s/api.sock", config->run_dir);
    TRY(file_make_folder(config->data_dir, 0700, err));
    TRY(lock_folder(config->data_dir, data, "data_dir", &agent->data_lock, err));
    TRY(file_make_folder(config->run_dir, 0755, err));
    return lock_folder(config->run_dir, run, "run_dir", &agent->run_lock, err);
}

static void audit_changed(void *user, const struct error *failure)
{
    const struct agent *agent = user;
    if (!failure && agent->manager && !agent->is_stopping) {
        manager_try_again(agent->manager);
    }
}

static int start_audit(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    const char *keystore =
        config->audit.keystore ? config->audit.keystore : config->issuer.keystore;
    const struct audit_config wanted = {
        .log = {.folder = config->audit.folder,
                .file_max_bytes = config->audit.file_max_bytes,
                .file_max_age_s = config->audit.file_max_age_s,
                .files_kept = config->audit.files_kept},
        .on_failure = config->audit.on_failure,
        .head_interval_s = config->audit.head_interval_s,
        .keystore = keystores_find(agent->keystores, keystore),
        .is_journald = config->audit.is_journald,
        .changed = audit_changed,
        .user = agent,
    };
    return audit_new(&agent->loop, &wanted, &agent->audit, err);
}

static int start_policy(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    TRY(policy_new(config->data_dir, rules_copy(&config->rules), &agent->policy, err));
    TRY(usage_open(&agent->loop, config->data_dir, &agent->usage, err));
    return config->has_outside ? outside_new(&agent->loop, &config->outside, &agent->outside, err)
                               : 0;
}

static int start_issuer(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    const struct embedded_config wanted = {
        .trust_domain = config->trust_domain,
        .data_dir = config->data_dir,
        .keystore = keystores_find(agent->keystores, config->issuer.keystore),
        .ca_key_type = config->issuer.ca_key_type,
        .jwt_key_type = config->issuer.jwt_key_type,
        .ca_ttl_s = config->issuer.ca_ttl_s,
        .x509_svid_ttl_s = config->issuer.x509_svid_ttl_s,
        .jwt_svid_ttl_s = config->issuer.jwt_svid_ttl_s,
    };
    TRY(issuer_embedded_new(&agent->loop, &wanted, &agent->issuer, err));
    log_info("issuer ready name=%s keystore=%s", agent->issuer->operations->name,
             config->issuer.keystore);
    return 0;
}

static int may_issue(void *user, struct error *err)
{
    const struct agent *agent = user;
    struct node_state state;
    if (!agent->node) {
        return error_set(err, ERROR_CANCELLED, "the agent is stopping");
    }
    node_state(agent->node, &state);
    return state.is_issuing_denied
               ? error_set(err, ERROR_FAILED_PRECONDITION,
                           "nothing is issued while this node is not attested: %s",
                           state.reason_text)
               : 0;
}

static void tell_policy(const struct agent *agent, const struct node_state *state)
{
    const struct policy_node node = {
        .is_attested = state->is_attested,
        .is_issuing_denied = state->is_issuing_denied,
        .is_use_denied = state->is_use_denied,
        .reason = state->reason_text[0] ? state->reason_text : NULL,
    };
    policy_set_node(agent->policy, &node);
}

static void node_changed(void *user, struct node *node)
{
    struct agent *agent = user;
    struct node_state state;
    if (agent->is_stopping) {
        return;
    }
    node_state(node, &state);
    tell_policy(agent, &state);
    access_policy_changed(agent->access, NULL);
    if (!state.is_issuing_denied) {
        manager_try_again(agent->manager);
    }
}

/* Before anything is issued or used: the first verdict holds from the start. */
static int start_node(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    const struct issuer_gate gate = {may_issue, agent};
    const struct node_config wanted = {
        .settings = &config->node,
        .data_dir = config->data_dir,
        .keystore = keystores_find(agent->keystores, config->node.keystore),
        .tcti = config->tcti,
        .audit = agent->audit,
        .issuer = agent->issuer,
        .changed = node_changed,
        .user = agent,
    };
    struct node_state state;
    TRY(node_new(&agent->loop, &wanted, &agent->node, err));
    node_state(agent->node, &state);
    tell_policy(agent, &state);
    agent->issuer->operations->set_gate(agent->issuer, &gate);
    return 0;
}

static int start_keystores(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    if (keystores_new(&agent->loop, config, keystore_changed, agent, &agent->keystores, err) == 0) {
        return 0;
    }
    if (config->has_node) {
        node_explain_refusal(config->data_dir, config->tcti, err);
    }
    return -1;
}

static int start_attestor(struct agent *agent, struct error *err)
{
    const struct attestor_config wanted = {.sha256_limit_bytes = agent->config->sha256_limit_bytes};
    TRY(attestor_new(&agent->loop, &wanted, &agent->attestor, err));
    /* The records tell the digest of every program that is given an identity. */
    attestor_set_needs_sha256(agent->attestor, true);
    return 0;
}

static int start_access(struct agent *agent, struct error *err)
{
    const struct access_config wanted = {
        .trust_domain = agent->config->trust_domain,
        .manager = agent->manager,
        .attestor = agent->attestor,
        .policy = agent->policy,
        .outside = agent->outside,
        .audit = agent->audit,
        .usage = agent->usage,
        .recheck_interval_s = agent->config->recheck_interval_s,
    };
    return access_new(&agent->loop, &wanted, &agent->access, err);
}

static int start_manager(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    struct manager_config wanted = {
        .issuer = agent->issuer,
        .trust_domain = config->trust_domain,
        .rules = rules_copy(&config->rules),
        .delivered_max_ttl_s = config->delivered_max_ttl_s,
        .key_pool_size = config->key_pool_size,
    };
    wanted.keystores =
        (struct manager_keystore *)keystores_items(agent->keystores, &wanted.keystore_count);
    TRY(manager_new(&agent->loop, &wanted, &agent->manager, err));
    TRY(agent->issuer->operations->entries_configure(agent->issuer, config->entries,
                                                     config->entry_count, err));
    TRY(start_access(agent, err));
    return manager_start(agent->manager, err);
}

/* A socket of the service manager, or one made here. */
static int open_socket(struct agent *agent, const char *name, mode_t mode, int passed,
                       struct listener *ret_listener, struct error *err)
{
    if (passed >= 0) {
        ret_listener->descriptor = passed;
        return 0;
    }
    _cleanup_(free_cleanup) char *path = file_join(agent->config->run_dir, name);
    return listener_open(path, mode, ret_listener, err);
}

static int open_sockets(struct agent *agent, struct error *err)
{
    struct passed_descriptors *passed = &agent->passed;
    TRY(open_socket(agent, "api.sock", 0777, file_take(&passed->api), &agent->api_socket, err));
    TRY(open_socket(agent, "admin.sock", 0600, file_take(&passed->admin), &agent->admin_socket,
                    err));
    TRY(open_socket(agent, "pkcs11.sock", 0777, file_take(&passed->pkcs11), &agent->pkcs11_socket,
                    err));
    return 0;
}

static int start_api(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    _cleanup_(free_cleanup) char *pkcs11_path = file_join(config->run_dir, "pkcs11.sock");
    struct api_config wanted = {
        .manager = agent->manager,
        .attestor = agent->attestor,
        .issuer = agent->issuer,
        .access = agent->access,
        .policy = agent->policy,
        .outside = agent->outside,
        .audit = agent->audit,
        .usage = agent->usage,
        .node = agent->node,
        .audit_folder = config->audit.folder,
        .trust_domain = config->trust_domain,
        .pkcs11_path = pkcs11_path,
        .connections_per_uid = config->connections_per_uid,
        .descriptor_limit = agent->descriptor_limit,
        .reload = agent_reload,
        .user = agent,
    };
    wanted.keystores = keystores_items(agent->keystores, &wanted.keystore_count);
    agent->api = api_new(&agent->loop, &wanted);
    TRY(api_serve_workloads(agent->api, file_take(&agent->api_socket.descriptor), err));
    return api_serve_admin(agent->api, file_take(&agent->admin_socket.descriptor), err);
}

static int start_tokens(struct agent *agent, struct error *err)
{
    const struct tokens_config wanted = {
        .access = agent->access,
        .accounts = api_accounts(agent->api),
    };
    return tokens_new(&agent->loop, &wanted, file_take(&agent->pkcs11_socket.descriptor),
                      &agent->tokens, err);
}

static int start_metrics(struct agent *agent, struct error *err)
{
    const char *listen = agent->config->metrics_listen;
    return listen ? metrics_server_new(&agent->loop, listen, observe_metrics, agent,
                                       &agent->metrics, err)
                  : 0;
}

int agent_start(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    log_info("signetd " SIGNET_VERSION " starting config=%s trust_domain=%s", config->path,
             config->trust_domain);
    TRY(service_manager_receive(&agent->passed, err));
    TRY(claim_folders(agent, err));
    TRY(start_keystores(agent, err));
    agent_watch_signals(agent);
    TRY(start_audit(agent, err));
    TRY(start_policy(agent, err));
    TRY(start_issuer(agent, err));
    if (config->has_node) {
        TRY(start_node(agent, err));
    }
    TRY(start_attestor(agent, err));
    TRY(start_manager(agent, err));
    TRY(open_sockets(agent, err));
    TRY(start_api(agent, err));
    TRY(start_tokens(agent, err));
    TRY(start_metrics(agent, err));
    handover_take(agent);
    service_manager_watchdog(&agent->loop, &agent->watchdog, &agent->is_watchdog_open);
    return 0;
}
