#include "agent/config_block.h"

#include "agent/config_finish.h"

enum { TTL_MIN_S = 10, HOUR_S = 3600, DAY_S = 86400, WEEK_S = 7 * DAY_S, YEAR_S = 365 * DAY_S };
enum { AGE_MAX_S = 10 * YEAR_S };
enum { RATE_MAX = 1000000, ITEMS_MAX = 64, FILES_MAX = 1000000 };
enum { HASHES_MAX = 4096, PCRS_MAX = PCR_BANKS_MAX * PCR_COUNT };
enum { OUTSIDE_TIMEOUT_MIN_MS = 10, OUTSIDE_TIMEOUT_MAX_MS = 10000, OUTSIDE_CACHE_MAX_MS = 60000 };
enum { CA_TTL_MIN_S = 2 * TTL_MIN_S, CA_TTL_MAX_S = 10 * YEAR_S };

#define IN_CONFIG(field) offsetof(struct config, field)
#define IN_KEYSTORE(field) offsetof(struct config_keystore, field)
#define IN_ENTRY(field) offsetof(struct entry, field)
#define IN_NODE(field) offsetof(struct config, node.field)
#define IN_RULE(field) offsetof(struct config_rule, field)

static const struct config_key root_keys[] = {
    {"trust_domain", config_read_trust_domain, IN_CONFIG(trust_domain), 0, 0, CONFIG_KEY_REQUIRED},
    {"data_dir", config_read_path, IN_CONFIG(data_dir), 0, 0, 0},
    {"run_dir", config_read_path, IN_CONFIG(run_dir), 0, 0, 0},
    {"log_level", config_read_log_level, IN_CONFIG(log_level), 0, 0, 0},
    {"delivered_max_ttl", config_read_duration, IN_CONFIG(delivered_max_ttl_s), TTL_MIN_S, DAY_S,
     0},
    {"key_pool_size", config_read_number, IN_CONFIG(key_pool_size), 0, 256, 0},
    {"connections_per_uid", config_read_number, IN_CONFIG(connections_per_uid), 1, 1000000, 0},
    {"recheck_interval", config_read_duration, IN_CONFIG(recheck_interval_s), 1, HOUR_S, 0},
};

static const struct config_key tpm_keys[] = {
    {"tcti", config_read_text, IN_CONFIG(tcti), 0, 0, 0},
};

static const struct config_key keystore_keys[] = {
    {"type", config_read_keystore_type, IN_KEYSTORE(type), 0, 0, CONFIG_KEY_REQUIRED},
    {"module", config_read_module, IN_KEYSTORE(module), 0, 0, 0},
    {"token", config_read_token, IN_KEYSTORE(token), 0, 0, 0},
    {"pin", config_read_pin, IN_KEYSTORE(pin), 0, 0, 0},
    {"isolate", config_read_boolean, IN_KEYSTORE(is_isolated), 0, 0, 0},
    {"workers", config_read_number, IN_KEYSTORE(workers), 1, 16, 0},
};

static const struct config_key issuer_keys[] = {
    {"keystore", config_read_name, IN_CONFIG(issuer.keystore), 0, 0, CONFIG_KEY_REQUIRED},
    {"ca_ttl", config_read_duration, IN_CONFIG(issuer.ca_ttl_s), CA_TTL_MIN_S, CA_TTL_MAX_S, 0},
    {"x509_svid_ttl", config_read_duration, IN_CONFIG(issuer.x509_svid_ttl_s), TTL_MIN_S, YEAR_S,
     0},
    {"jwt_svid_ttl", config_read_duration, IN_CONFIG(issuer.jwt_svid_ttl_s), TTL_MIN_S, YEAR_S, 0},
    {"ca_key_type", config_read_key_type, IN_CONFIG(issuer.ca_key_type), 0, 0, 0},
    {"jwt_key_type", config_read_key_type, IN_CONFIG(issuer.jwt_key_type), 0, 0, 0},
};

