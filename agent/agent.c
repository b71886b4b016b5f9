#include "agent/agent.h"

#include <string.h>

#include "agent/handover.h"
#include "agent/process.h"
#include "agent/reload.h"
#include "agent/state.h"
#include "agent/trim.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static void agent_stop(struct agent *agent);

/* Reload. */

static void record_rules(struct agent *agent, const struct config *wanted)
{
    _cleanup_(free_cleanup) char *detail = text_format("%s: %zu entries, %zu rules", wanted->path,
                                                       wanted->entry_count, wanted->rules.count);
    const struct audit_event event = {
        .action = AUDIT_RULES_CHANGED,
        .decider = AUDIT_DECIDER_ADMIN,
        .reason = "the configuration was read again",
        .detail = detail,
    };
    audit_write(agent->audit, &event);
}

static int apply(struct agent *agent, const struct config *wanted, struct error *err)
{
    TRY(reload_check(agent->config, wanted, err));
    TRY(agent->issuer->operations->entries_configure(agent->issuer, wanted->entries,
                                                     wanted->entry_count, err));
    policy_set_rules(agent->policy, rules_copy(&wanted->rules));
    manager_set_rules(agent->manager, rules_copy(&wanted->rules));
    access_policy_changed(agent->access, NULL);
    if (agent->node && wanted->has_node) {
        node_set_settings(agent->node, &wanted->node);
    }
    record_rules(agent, wanted);
    log_set_level(wanted->log_level);
    return 0;
}

/* For the admin API and for SIGHUP; logs either way. */
int agent_reload(void *user, struct api_reloaded *ret_reloaded, struct error *err)
{
    struct agent *agent = user;
    _cleanup_(config_free_cleanup) struct config *wanted = NULL;
    if (config_read(agent->config->path, &wanted, err) < 0 || apply(agent, wanted, err) < 0) {
        log_error("configuration not reloaded, nothing has changed: %s", err->text);
        return -1;
    }
    *ret_reloaded = (struct api_reloaded){
        .entries = wanted->entry_count,
        .rules = wanted->rules.count,
        .restart_keys = reload_restart_keys(agent->config, wanted),
    };
    config_log_warnings(wanted);
    log_info("configuration reloaded entries=%zu rules=%zu", ret_reloaded->entries,
             ret_reloaded->rules);
    if (ret_reloaded->restart_keys) {
        log_warning("these changes need a restart: %s", ret_reloaded->restart_keys);
    }
    return 0;
}

static void signal_came(uv_signal_t *handle, int number)
{
    struct agent *agent = handle->data;
    if (number != SIGHUP) {
        log_info("stopping signal=%s", strsignal(number));
        agent_stop(agent);
    } else if (!agent->is_stopping) {
        struct api_reloaded reloaded = {0};
        struct error error;
        (void)agent_reload(agent, &reloaded, &error);
        free(reloaded.restart_keys);
    }
}

void agent_watch_signals(struct agent *agent)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        (void)uv_signal_init(&agent->loop, &agent->signals[i]);
        agent->signals[i].data = agent;
        (void)uv_signal_start(&agent->signals[i], signal_came, numbers[i]);
    }
    agent->signal_count = ARRAY_SIZE(numbers);
}

static void tell_ready(struct agent *agent)
{
    struct manager_counters counters = {0};
    manager_counters(agent->manager, &counters);
    log_info("ready run_dir=%s entries=%zu", agent->config->run_dir, counters.entries);
    service_manager_notify("READY=1\nSTATUS=Serving %s, %zu entries", agent->config->trust_domain,
                           counters.entries);
}

/* Stop, in the reverse order; each step begins when the one before is through. */

static void close_handles(struct agent *agent)
{
    for (size_t i = 0; i < agent->signal_count; i++) {
        uv_close((uv_handle_t *)&agent->signals[i], NULL);
    }
    if (agent->is_watchdog_open) {
        uv_close((uv_handle_t *)&agent->watchdog, NULL);
    }
    if (agent->keystores) {
        keystores_quiet(agent->keystores);
    }
}

