#include "agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/config_block.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static const struct {
    uint32_t ca_ttl_s, x509_svid_ttl_s, jwt_svid_ttl_s, delivered_max_ttl_s;
    unsigned key_pool_size, connections_per_uid;
    const char *data_dir, *run_dir;
    uint64_t audit_file_max_bytes;
    uint32_t audit_file_max_age_s, audit_head_interval_s, recheck_interval_s;
    unsigned audit_files_kept;
    uint32_t outside_timeout_ms, outside_cache_ms;
} defaults = {
    .ca_ttl_s = 86400,
    .x509_svid_ttl_s = 3600,
    .jwt_svid_ttl_s = 300,
    .delivered_max_ttl_s = 3600,
    .key_pool_size = 4,
    .connections_per_uid = 1024,
    .data_dir = "/var/lib/signet",
    .run_dir = "/run/signet",
    .audit_file_max_bytes = 64 << 20,
    .audit_file_max_age_s = 86400,
    .audit_head_interval_s = 60,
    .recheck_interval_s = 10,
    .audit_files_kept = 90,
    .outside_timeout_ms = 250,
    .outside_cache_ms = 1000,
};

static struct config *config_new(const char *name)
{
    struct config *config = NEW(struct config);
    config->path = memory_copy_text(name);
    config->log_level = LOG_LEVEL_INFO;
    config->issuer.ca_ttl_s = defaults.ca_ttl_s;
    config->issuer.x509_svid_ttl_s = defaults.x509_svid_ttl_s;
    config->issuer.jwt_svid_ttl_s = defaults.jwt_svid_ttl_s;
    config->delivered_max_ttl_s = defaults.delivered_max_ttl_s;
    config->key_pool_size = defaults.key_pool_size;
    config->connections_per_uid = defaults.connections_per_uid;
    config->recheck_interval_s = defaults.recheck_interval_s;
    config->audit.on_failure = AUDIT_ON_FAILURE_DENY;
    config->audit.file_max_bytes = defaults.audit_file_max_bytes;
    config->audit.file_max_age_s = defaults.audit_file_max_age_s;
    config->audit.files_kept = defaults.audit_files_kept;
    config->audit.head_interval_s = defaults.audit_head_interval_s;
    config->outside.timeout_ms = defaults.outside_timeout_ms;
    config->outside.cache_ms = defaults.outside_cache_ms;
    config_node_defaults(&config->node);
    return config;
}

/* Those that depend on what else is there. */
static void set_late_defaults(struct config *config)
{
    config->data_dir = config->data_dir ? config->data_dir : memory_copy_text(defaults.data_dir);
    config->run_dir = config->run_dir ? config->run_dir : memory_copy_text(defaults.run_dir);
    if (!config->audit.folder) {
        config->audit.folder = file_join(config->data_dir, "audit");
    }
    if (!config->audit.keystore) {
        config->audit.keystore = memory_copy_text(config->issuer.keystore);
    }
}

static int parse_all(struct config_parse *parse, struct bytes text, struct error *err)
{
    struct config *config = parse->config;
    TRY(config_scan(text, parse->name, &parse->scan, err));
    TRY(config_run_libconfuse(parse, err));
    if (config_block_check_required(&config_blocks[0], parse->root_keys_seen, err) < 0) {
        return error_prepend(err, "%s", parse->name);
    }
    set_late_defaults(config);
    rules_prepare(&config->rules);
    TRY(config_check(parse, err));
    config_warn(parse);
    return 0;
}

int config_parse(struct bytes text, const char *name, struct config **ret_config, struct error *err)
{
    _cleanup_(config_free_cleanup) struct config *config = config_new(name);
    _cleanup_(config_parse_clear) struct config_parse parse = {.name = name, .config = config};
    TRY(parse_all(&parse, text, err));
    *ret_config = take_ptr(config);
    return 0;
}

/* Whoever may write the file decides who gets which identity, and which module is loaded. */
static int check_file(int descriptor, const char *path, struct error *err)
{
    struct stat status;
    if (fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "looking at %s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "reading %s: it is not a regular file", path);
    }
    if (status.st_mode & (S_IWGRP | S_IWOTH)) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "reading %s: others than its owner may write to it; run chmod go-w %s",
                         path, path);
    }
    if (status.st_uid != 0 && status.st_uid != geteuid()) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "reading %s: it belongs to uid %u, who is neither root nor the agent's "
                         "user; run chown root %s",
                         path, status.st_uid, path);
    }
    return 0;
}

int config_read(const char *path, struct config **ret_config, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "opening the configuration %s", path);
    }
    TRY(check_file(descriptor, path, err));
    TRY(buffer_read_descriptor(descriptor, path, CONFIG_MAX_BYTES, &text, err));
    return config_parse(buffer_bytes(&text), path, ret_config, err);
}

void config_free(struct config *config)
{
    free(config->path);
    free(config->trust_domain);
    free(config->data_dir);
    free(config->run_dir);
    free(config->tcti);
    free(config->issuer.keystore);
    for (size_t i = 0; i < config->keystore_count; i++) {
        config_keystore_clear(&config->keystores[i]);
    }
    free(config->keystores);
    for (size_t i = 0; i < config->entry_count; i++) {
        entry_unref(config->entries[i]);
    }
    free(config->entries);
    rules_clear(&config->rules);
    free(config->audit.folder);
    free(config->audit.keystore);
    free(config->outside.url);
    free(config->outside.path);
    text_list_clear(&config->outside.continue_for);
    node_settings_clear(&config->node);
    free(config->metrics_listen);
    text_list_clear(&config->warnings);
    free(config);
}