static const struct config_key entry_keys[] = {
    {"selectors", config_read_selector, IN_ENTRY(selectors), 1, SELECTORS_MAX,
     CONFIG_KEY_LIST | CONFIG_KEY_REQUIRED},
    {"x509_svid_ttl", config_read_duration, IN_ENTRY(x509_svid_ttl_s), TTL_MIN_S, YEAR_S, 0},
    {"jwt_svid_ttl", config_read_duration, IN_ENTRY(jwt_svid_ttl_s), TTL_MIN_S, YEAR_S, 0},
    {"dns_names", config_read_item, IN_ENTRY(dns_names), 1, ENTRY_DNS_NAMES_MAX, CONFIG_KEY_LIST},
    {"hint", config_read_text, IN_ENTRY(hint), 0, 0, 0},
};

static const struct config_key rule_keys[] = {
    {"key", config_read_protection, IN_RULE(rule.protection), 0, 0, 0},
    {"keystore", config_read_name, IN_RULE(rule.keystore), 0, 0, 0},
    {"key_type", config_read_key_type, IN_RULE(rule.key_type), 0, 0, 0},
    {"sign_rate", config_read_number, IN_RULE(rule.sign_rate), 1, RATE_MAX, 0},
    {"sign_burst", config_read_number, IN_RULE(rule.sign_burst), 1, RATE_MAX, 0},
    {"max_uses", config_read_large_number, IN_RULE(rule.max_uses), 1, INT64_MAX, 0},
    {"svid_rate", config_read_number, IN_RULE(rule.svid_rate), 1, RATE_MAX, 0},
    {"jwt_rate", config_read_number, IN_RULE(rule.jwt_rate), 1, RATE_MAX, 0},
    {"jwt_audiences", config_read_audience, IN_RULE(rule.jwt_audiences), 1, ITEMS_MAX,
     CONFIG_KEY_LIST},
    {"jwt_max_ttl", config_read_duration, IN_RULE(rule.jwt_max_ttl_s), TTL_MIN_S, YEAR_S, 0},
    {"hours", config_read_text, IN_RULE(hours), 0, 0, 0},
    {"time_zone", config_read_text, IN_RULE(time_zone), 0, 0, 0},
    {"max_process_age", config_read_duration, IN_RULE(rule.max_process_age_s), 1, AGE_MAX_S, 0},
    {"first_use_within", config_read_duration, IN_RULE(rule.first_use_within_s), 1, AGE_MAX_S, 0},
    {"requires_attested", config_read_boolean, IN_RULE(rule.requires_attested), 0, 0, 0},
    {"evidence", config_read_boolean, IN_RULE(rule.may_show_evidence), 0, 0, 0},
    {"executables", config_read_executable, IN_RULE(rule.executables), 1, ITEMS_MAX,
     CONFIG_KEY_LIST},
};

static const struct config_key workload_keys[] = {
    {"sha256_limit", config_read_size, IN_CONFIG(sha256_limit_bytes), 0, (uint64_t)1 << 40, 0},
};

static const struct config_key audit_keys[] = {
    {"dir", config_read_path, IN_CONFIG(audit.folder), 0, 0, 0},
    {"on_failure", config_read_on_failure, IN_CONFIG(audit.on_failure), 0, 0, 0},
    {"file_size", config_read_size, IN_CONFIG(audit.file_max_bytes), 1 << 20, (uint64_t)1 << 40, 0},
    {"file_age", config_read_duration, IN_CONFIG(audit.file_max_age_s), 0, AGE_MAX_S, 0},
    {"files", config_read_number, IN_CONFIG(audit.files_kept), 0, FILES_MAX, 0},
    {"keystore", config_read_name, IN_CONFIG(audit.keystore), 0, 0, 0},
    {"head_interval", config_read_duration, IN_CONFIG(audit.head_interval_s), 1, DAY_S, 0},
    {"journald", config_read_boolean, IN_CONFIG(audit.is_journald), 0, 0, 0},
};

static const struct config_key policy_keys[] = {
    {"opa", config_read_text, IN_CONFIG(outside.url), 0, 0, CONFIG_KEY_REQUIRED},
    {"path", config_read_text, IN_CONFIG(outside.path), 0, 0, CONFIG_KEY_REQUIRED},
    {"timeout", config_read_milliseconds, IN_CONFIG(outside.timeout_ms), OUTSIDE_TIMEOUT_MIN_MS,
     OUTSIDE_TIMEOUT_MAX_MS, 0},
    {"cache", config_read_milliseconds, IN_CONFIG(outside.cache_ms), 0, OUTSIDE_CACHE_MAX_MS, 0},
    {"continue_for", config_read_pattern, IN_CONFIG(outside.continue_for), 1, ITEMS_MAX,
     CONFIG_KEY_LIST},
};

