#include <string.h>

#include "agent/config_block.h"
#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

/* The longest path of a socket (unix(7)), its NUL not counted. */
enum { SOCKET_PATH_MAX_BYTES = 107 };

static int fail_file(const struct config_parse *parse, const char *what, struct error *err)
{
    return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", parse->name, what);
}

static int check_folders(const struct config_parse *parse, struct error *err)
{
    static const char longest[] = "/pkcs11.sock";
    const struct config *config = parse->config;
    if (strlen(config->run_dir) + sizeof(longest) - 1 > SOCKET_PATH_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s: run_dir is too long for the sockets in it: \"%.128s%s\" has more "
                         "than the %d bytes that a socket's path may have",
                         parse->name, config->run_dir, longest, SOCKET_PATH_MAX_BYTES);
    }
    if (strcmp(config->run_dir, config->data_dir) == 0) {
        return fail_file(parse,
                         "run_dir and data_dir are one folder; everybody enters the first, nobody "
                         "the second",
                         err);
    }
    return 0;
}

static const struct config_keystore *find_keystore(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->keystore_count; i++) {
        if (strcmp(config->keystores[i].name, name) == 0) {
            return &config->keystores[i];
        }
    }
    return NULL;
}

static int check_keystore_name(const struct config_parse *parse, const char *name, unsigned line,
                               struct error *err)
{
    return find_keystore(parse->config, name)
               ? 0
               : error_set(err, ERROR_INVALID_ARGUMENT,
                           "%s:%u: keystore = \"%s\": there is no block keystore \"%s\"",
                           parse->name, line, name, name);
}

static int check_keystores(const struct config_parse *parse, struct error *err)
{
    const struct config *config = parse->config;
    if (config->keystore_count == 0) {
        return fail_file(parse,
                         "there is no block keystore; keys need one, such as "
                         "keystore \"tpm\" { type = \"tpm\" }",
                         err);
    }
    for (size_t i = 0; i < config->keystore_count; i++) {
        if (config->keystores[i].type == CONFIG_KEYSTORE_TPM && !config->tcti) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "%s: keystore \"%s\" is of type \"tpm\", but there is no block tpm; "
                             "add tpm { tcti = \"device:/dev/tpmrm0\" }",
                             parse->name, config->keystores[i].name);
        }
        if (config->keystores[i].pin.kind == PIN_TPM_SEALED && !config->tcti) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "%s: the pin of keystore \"%s\" is sealed to the TPM, but there is no "
                             "block tpm; add tpm { tcti = \"device:/dev/tpmrm0\" }",
                             parse->name, config->keystores[i].name);
        }
    }
    return 0;
}

static int check_issuer(const struct config_parse *parse, struct error *err)
{
    const struct config *config = parse->config;
    if (parse->issuer_line == 0) {
        return fail_file(parse,
                         "there is no block issuer; expected issuer \"embedded\" "
                         "{ keystore = \"NAME\" }",
                         err);
    }
    TRY(check_keystore_name(parse, config->issuer.keystore, parse->issuer_line, err));
    /* The next CA takes over at about half of the life of the one before. */
    if (config->issuer.ca_ttl_s / 2 < config->issuer.x509_svid_ttl_s) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s:%u: ca_ttl of %us is less than twice the x509_svid_ttl of %us; no "
                         "SVID outlives the CA that signed it, and a CA is replaced at half of "
                         "its life",
                         parse->name, parse->issuer_line, config->issuer.ca_ttl_s,
                         config->issuer.x509_svid_ttl_s);
    }
    if (config->issuer.ca_ttl_s < config->issuer.jwt_svid_ttl_s) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s:%u: ca_ttl of %us is less than the jwt_svid_ttl of %us", parse->name,
                         parse->issuer_line, config->issuer.ca_ttl_s,
                         config->issuer.jwt_svid_ttl_s);
    }
    return 0;
}

static int check_is_in_trust_domain(const struct config_parse *parse, const char *pattern,
                                    struct error *err)
{
    const char *trust_domain = parse->config->trust_domain;
    if (strcmp(pattern, "*") == 0 || spiffe_id_is_in(pattern, trust_domain)) {
        return 0;
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%.200s\" would never apply; identities here begin with \"spiffe://%s/\"",
                     pattern, trust_domain);
}

