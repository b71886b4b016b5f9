#include "agent/config_block.h"

#include <string.h>

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

enum { KEYSTORES_MAX = 16, RULES_MAX = 1024, ENTRIES_MAX = 100000 };
enum { TTL_MIN_S = 10, DAY_S = 86400, YEAR_S = 365 * DAY_S };
enum { CA_TTL_MIN_S = 2 * TTL_MIN_S, CA_TTL_MAX_S = 10 * YEAR_S };

#define IN_CONFIG(field) offsetof(struct config, field)
#define IN_KEYSTORE(field) offsetof(struct config_keystore, field)
#define IN_ENTRY(field) offsetof(struct entry, field)
#define IN_RULE(field) offsetof(struct rule, field)

static const struct config_key root_keys[] = {
    {"trust_domain", config_read_trust_domain, IN_CONFIG(trust_domain), 0, 0, CONFIG_KEY_REQUIRED},
    {"data_dir", config_read_path, IN_CONFIG(data_dir), 0, 0, 0},
    {"run_dir", config_read_path, IN_CONFIG(run_dir), 0, 0, 0},
    {"log_level", config_read_log_level, IN_CONFIG(log_level), 0, 0, 0},
    {"delivered_max_ttl", config_read_duration, IN_CONFIG(delivered_max_ttl_s), TTL_MIN_S, DAY_S,
     0},
    {"key_pool_size", config_read_number, IN_CONFIG(key_pool_size), 0, 256, 0},
    {"connections_per_uid", config_read_number, IN_CONFIG(connections_per_uid), 1, 1000000, 0},
};

static const struct config_key tpm_keys[] = {
    {"tcti", config_read_text, IN_CONFIG(tcti), 0, 0, 0},
};

static const struct config_key keystore_keys[] = {
    {"type", config_read_keystore_type, IN_KEYSTORE(type), 0, 0, CONFIG_KEY_REQUIRED},
    {"module", config_read_module, IN_KEYSTORE(module), 0, 0, 0},
    {"token", config_read_token, IN_KEYSTORE(token), 0, 0, 0},
    {"pin", config_read_pin, IN_KEYSTORE(pin_path), 0, 0, 0},
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
    {"key", config_read_protection, IN_RULE(protection), 0, 0, 0},
    {"keystore", config_read_name, IN_RULE(keystore), 0, 0, 0},
    {"key_type", config_read_key_type, IN_RULE(key_type), 0, 0, 0},
};

static const struct config_key workload_keys[] = {
    {"sha256_limit", config_read_size, IN_CONFIG(sha256_limit_bytes), 0, (uint64_t)1 << 40, 0},
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
    if (!parse->entry) {
        parse->entry = NEW(struct entry);
        parse->entry->references = 1;
        parse->entry->is_configured = true;
    }
    return parse->entry;
}

static void *target_rule(struct config_parse *parse)
{
    return &parse->rule;
}

/* Room for one more; count is a power of two whenever memory grows. */
static void *grow(void *items, size_t count, size_t item_bytes)
{
    bool is_full = (count & (count - 1)) == 0;
    return is_full ? memory_resize_array(items, MAX(count * 2, (size_t)1), item_bytes) : items;
}

static void add_line(struct config_lines *lines, unsigned line)
{
    lines->items = grow(lines->items, lines->count, sizeof(*lines->items));
    lines->items[lines->count++] = line;
}

static int check_count(size_t count, size_t maximum, const char *what, struct error *err)
{
    return count < maximum ? 0
                           : error_set(err, ERROR_INVALID_ARGUMENT, "there are more than %zu %s",
                                       maximum, what);
}

static int finish_tpm(struct config_parse *parse, const char *title, unsigned line,
                      struct error *err)
{
    (void)title, (void)line, (void)err;
    if (!parse->config->tcti) {
        parse->config->tcti = memory_copy_text("device:/dev/tpmrm0");
    }
    return 0;
}

/* The keys that only one type of keystore has. */
static int check_keystore_type(const struct config_keystore *keystore, struct error *err)
{
    bool has_pkcs11_key = keystore->module || keystore->token || keystore->pin_path ||
                          keystore->is_isolated || keystore->workers > 0;
    if (keystore->type == CONFIG_KEYSTORE_TPM && has_pkcs11_key) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a keystore of type \"tpm\" has no key module, token, pin, isolate or "
                         "workers; which TPM it is stands in the block tpm");
    }
    if (keystore->type == CONFIG_KEYSTORE_PKCS11 && (!keystore->module || !keystore->token)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a keystore of type \"pkcs11\" needs the keys module and token");
    }
    return 0;
}