static void audit_stopped(void *user)
{
    struct agent *agent = user;
    agent->audit = NULL;
    close_handles(agent);
}

static void issuer_stopped(void *user)
{
    struct agent *agent = user;
    agent->issuer = NULL;
    if (agent->attestor) {
        attestor_free(take_ptr(agent->attestor));
    }
    if (agent->usage) {
        usage_close(take_ptr(agent->usage));
    }
    if (agent->policy) {
        policy_free(take_ptr(agent->policy));
    }
    if (agent->audit) {
        audit_stop(agent->audit, audit_stopped, agent);
    } else {
        close_handles(agent);
    }
}

static void node_stopped(void *user)
{
    struct agent *agent = user;
    agent->node = NULL;
    if (agent->issuer) {
        agent->issuer->operations->stop(agent->issuer, issuer_stopped, agent);
    } else {
        issuer_stopped(agent);
    }
}

static void manager_stopped(void *user)
{
    struct agent *agent = user;
    agent->manager = NULL;
    if (agent->node) {
        node_stop(agent->node, node_stopped, agent);
    } else {
        node_stopped(agent);
    }
}

static void access_stopped(void *user)
{
    struct agent *agent = user;
    agent->access = NULL;
    if (agent->manager) {
        manager_stop(agent->manager, manager_stopped, agent);
    } else {
        manager_stopped(agent);
    }
}

static void api_stopped(void *user)
{
    struct agent *agent = user;
    agent->api = NULL;
    if (agent->outside) {
        outside_free(take_ptr(agent->outside));
    }
    if (agent->access) {
        access_stop(agent->access, access_stopped, agent);
    } else {
        access_stopped(agent);
    }
}

static void metrics_stopped(void *user)
{
    struct agent *agent = user;
    agent->metrics = NULL;
    if (agent->api) {
        api_stop(agent->api, api_stopped, agent);
    } else {
        api_stopped(agent);
    }
}

static void tokens_stopped(void *user)
{
    struct agent *agent = user;
    agent->tokens = NULL;
    if (agent->metrics) {
        metrics_server_stop(agent->metrics, metrics_stopped, agent);
    } else {
        metrics_stopped(agent);
    }
}

static void agent_stop(struct agent *agent)
{
    if (agent->is_stopping) {
        log_warning("already stopping, waiting for work in hand");
        return;
    }
    agent->is_stopping = true;
    service_manager_notify("STOPPING=1\nSTATUS=Stopping");
    listener_close(&agent->api_socket);
    listener_close(&agent->admin_socket);
    listener_close(&agent->pkcs11_socket);
    if (agent->tokens) {
        handover_leave(agent);
        tokens_stop(agent->tokens, tokens_stopped, agent);
    } else {
        tokens_stopped(agent);
    }
}

static void agent_clear(struct agent *agent)
{
    if (agent->keystores) {
        keystores_free(agent->keystores);
    }
    if (uv_loop_close(&agent->loop) < 0) {
        log_error("the event loop still has something open; this is a bug");
    }
    passed_descriptors_clear(&agent->passed);
    file_close_cleanup(&agent->run_lock);
    file_close_cleanup(&agent->data_lock);
}

int agent_run(const struct config *config, struct error *err)
{
    struct agent agent = {
        .config = config,
        .data_lock = -1,
        .run_lock = -1,
        .passed = {.api = -1, .admin = -1, .pkcs11 = -1},
        .api_socket = {.descriptor = -1},
        .admin_socket = {.descriptor = -1},
        .pkcs11_socket = {.descriptor = -1},
    };
    log_set_level(config->log_level);
    process_prepare(&agent.descriptor_limit);
    size_t objects = trim_count_objects();
    int status = uv_loop_init(&agent.loop);
    if (status < 0) {
        return error_set_errno(err, -status, "creating the event loop");
    }
    int result = agent_start(&agent, err);
    if (result == 0) {
        tell_ready(&agent);
        trim_after_start(objects);
    } else {
        agent_stop(&agent);
    }
    (void)uv_run(&agent.loop, UV_RUN_DEFAULT);
    agent_clear(&agent);
    if (result == 0) {
        log_info("stopped");
    }
    return result;
}
