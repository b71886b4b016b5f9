#include "agent/agent.h"

#include <string.h>
#include <unistd.h>

#include "agent/api/api.h"
#include "agent/issuer/embedded.h"
#include "agent/keystores.h"
#include "agent/listener.h"
#include "agent/lock.h"
#include "agent/process.h"
#include "agent/reload.h"
#include "agent/service_manager.h"
#include "agent/trim.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

struct agent {
    const struct config *config;
    uv_loop_t loop;
    size_t descriptor_limit;
    int data_lock, run_lock;
    struct keystores *keystores;
    struct issuer *issuer;
    struct manager *manager;
    struct attestor *attestor;
    struct api *api;
    struct listener api_socket, admin_socket;
    uv_signal_t signals[3];
    size_t signal_count;
    uv_timer_t watchdog;
    bool is_watchdog_open;
    struct trimmer trimmer;
    bool is_stopping;
};

static void agent_stop(struct agent *agent);

/* The manager owns its rules; what the configuration has of them moves there. */
static struct rules *copy_rules(const struct rules *from)
{
    struct rules *rules = NEW(struct rules);
    rules->count = from->count;
    rules->items = memory_new_array(from->count, sizeof(*rules->items));
    for (size_t i = 0; i < from->count; i++) {
        rules->items[i] = from->items[i];
        rules->items[i].pattern = memory_copy_text(from->items[i].pattern);
        rules->items[i].keystore = memory_copy_text(from->items[i].keystore);
    }
    return rules;
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
    if (agent->manager && !agent->is_stopping) {
        manager_keystore_changed(agent->manager, keystore);
    }
}

static void needs_sha256(void *user, bool is_needed)
{
    attestor_set_needs_sha256(((struct agent *)user)->attestor, is_needed);
}

/* Reload. */

static int apply(struct agent *agent, const struct config *wanted, struct error *err)
{
    TRY(reload_check(agent->config, wanted, err));
    TRY(agent->issuer->operations->entries_configure(agent->issuer, wanted->entries,
                                                     wanted->entry_count, err));
    manager_set_rules(agent->manager, copy_rules(&wanted->rules));
    log_set_level(wanted->log_level);
    return 0;
}

static void agent_reload(struct agent *agent)
{
    struct error error;
    _cleanup_(config_free_cleanup) struct config *wanted = NULL;
    if (config_read(agent->config->path, &wanted, &error) < 0 || apply(agent, wanted, &error) < 0) {
        log_error("configuration not reloaded, nothing has changed: %s", error.text);
        return;
    }
    log_info("configuration reloaded entries=%zu rules=%zu", wanted->entry_count,
             wanted->rules.count);
    _cleanup_(free_cleanup) char *keys = reload_restart_keys(agent->config, wanted);
    if (keys) {
        log_warning("these changes need a restart: %s", keys);
    }
}

static void signal_came(uv_signal_t *handle, int number)
{
    struct agent *agent = handle->data;
    if (number != SIGHUP) {
        log_info("stopping signal=%s", strsignal(number));
        agent_stop(agent);
    } else if (!agent->is_stopping) {
        agent_reload(agent);
    }
}

static void watch_signals(struct agent *agent)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        (void)uv_signal_init(&agent->loop, &agent->signals[i]);
        agent->signals[i].data = agent;
        (void)uv_signal_start(&agent->signals[i], signal_came, numbers[i]);
    }
    agent->signal_count = ARRAY_SIZE(numbers);
}

/* Start, in this order. */

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

static int start_attestor(struct agent *agent, struct error *err)
{
    const struct attestor_config wanted = {.sha256_limit_bytes = agent->config->sha256_limit_bytes};
    return attestor_new(&agent->loop, &wanted, &agent->attestor, err);
}

