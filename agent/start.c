#include "agent/handover.h"
#include "agent/issuer/embedded.h"
#include "agent/lock.h"
#include "agent/state.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

struct rules *agent_copy_rules(const struct rules *from)
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
        .rules = agent_copy_rules(&config->rules),
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
        .manager = agent->manager,
        .attestor = agent->attestor,
        .accounts = api_accounts(agent->api),
    };
    return tokens_new(&agent->loop, &wanted, file_take(&agent->pkcs11_socket.descriptor),
                      &agent->tokens, err);
}

int agent_start(struct agent *agent, struct error *err)
{
    const struct config *config = agent->config;
    log_info("signetd " SIGNET_VERSION " starting config=%s trust_domain=%s", config->path,
             config->trust_domain);
    TRY(service_manager_receive(&agent->passed, err));
    TRY(claim_folders(agent, err));
    TRY(keystores_new(&agent->loop, config, keystore_changed, agent, &agent->keystores, err));
    agent_watch_signals(agent);
    TRY(start_issuer(agent, err));
    TRY(start_attestor(agent, err));
    TRY(start_manager(agent, err));
    TRY(open_sockets(agent, err));
    TRY(start_api(agent, err));
    TRY(start_tokens(agent, err));
    handover_take(agent);
    service_manager_watchdog(&agent->loop, &agent->watchdog, &agent->is_watchdog_open);
    return 0;
}
