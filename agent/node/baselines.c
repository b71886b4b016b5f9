/* Accepted sets of PCR values: those of the configuration, and those that commands record and
 * announce, which are kept in a file of the data folder. */
#include <string.h>

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { FILE_LIMIT_BYTES = 4 << 20 };

bool node_baseline_is_announced(const struct baseline *baseline)
{
    return baseline->open_mask || baseline->ends_at_s || baseline->announced_at_reset;
}

int node_baselines_open(struct node *node, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    struct error failure;
    if (buffer_read_file(node->baselines_path, FILE_LIMIT_BYTES, &text, &failure) < 0) {
        if (failure.code != ERROR_NOT_FOUND) {
            return error_set(err, failure.code, "%s", failure.text);
        }
    } else if (baselines_parse(buffer_bytes(&text), &node->recorded, err) < 0) {
        return error_prepend(err, "reading the recorded baselines in %s", node->baselines_path);
    }
    node_baselines_join(node);
    if (!node->memory.is_known) {
        node_baselines_forget_open(node); /* of whose AK cannot be told any more */
    }
    return 0;
}

/* A register that is selected now and was not when the baseline was made would have any value. */
static bool is_covering(const struct baseline *baseline, const struct pcr_selection *selection)
{
    uint32_t values[PCR_BANKS_MAX] = {0};
    size_t banks = 0;
    for (size_t i = 0; i < selection->count; i++) {
        const struct pcr_bank *bank = pcr_set_bank(&baseline->pcrs, selection->banks[i].bank);
        values[i] = bank ? bank->mask : 0;
        banks += bank != NULL;
    }
    for (size_t i = 0; i < selection->count; i++) {
        uint32_t wanted = selection->banks[i].mask;
        if ((values[i] & ~wanted) || (wanted & ~(values[i] | baseline->open_mask))) {
            return false;
        }
    }
    return banks == baseline->pcrs.count;
}

/* What is selected has changed since, maybe; those of the settings were checked with them. */
static void find_in_force(struct node *node)
{
    const struct pcr_selection *selection = &node->settings.selection;
    _cleanup_(free_cleanup) char *text = pcr_selection_text(selection);
    baselines_clear(&node->in_force);
    for (size_t i = 0; i < node->accepted.count; i++) {
        const struct baseline *baseline = &node->accepted.items[i];
        if (baseline->is_configured || selection->count == 0 || is_covering(baseline, selection)) {
            (void)baselines_add(&node->in_force, baseline, NULL);
        } else {
            log_warning("node: the baseline %s does not count: it is not of the registers that "
                        "node { } of the configuration has in pcrs, which are %s; record another "
                        "one, and remove it",
                        baseline->name, text);
        }
    }
}

void node_baselines_join(struct node *node)
{
    const struct baselines *sets[] = {&node->settings.baselines, &node->recorded};
    struct error err;
    baselines_clear(&node->accepted);
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        for (size_t j = 0; j < sets[i]->count; j++) {
            if (baselines_add(&node->accepted, &sets[i]->items[j], &err) < 0) {
                log_warning("node: a baseline does not count: %s", err.text);
            }
        }
    }
    find_in_force(node);
}

static int save(struct node *node, const struct baselines *recorded, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    baselines_format(recorded, &text);
    return file_write_atomic(node->baselines_path, buffer_bytes(&text), 0600, err);
}

void node_baselines_copy(struct baselines *to, const struct baselines *from)
{
    for (size_t i = 0; i < from->count; i++) {
        (void)baselines_add(to, &from->items[i], NULL);
    }
}

/* On the disk first; then they count. recorded is taken, whatever comes of it. */
static int replace(struct node *node, struct baselines *recorded, struct error *err)
{
    if (save(node, recorded, err) < 0) {
        baselines_clear(recorded);
        return -1;
    }
    baselines_clear(&node->recorded);
    node->recorded = *recorded;
    node_baselines_join(node);
    return 0;
}

