#include "agent/node/settings.h"

#include "lib/base/memory.h"

const char *node_on_failure_name(enum node_on_failure on_failure)
{
    static const char *const names[] = {
        [NODE_LOCK] = "lock", [NODE_DENY_NEW] = "deny_new", [NODE_WARN] = "warn"};
    return names[on_failure];
}

int node_settings_trust(const struct node_settings *settings, struct ek_trust **ret_trust,
                        struct error *err)
{
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = NULL;
    if (settings->ek_ca || settings->ek_hashes.count > 0) {
        trust = ek_trust_new();
    }
    if (settings->ek_ca && ek_trust_add_folder(trust, settings->ek_ca, err) < 0) {
        return error_prepend(err, "ek_ca");
    }
    for (size_t i = 0; i < settings->ek_hashes.count; i++) {
        if (ek_trust_add_hash(trust, settings->ek_hashes.items[i], err) < 0) {
            return error_prepend(err, "ek_hashes");
        }
    }
    *ret_trust = take_ptr(trust);
    return 0;
}

int node_settings_check(const struct node_settings *settings, struct error *err)
{
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = NULL;
    return node_settings_trust(settings, &trust, err);
}

static void copy_baselines(struct baselines *to, const struct baselines *from)
{
    *to = (struct baselines){0};
    for (size_t i = 0; i < from->count; i++) {
        (void)baselines_add(to, &from->items[i], NULL);
    }
}

void node_settings_copy(struct node_settings *to, const struct node_settings *from)
{
    *to = *from;
    to->keystore = memory_copy_text(from->keystore);
    to->ek_ca = memory_copy_text(from->ek_ca);
    to->event_log_path = memory_copy_text(from->event_log_path);
    to->ima_path = memory_copy_text(from->ima_path);
    to->ek_hashes = to->facts = (struct text_list){0};
    text_list_copy(&to->ek_hashes, &from->ek_hashes);
    text_list_copy(&to->facts, &from->facts);
    copy_baselines(&to->baselines, &from->baselines);
}

void node_settings_clear(struct node_settings *settings)
{
    free(settings->keystore);
    free(settings->ek_ca);
    free(settings->event_log_path);
    free(settings->ima_path);
    text_list_clear(&settings->ek_hashes);
    text_list_clear(&settings->facts);
    baselines_clear(&settings->baselines);
    *settings = (struct node_settings){0};
}
