#include "agent/config_finish.h"

#include <string.h>

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"

enum { KEYSTORES_MAX = 16, RULES_MAX = 16384, ENTRIES_MAX = 100000 };

/* Room for one more; count is a power of two whenever memory grows. */
static void *grow(void *items, size_t count, size_t item_bytes)
{
    bool is_full = (count & (count - 1)) == 0;
    return is_full ? memory_resize_array(items, MAX(count * 2, (size_t)1), item_bytes) : items;
}

void config_add_line(struct config_lines *lines, unsigned line)
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

int config_finish_tpm(struct config_parse *parse, const char *title, unsigned line,
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
    bool has_pkcs11_key = keystore->module || keystore->token || keystore->pin.path ||
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

int config_finish_keystore(struct config_parse *parse, const char *title, unsigned line,
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

int config_finish_issuer(struct config_parse *parse, const char *title, unsigned line,
                         struct error *err)
{
    parse->issuer_line = line;
    if (strcmp(title, "embedded") != 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is no issuer of this kind; expected issuer \"embedded\"");
    }
    return 0;
}

struct entry *config_open_entry(struct config_parse *parse)
{
    if (!parse->entry) {
        parse->entry = NEW(struct entry);
        parse->entry->references = 1;
        parse->entry->is_configured = true;
    }
    return parse->entry;
}

int config_finish_entry(struct config_parse *parse, const char *title, unsigned line,
                        struct error *err)
{
    struct config *config = parse->config;
    struct entry *entry = config_open_entry(parse);
    TRY(spiffe_id_check(title, err));
    TRY(check_count(config->entry_count, ENTRIES_MAX, "entries", err));
    entry->spiffe_id = memory_copy_text(title);
    if (!entry->hint) {
        entry->hint = memory_copy_text("");
    }
    config->entries = grow(config->entries, config->entry_count, sizeof(void *));
    config->entries[config->entry_count++] = take_ptr(parse->entry);
    config_add_line(&parse->entry_lines, line);
    return 0;
}

/* A delivered key signs in the workload's own memory. */
static int check_delivered(const struct rule *rule, struct error *err)
{
    const struct {
        const char *key;
        bool is_there;
    } keys[] = {{"sign_rate", rule->sign_rate > 0}, {"max_uses", rule->max_uses > 0}};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (rule->protection == KEY_PROTECTION_DELIVERED && keys[i].is_there) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "%s cannot be kept where key is \"delivered\": the workload has the "
                             "key, and the agent never sees it used; leave it out, or choose "
                             "\"hardware\" or \"guarded\"",
                             keys[i].key);
        }
    }
    return 0;
}

static int check_rule(const struct config_rule *open, struct error *err)
{
    const struct rule *rule = &open->rule;
    if (rule->protection != KEY_PROTECTION_HARDWARE && rule->keystore) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "keys that are %s are made in the agent's memory; leave out the key "
                         "keystore",
                         key_protection_name(rule->protection));
    }
    TRY(check_delivered(rule, err));
    if (rule->sign_burst > 0 && rule->sign_rate == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "sign_burst says how far sign_rate may be exceeded for a moment; add "
                         "sign_rate or leave it out");
    }
    if (open->time_zone && !open->hours) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "time_zone says where the clock of hours hangs; add hours or leave it "
                         "out");
    }
    return 0;
}

/* Rules mostly share their hours: one that says the same as the rule before has the very same. */
static int open_hours(struct config_rule *open, const struct rules *before, struct error *err)
{
    const char *zone = open->time_zone ? open->time_zone : "UTC";
    const struct rule *last = before->count > 0 ? &before->items[before->count - 1] : NULL;
    if (!open->hours) {
        return 0;
    }
    _cleanup_(free_cleanup) char *text = text_format("%s %s", open->hours, zone);
    if (last && last->hours && strcmp(schedule_text(last->hours), text) == 0) {
        open->rule.hours = schedule_ref(last->hours);
        return 0;
    }
    return schedule_new(open->hours, zone, &open->rule.hours, err);
}

int config_finish_rule(struct config_parse *parse, const char *title, unsigned line,
                       struct error *err)
{
    struct rules *rules = &parse->config->rules;
    struct config_rule *open = &parse->rule;
    TRY(spiffe_pattern_check(title, err));
    TRY(check_count(rules->count, RULES_MAX, "rules", err));
    TRY(check_rule(open, err));
    TRY(open_hours(open, rules, err));
    text_list_sort_unique(&open->rule.executables);
    open->rule.pattern = memory_copy_text(title);
    rules->items = grow(rules->items, rules->count, sizeof(*rules->items));
    rules->items[rules->count++] = open->rule;
    open->rule = (struct rule){0};
    config_rule_clear(open);
    config_add_line(&parse->rule_lines, line);
    return 0;
}

int config_finish_audit(struct config_parse *parse, const char *title, unsigned line,
                        struct error *err)
{
    (void)title, (void)err;
    parse->audit_line = line;
    return 0;
}

int config_finish_policy(struct config_parse *parse, const char *title, unsigned line,
                         struct error *err)
{
    (void)title;
    parse->config->has_outside = true;
    parse->policy_line = line;
    return outside_check(&parse->config->outside, err);
}

int config_finish_nothing(struct config_parse *parse, const char *title, unsigned line,
                          struct error *err)
{
    (void)parse, (void)title, (void)line, (void)err;
    return 0;
}

void config_keystore_clear(struct config_keystore *keystore)
{
    free(keystore->name);
    free(keystore->module);
    free(keystore->token);
    free(keystore->pin.path);
    *keystore = (struct config_keystore){0};
}

void config_rule_clear(struct config_rule *open)
{
    rule_clear(&open->rule);
    free(open->hours);
    free(open->time_zone);
    *open = (struct config_rule){0};
}

void config_parse_clear(struct config_parse *parse)
{
    config_keystore_clear(&parse->keystore);
    entry_unref_cleanup(&parse->entry);
    config_rule_clear(&parse->rule);
    config_scan_clear(&parse->scan);
    free(parse->entry_lines.items);
    free(parse->rule_lines.items);
    free(parse->baseline_lines.items);
}