static int start_manager(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    struct manager_config wanted = {
        .issuer = agent->issuer,
        .trust_domain = config->trust_domain,
        .rules = copy_rules(&config->rules),
        .delivered_max_ttl_s = config->delivered_max_ttl_s,
        .key_pool_size = config->key_pool_size,
        .user = agent,
        .needs_sha256 = needs_sha256,
    };
    wanted.keystores =
        (struct manager_keystore *)keystores_items(agent->keystores, &wanted.keystore_count);
    TRY(manager_new(&agent->loop, &wanted, &agent->manager, err));
    TRY(agent->issuer->operations->entries_configure(agent->issuer, config->entries,
                                                     config->entry_count, err));
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
    int passed_api = -1;
    int passed_admin = -1;
    TRY(service_manager_listeners(&passed_api, &passed_admin, err));
    TRY(open_socket(agent, "api.sock", 0777, passed_api, &agent->api_socket, err));
    TRY(open_socket(agent, "admin.sock", 0600, passed_admin, &agent->admin_socket, err));
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
        .trust_domain = config->trust_domain,
        .pkcs11_path = pkcs11_path,
        .connections_per_uid = config->connections_per_uid,
        .descriptor_limit = agent->descriptor_limit,
    };
    wanted.keystores = keystores_items(agent->keystores, &wanted.keystore_count);
    agent->api = api_new(&agent->loop, &wanted);
    TRY(api_serve_workloads(agent->api, file_take(&agent->api_socket.descriptor), err));
    return api_serve_admin(agent->api, file_take(&agent->admin_socket.descriptor), err);
}

static int agent_start(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    log_info("signetd " SIGNET_VERSION " starting config=%s trust_domain=%s", config->path,
             config->trust_domain);
    TRY(claim_folders(agent, err));
    TRY(keystores_new(&agent->loop, config, keystore_changed, agent, &agent->keystores, err));
    watch_signals(agent);
    TRY(start_issuer(agent, err));
    TRY(start_attestor(agent, err));
    TRY(start_manager(agent, err));
    TRY(open_sockets(agent, err));
    TRY(start_api(agent, err));
    service_manager_watchdog(&agent->loop, &agent->watchdog, &agent->is_watchdog_open);
    return 0;
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
    trimmer_stop(&agent->trimmer);
    if (agent->is_watchdog_open) {
        uv_close((uv_handle_t *)&agent->watchdog, NULL);
    }
    if (agent->keystores) {
        keystores_quiet(agent->keystores);
    }
}

static void issuer_stopped(void *user)
{
    struct agent *agent = user;
    agent->issuer = NULL;
    if (agent->attestor) {
        attestor_free(take_ptr(agent->attestor));
    }
    close_handles(agent);
}

static void manager_stopped(void *user)
{
    struct agent *agent = user;
    agent->manager = NULL;
    if (agent->issuer) {
        agent->issuer->operations->stop(agent->issuer, issuer_stopped, agent);
    } else {
        issuer_stopped(agent);
    }
}

static void api_stopped(void *user)
{
    struct agent *agent = user;
    agent->api = NULL;
    if (agent->manager) {
        manager_stop(agent->manager, manager_stopped, agent);
    } else {
        manager_stopped(agent);
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
    if (agent->api) {
        api_stop(agent->api, api_stopped, agent);
    } else {
        api_stopped(agent);
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
    file_close_cleanup(&agent->run_lock);
    file_close_cleanup(&agent->data_lock);
}

int agent_run(const struct config *config, struct error *err)
{
    struct agent agent = {
        .config = config,
        .data_lock = -1,
        .run_lock = -1,
        .api_socket = {.descriptor = -1},
        .admin_socket = {.descriptor = -1},
    };
    log_set_level(config->log_level);
    process_prepare(&agent.descriptor_limit);
    int status = uv_loop_init(&agent.loop);
    if (status < 0) {
        return error_set_errno(err, -status, "creating the event loop");
    }
    int result = agent_start(&agent, err);
    if (result == 0) {
        tell_ready(&agent);
        trimmer_start(&agent.trimmer, &agent.loop);
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