int node_baselines_add(struct node *node, const struct baseline *baseline, struct error *err)
{
    struct baselines wanted = {0};
    struct baselines recorded = {0};
    node_baselines_copy(&wanted, &node->accepted);
    int result = baselines_add(&wanted, baseline, err); /* names count over both sets */
    baselines_clear(&wanted);
    if (result < 0) {
        return -1;
    }
    node_baselines_copy(&recorded, &node->recorded);
    (void)baselines_add(&recorded, baseline, NULL);
    return replace(node, &recorded, err);
}

int node_baseline_remove(struct node *node, const char *name, struct error *err)
{
    struct baselines recorded = {0};
    if (baselines_find(&node->settings.baselines, name)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "removing the baseline \"%.63s\": it is in the configuration; take it out "
                         "there and run signet reload",
                         name);
    }
    node_baselines_copy(&recorded, &node->recorded);
    if (baselines_remove(&recorded, name, err) < 0) {
        baselines_clear(&recorded);
        return -1;
    }
    TRY(replace(node, &recorded, err));
    log_warning("node: baseline removed name=%s", name);
    node_attest_anew(node, NULL, NULL);
    return 0;
}

void node_baselines_forget_open(struct node *node)
{
    struct baselines kept = {0};
    struct error err;
    for (size_t i = 0; i < node->recorded.count; i++) {
        const struct baseline *baseline = &node->recorded.items[i];
        if (baseline->open_mask) {
            log_warning("node: the announced baseline %s is dropped: the attestation key that it "
                        "was announced with is not known any more; announce it again",
                        baseline->name);
        } else {
            (void)baselines_add(&kept, baseline, NULL);
        }
    }
    if (kept.count == node->recorded.count) {
        baselines_clear(&kept);
        return;
    }
    if (save(node, &kept, &err) < 0) {
        log_error("node: the baselines that were dropped are still on the disk: %s", err.text);
    }
    baselines_clear(&node->recorded);
    node->recorded = kept;
    node_baselines_join(node);
}

/* It is a recorded one from now on, of exactly what was seen. */
static void write_down(const struct verdict *verdict, struct baseline *baseline)
{
    for (size_t i = 0; i < verdict->pcrs.count; i++) {
        const struct pcr_bank *bank = &verdict->pcrs.banks[i];
        size_t size = hash_by_id(bank->bank)->size;
        for (unsigned j = 0; j < PCR_COUNT; j++) {
            if ((bank->mask & baseline->open_mask) >> j & 1) {
                (void)pcr_set_put(&baseline->pcrs, bank->bank, j,
                                  (struct bytes){bank->values[j], size}, NULL);
            }
        }
    }
    baseline->open_mask = 0;
    baseline->ends_at_s = 0;
    baseline->announced_at_reset = 0;
}

void node_baselines_seen(struct node *node)
{
    const struct baseline *seen = baselines_find(&node->recorded, node->verdict.baseline);
    struct baselines recorded = {0};
    struct error err;
    if (!seen || !node_baseline_is_announced(seen)) {
        return;
    }
    node_baselines_copy(&recorded, &node->recorded);
    write_down(&node->verdict, baselines_find(&recorded, node->verdict.baseline));
    if (replace(node, &recorded, &err) < 0) {
        log_error("node: the announced baseline %s was seen, and that cannot be written down: %s",
                  node->verdict.baseline, err.text);
        return;
    }
    _cleanup_(free_cleanup) char *detail = text_format(
        "the announced baseline \"%s\" was seen and is recorded", node->verdict.baseline);
    const struct audit_event event = {
        .action = AUDIT_RULES_CHANGED, .decider = AUDIT_DECIDER_NODE, .detail = detail};
    log_warning("node: %s", detail);
    if (node->config.audit) {
        audit_write(node->config.audit, &event);
    }
}
