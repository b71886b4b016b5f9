/* The blocks node and baseline: what this host has to prove. */
#include <string.h>

#include "agent/config_finish.h"
#include "attest/host/counter.h"
#include "attest/host/host.h"
#include "lib/base/memory.h"

enum { REATTEST_DEFAULT_S = 3600 };

void config_node_defaults(struct node_settings *settings)
{
    settings->event_log_path = memory_copy_text(ATTEST_HOST_EVENT_LOG);
    settings->resets = RESET_ALLOW;
    settings->ak_type = KEY_TYPE_EC_P256;
    settings->reattest_interval_s = REATTEST_DEFAULT_S;
    settings->on_failure = NODE_LOCK;
    settings->counter_index = COUNTER_INDEX_DEFAULT;
}

int config_finish_node(struct config_parse *parse, const char *title, unsigned line,
                       struct error *err)
{
    (void)title, (void)err;
    parse->config->has_node = true;
    parse->node_line = line;
    return 0;
}

int config_finish_baseline(struct config_parse *parse, const char *title, unsigned line,
                           struct error *err)
{
    struct baseline *baseline = &parse->baseline;
    struct baselines *all = &parse->config->node.baselines;
    if (strnlen(title, BASELINE_NAME_MAX + 1) > BASELINE_NAME_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a name has at most %d bytes",
                         BASELINE_NAME_MAX);
    }
    memcpy(baseline->name, title, strlen(title) + 1);
    baseline->is_configured = true;
    if (baselines_find(all, title)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "there is another baseline of this name; names are unique");
    }
    TRY(baselines_add(all, baseline, err));
    *baseline = (struct baseline){0};
    config_add_line(&parse->baseline_lines, line);
    return 0;
}

/* The keystore of type "tpm": named, or the one that there is. */
static int choose_keystore(const struct config_parse *parse, struct error *err)
{
    struct config *config = parse->config;
    struct node_settings *settings = &config->node;
    const struct config_keystore *found = NULL;
    for (size_t i = 0; i < config->keystore_count; i++) {
        const struct config_keystore *keystore = &config->keystores[i];
        if (settings->keystore ? strcmp(keystore->name, settings->keystore) == 0
                               : keystore->type == CONFIG_KEYSTORE_TPM) {
            found = keystore;
        }
    }
    if (!found && settings->keystore) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "keystore = \"%s\": there is no block keystore \"%s\"", settings->keystore,
                         settings->keystore);
    }
    if (!found || found->type != CONFIG_KEYSTORE_TPM) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "a node is attested by its TPM: %s%s%s; add keystore \"tpm\" "
                         "{ type = \"tpm\" }",
                         found ? "the keystore \"" : "there is no keystore of type \"tpm\"",
                         found ? found->name : "", found ? "\" is not of type \"tpm\"" : "");
    }
    if (!settings->keystore) {
        settings->keystore = memory_copy_text(found->name);
    }
    return 0;
}

/* The mask of a bank in the selection; 0: it is not there. */
static uint32_t selected_mask(const struct pcr_selection *selection, TPM2_ALG_ID bank)
{
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].bank == bank) {
            return selection->banks[i].mask;
        }
    }
    return 0;
}

static int check_baseline(const struct baseline *baseline, const struct pcr_selection *selection,
                          struct error *err)
{
    _cleanup_(free_cleanup) char *wanted = pcr_selection_text(selection);
    bool is_same = selection->count == baseline->pcrs.count;
    for (size_t i = 0; i < baseline->pcrs.count; i++) {
        const struct pcr_bank *bank = &baseline->pcrs.banks[i];
        is_same = is_same && selected_mask(selection, bank->bank) == bank->mask;
    }
    return is_same ? 0
                   : error_set(err, ERROR_INVALID_ARGUMENT,
                               "it has to have exactly the registers that the block node has in "
                               "pcrs: \"%s\"",
                               wanted);
}

static int check_baselines(const struct config_parse *parse, struct error *err)
{
    const struct node_settings *settings = &parse->config->node;
    for (size_t i = 0; i < settings->baselines.count; i++) {
        const struct baseline *baseline = &settings->baselines.items[i];
        int result = parse->config->has_node
                         ? check_baseline(baseline, &settings->selection, err)
                         : error_set(err, ERROR_INVALID_ARGUMENT,
                                     "there is no block node that it could be for");
        if (result < 0) {
            return error_prepend(err, "%s:%u: baseline \"%s\"", parse->name,
                                 parse->baseline_lines.items[i], baseline->name);
        }
    }
    return 0;
}

static int check_node(const struct config_parse *parse, struct error *err)
{
    const struct node_settings *settings = &parse->config->node;
    TRY(choose_keystore(parse, err));
    if (settings->facts.count > 0 && (!settings->event_log_path || !settings->selection.count)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "facts are drawn from the event log and believed through registers: they "
                         "need pcrs, and an event_log that is not \"none\"");
    }
    return node_settings_check(settings, err);
}

int config_check_node(const struct config_parse *parse, struct error *err)
{
    if (parse->config->has_node && check_node(parse, err) < 0) {
        return error_prepend(err, "%s:%u: node", parse->name, parse->node_line);
    }
    return check_baselines(parse, err);
}
