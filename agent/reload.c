#include "agent/reload.h"

#include <string.h>

#include "lib/base/memory.h"

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same_keystore(const struct config_keystore *a, const struct config_keystore *b)
{
    return is_same_text(a->name, b->name) && a->type == b->type &&
           is_same_text(a->module, b->module) && is_same_text(a->token, b->token) &&
           a->pin.kind == b->pin.kind && is_same_text(a->pin.path, b->pin.path) &&
           a->is_isolated == b->is_isolated && a->workers == b->workers;
}

static bool has_same_keystores(const struct config *a, const struct config *b)
{
    if (a->keystore_count != b->keystore_count) {
        return false;
    }
    for (size_t i = 0; i < a->keystore_count; i++) {
        if (!is_same_keystore(&a->keystores[i], &b->keystores[i])) {
            return false;
        }
    }
    return true;
}

static bool has_same_issuer(const struct config *a, const struct config *b)
{
    return is_same_text(a->issuer.keystore, b->issuer.keystore) &&
           a->issuer.ca_key_type == b->issuer.ca_key_type &&
           a->issuer.jwt_key_type == b->issuer.jwt_key_type &&
           a->issuer.ca_ttl_s == b->issuer.ca_ttl_s &&
           a->issuer.x509_svid_ttl_s == b->issuer.x509_svid_ttl_s &&
           a->issuer.jwt_svid_ttl_s == b->issuer.jwt_svid_ttl_s;
}

static bool has_same_audit(const struct config *a, const struct config *b)
{
    return is_same_text(a->audit.folder, b->audit.folder) &&
           a->audit.on_failure == b->audit.on_failure &&
           a->audit.file_max_bytes == b->audit.file_max_bytes &&
           a->audit.file_max_age_s == b->audit.file_max_age_s &&
           a->audit.files_kept == b->audit.files_kept &&
           is_same_text(a->audit.keystore, b->audit.keystore) &&
           a->audit.head_interval_s == b->audit.head_interval_s &&
           a->audit.is_journald == b->audit.is_journald;
}

static bool has_same_outside(const struct config *a, const struct config *b)
{
    return a->has_outside == b->has_outside && is_same_text(a->outside.url, b->outside.url) &&
           is_same_text(a->outside.path, b->outside.path) &&
           a->outside.timeout_ms == b->outside.timeout_ms &&
           a->outside.cache_ms == b->outside.cache_ms &&
           text_list_is_equal(&a->outside.continue_for, &b->outside.continue_for);
}

static bool has_same_node(const struct config *a, const struct config *b)
{
    return a->has_node == b->has_node && is_same_text(a->node.keystore, b->node.keystore) &&
           a->node.ak_type == b->node.ak_type &&
           is_same_text(a->node.event_log_path, b->node.event_log_path) &&
           is_same_text(a->node.ima_path, b->node.ima_path) &&
           a->node.counter_index == b->node.counter_index;
}

char *reload_restart_keys(const struct config *running, const struct config *wanted)
{
    const struct {
        const char *key;
        bool is_same;
    } keys[] = {
        {"data_dir", is_same_text(running->data_dir, wanted->data_dir)},
        {"run_dir", is_same_text(running->run_dir, wanted->run_dir)},
        {"tpm", is_same_text(running->tcti, wanted->tcti)},
        {"keystore", has_same_keystores(running, wanted)},
        {"issuer", has_same_issuer(running, wanted)},
        {"delivered_max_ttl", running->delivered_max_ttl_s == wanted->delivered_max_ttl_s},
        {"key_pool_size", running->key_pool_size == wanted->key_pool_size},
        {"connections_per_uid", running->connections_per_uid == wanted->connections_per_uid},
        {"sha256_limit", running->sha256_limit_bytes == wanted->sha256_limit_bytes},
        {"audit", has_same_audit(running, wanted)},
        {"policy", has_same_outside(running, wanted)},
        {"node", has_same_node(running, wanted)},
        {"metrics", is_same_text(running->metrics_listen, wanted->metrics_listen)},
        {"recheck_interval", running->recheck_interval_s == wanted->recheck_interval_s},
    };
    struct buffer changed = {0};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (!keys[i].is_same) {
            buffer_append_text(&changed, changed.size ? ", " : "");
            buffer_append_text(&changed, keys[i].key);
        }
    }
    if (changed.size == 0) {
        return NULL;
    }
    buffer_append_u8(&changed, 0);
    return (char *)changed.data;
}

static bool has_keystore(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->keystore_count; i++) {
        if (strcmp(config->keystores[i].name, name) == 0) {
            return true;
        }
    }
    return strcmp(name, "memory") == 0;
}

int reload_check(const struct config *running, const struct config *wanted, struct error *err)
{
    if (strcmp(running->trust_domain, wanted->trust_domain) != 0) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "%s: trust_domain is now \"%s\", the agent runs with \"%s\"; restart it",
                         wanted->path, wanted->trust_domain, running->trust_domain);
    }
    for (size_t i = 0; i < wanted->rules.count; i++) {
        const struct rule *rule = &wanted->rules.items[i];
        if (rule->keystore && !has_keystore(running, rule->keystore)) {
            return error_set(
                err, ERROR_FAILED_PRECONDITION,
                "%s: the rule \"%s\" wants the keystore \"%s\", which the running agent "
                "does not have; restart it",
                wanted->path, rule->pattern, rule->keystore);
        }
    }
    return 0;
}