static int finish_keystore(struct config_parse *parse, const char *title, unsigned line,
                           struct error *err)
{
    struct config *config = parse->config;
    (void)line;
    TRY(config_read_name(NULL, title, &parse->keystore.name, err));
    if (strcmp(title, "memory") == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"memory\" names the agent's own memory; choose another name");
    }
    for (size_t i = 0; i < config->keystore_count; i++) {
        if (strcmp(config->keystores[i].name, title) == 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "there is another keystore of this name; names are unique");
        }
        if (parse->keystore.type == CONFIG_KEYSTORE_TPM &&
            config->keystores[i].type == CONFIG_KEYSTORE_TPM) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "there is another keystore of type \"tpm\"; a host has one TPM");
        }
    }
    TRY(check_keystore_type(&parse->keystore, err));
    TRY(check_count(config->keystore_count, KEYSTORES_MAX, "keystores", err));
    parse->keystore.workers = MAX(parse->keystore.workers, 1U);
    config->keystores = grow(config->keystores, config->keystore_count, sizeof(*config->keystores));
    config->keystores[config->keystore_count++] = parse->keystore;
    parse->keystore = (struct config_keystore){0};
    return 0;
}

static int finish_issuer(struct config_parse *parse, const char *title, unsigned line,
                         struct error *err)
{
    parse->issuer_line = line;
    if (strcmp(title, "embedded") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is no issuer of this kind; expected issuer \"embedded\"");
    }
    return 0;
}

static int finish_entry(struct config_parse *parse, const char *title, unsigned line,
                        struct error *err)
{
    struct config *config = parse->config;
    struct entry *entry = target_entry(parse);
    TRY(spiffe_id_check(title, err));
    TRY(check_count(config->entry_count, ENTRIES_MAX, "entries", err));
    entry->spiffe_id = memory_copy_text(title);
    if (!entry->hint) {
        entry->hint = memory_copy_text("");
    }
    config->entries = grow(config->entries, config->entry_count, sizeof(void *));
    config->entries[config->entry_count++] = take_ptr(parse->entry);
    add_line(&parse->entry_lines, line);
    return 0;
}

static int finish_rule(struct config_parse *parse, const char *title, unsigned line,
                       struct error *err)
{
    struct rules *rules = &parse->config->rules;
    TRY(spiffe_pattern_check(title, err));
    TRY(check_count(rules->count, RULES_MAX, "rules", err));
    if (parse->rule.protection != KEY_PROTECTION_HARDWARE && parse->rule.keystore) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "keys that are %s are made in the agent's memory; leave out the key "
                         "keystore",
                         key_protection_name(parse->rule.protection));
    }
    for (size_t i = 0; i < rules->count; i++) {
        if (strcmp(rules->items[i].pattern, title) == 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "line %u has a rule of the same pattern; the first match wins, so "
                             "this one would never apply",
                             parse->rule_lines.items[i]);
        }
    }
    parse->rule.pattern = memory_copy_text(title);
    rules->items = grow(rules->items, rules->count, sizeof(*rules->items));
    rules->items[rules->count++] = parse->rule;
    parse->rule = (struct rule){0};
    add_line(&parse->rule_lines, line);
    return 0;
}

static int finish_nothing(struct config_parse *parse, const char *title, unsigned line,
                          struct error *err)
{
    (void)parse, (void)title, (void)line, (void)err;
    return 0;
}

#define KEYS(table) table, ARRAY_SIZE(table)

const struct config_block config_blocks[] = {
    {"root", NULL, false, KEYS(root_keys), target_config, finish_nothing},
    {"tpm", NULL, false, KEYS(tpm_keys), target_config, finish_tpm},
    {"keystore", "its name", true, KEYS(keystore_keys), target_keystore, finish_keystore},
    {"issuer", "its kind", false, KEYS(issuer_keys), target_config, finish_issuer},
    {"entry", "a SPIFFE ID", true, KEYS(entry_keys), target_entry, finish_entry},
    {"rule", "a pattern", true, KEYS(rule_keys), target_rule, finish_rule},
    {"workload", NULL, false, KEYS(workload_keys), target_config, finish_nothing},
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

void config_keystore_clear(struct config_keystore *keystore)
{
    free(keystore->name);
    free(keystore->module);
    free(keystore->token);
    free(keystore->pin_path);
    *keystore = (struct config_keystore){0};
}

void config_parse_clear(struct config_parse *parse)
{
    config_keystore_clear(&parse->keystore);
    entry_unref_cleanup(&parse->entry);
    free(parse->rule.pattern);
    free(parse->rule.keystore);
    config_scan_clear(&parse->scan);
    free(parse->entry_lines.items);
    free(parse->rule_lines.items);
}