static int check_rule(const struct config_parse *parse, size_t index, struct error *err)
{
    const struct rules *rules = &parse->config->rules;
    const struct rule *rule = &rules->items[index];
    const struct rule *before = rules_shadowing(rules, index);
    unsigned line = parse->rule_lines.items[index];
    if (rule->keystore) {
        TRY(check_keystore_name(parse, rule->keystore, line, err));
    }
    if (check_is_in_trust_domain(parse, rule->pattern, err) < 0) {
        return error_prepend(err, "%s:%u: rule", parse->name, line);
    }
    if (before && strcmp(before->pattern, rule->pattern) == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s:%u: rule \"%.200s\": line %u has a rule of the same pattern; the "
                         "first match wins, so this one would never apply",
                         parse->name, line, rule->pattern,
                         parse->rule_lines.items[before - rules->items]);
    }
    return 0;
}

static int check_rules(const struct config_parse *parse, struct error *err)
{
    for (size_t i = 0; i < parse->config->rules.count; i++) {
        TRY(check_rule(parse, i, err));
    }
    return 0;
}

static int check_audit(const struct config_parse *parse, struct error *err)
{
    const struct config *config = parse->config;
    if (strcmp(config->audit.folder, config->data_dir) == 0 ||
        strcmp(config->audit.folder, config->run_dir) == 0) {
        return fail_file(
            parse, "audit: dir is data_dir or run_dir itself; the log has a folder of its own",
            err);
    }
    return check_keystore_name(parse, config->audit.keystore, parse->audit_line, err);
}

static int check_policy(const struct config_parse *parse, struct error *err)
{
    const struct text_list *patterns = &parse->config->outside.continue_for;
    for (size_t i = 0; i < patterns->count; i++) {
        if (check_is_in_trust_domain(parse, patterns->items[i], err) < 0) {
            return error_prepend(err, "%s:%u: policy: continue_for", parse->name,
                                 parse->policy_line);
        }
    }
    return 0;
}

static int check_entry(const struct config *config, struct entry *entry, struct error *err)
{
    TRY(entry_check(entry, config->trust_domain, err));
    uint32_t longest_s = MAX(entry->x509_svid_ttl_s, entry->jwt_svid_ttl_s);
    if (longest_s > config->issuer.ca_ttl_s) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "its SVIDs would live for %us, longer than the CA (ca_ttl of %us)",
                         longest_s, config->issuer.ca_ttl_s);
    }
    entry->id = entry_configured_id(entry);
    return 0;
}

struct placed_entry {
    const struct entry *entry;
    unsigned line;
};

static int compare_ids(const void *a, const void *b)
{
    const struct placed_entry *entry_a = a, *entry_b = b;
    int order = strcmp(entry_a->entry->id, entry_b->entry->id);
    return order != 0 ? order : (entry_a->line > entry_b->line) - (entry_a->line < entry_b->line);
}

/* One id, that is one SPIFFE ID with the same selectors. */
static int check_duplicate_entries(const struct config_parse *parse, struct error *err)
{
    size_t count = parse->config->entry_count;
    _cleanup_(free_cleanup) struct placed_entry *sorted = memory_new_array(count, sizeof(*sorted));
    for (size_t i = 0; i < count; i++) {
        sorted[i] = (struct placed_entry){parse->config->entries[i], parse->entry_lines.items[i]};
    }
    qsort(sorted, count, sizeof(*sorted), compare_ids);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(sorted[i - 1].entry->id, sorted[i].entry->id) == 0) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "%s:%u: entry \"%.200s\": line %u has the same entry; each SPIFFE ID "
                             "with the same selectors stands once",
                             parse->name, sorted[i].line, sorted[i].entry->spiffe_id,
                             sorted[i - 1].line);
        }
    }
    return 0;
}

static int check_entries(const struct config_parse *parse, struct error *err)
{
    const struct config *config = parse->config;
    for (size_t i = 0; i < config->entry_count; i++) {
        if (check_entry(config, config->entries[i], err) < 0) {
            return error_prepend(err, "%s:%u", parse->name, parse->entry_lines.items[i]);
        }
    }
    return check_duplicate_entries(parse, err);
}

int config_check(struct config_parse *parse, struct error *err)
{
    static int (*const checks[])(const struct config_parse *parse, struct error *err) = {
        check_folders, check_keystores, check_issuer, check_rules,
        check_entries, check_audit,     check_policy, config_check_node};
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        TRY(checks[i](parse, err));
    }
    return 0;
}