static const struct config_key node_keys[] = {
    {"keystore", config_read_name, IN_NODE(keystore), 0, 0, 0},
    {"ek_ca", config_read_path, IN_NODE(ek_ca), 0, 0, 0},
    {"ek_hashes", config_read_ek_hash, IN_NODE(ek_hashes), 1, HASHES_MAX, CONFIG_KEY_LIST},
    {"pcrs", config_read_selection, IN_NODE(selection), 0, 0, 0},
    {"facts", config_read_fact, IN_NODE(facts), 1, ITEMS_MAX, CONFIG_KEY_LIST},
    {"event_log", config_read_event_log, IN_NODE(event_log_path), 0, 0, 0},
    {"ima", config_read_ima, IN_NODE(ima_path), 0, 0, 0},
    {"resets", config_read_resets, IN_NODE(resets), 0, 0, 0},
    {"ak", config_read_ak_type, IN_NODE(ak_type), 0, 0, 0},
    {"reattest_interval", config_read_duration, IN_NODE(reattest_interval_s), 1, WEEK_S, 0},
    {"on_failure", config_read_node_failure, IN_NODE(on_failure), 0, 0, 0},
    {"counter", config_read_counter, IN_NODE(counter_index), 0, 0, 0},
};

static const struct config_key baseline_keys[] = {
    {"pcrs", config_read_pcr, offsetof(struct baseline, pcrs), 1, PCRS_MAX,
     CONFIG_KEY_LIST | CONFIG_KEY_REQUIRED},
};

static const struct config_key metrics_keys[] = {
    {"listen", config_read_listen, IN_CONFIG(metrics_listen), 0, 0, CONFIG_KEY_REQUIRED},
};

static void *target_config(struct config_parse *parse)
{
    return parse->config;
}

static void *target_keystore(struct config_parse *parse)
{
    return &parse->keystore;
}

static void *target_entry(struct config_parse *parse)
{
    return config_open_entry(parse);
}

static void *target_rule(struct config_parse *parse)
{
    return &parse->rule;
}

static void *target_baseline(struct config_parse *parse)
{
    return &parse->baseline;
}

#define KEYS(table) table, ARRAY_SIZE(table)

const struct config_block config_blocks[] = {
    {"root", NULL, false, KEYS(root_keys), target_config, config_finish_nothing},
    {"tpm", NULL, false, KEYS(tpm_keys), target_config, config_finish_tpm},
    {"keystore", "its name", true, KEYS(keystore_keys), target_keystore, config_finish_keystore},
    {"issuer", "its kind", false, KEYS(issuer_keys), target_config, config_finish_issuer},
    {"entry", "a SPIFFE ID", true, KEYS(entry_keys), target_entry, config_finish_entry},
    {"rule", "a pattern", true, KEYS(rule_keys), target_rule, config_finish_rule},
    {"workload", NULL, false, KEYS(workload_keys), target_config, config_finish_nothing},
    {"audit", NULL, false, KEYS(audit_keys), target_config, config_finish_audit},
    {"policy", NULL, false, KEYS(policy_keys), target_config, config_finish_policy},
    {"node", NULL, false, KEYS(node_keys), target_config, config_finish_node},
    {"baseline", "its name", true, KEYS(baseline_keys), target_baseline, config_finish_baseline},
    {"metrics", NULL, false, KEYS(metrics_keys), target_config, config_finish_nothing},
};
const size_t config_block_count = ARRAY_SIZE(config_blocks);

int config_block_check_required(const struct config_block *block, uint64_t seen, struct error *err)
{
    for (size_t i = 0; i < block->key_count; i++) {
        if ((block->keys[i].flags & CONFIG_KEY_REQUIRED) && !(seen & (uint64_t)1 << i)) {
            return error_set(err, ERROR_INVALID_ARGUMENT, "the key %s is missing",
                             block->keys[i].name);
        }
    }
    return 0;
}
