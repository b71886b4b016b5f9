/* Baselines by command: what is there now is recorded, what is to come announced. */
#include <string.h>

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* A change by command is answered when the node was attested with it, or will not be any more. */

struct change {
    struct node *node;
    struct baseline baseline;
    node_baseline_done *done;
    void *user;
};

static void change_took_effect(void *user)
{
    struct change *change = user;
    struct error err;
    bool is_cancelled = node_check_running(change->node, &err) < 0;
    if (is_cancelled) {
        (void)error_prepend(&err, "the baseline \"%s\" is kept, and counts at the next start",
                            change->baseline.name);
    }
    change->done(change->user, &change->baseline, is_cancelled ? &err : NULL);
    free(change);
}

static void change_failed(struct change *change, const struct error *failure)
{
    change->done(change->user, NULL, failure);
    free(change);
}

static void take_effect(struct change *change)
{
    struct error err;
    if (node_baselines_add(change->node, &change->baseline, &err) < 0) {
        change_failed(change, &err);
        return;
    }
    log_warning("node: baseline %s name=%s",
                node_baseline_is_announced(&change->baseline) ? "announced" : "recorded",
                change->baseline.name);
    node_attest_anew(change->node, change_took_effect, change);
}

/* Recording. */

struct record_job {
    struct node_job job;
    struct change *change;
    struct pcr_selection selection;
    bool is_failed;
    struct error failure;
};

static void record_work(struct node_job *job)
{
    struct record_job *record = container_of(job, struct record_job, job);
    struct node_tpm *tpm = &job->node->tpm;
    record->is_failed = node_tpm_open(tpm, &record->failure) < 0 ||
                        attest_host_read_pcrs(tpm->host, &record->selection,
                                              &record->change->baseline.pcrs, &record->failure) < 0;
}

static void record_after(struct node_job *job, bool is_cancelled)
{
    struct record_job *record = container_of(job, struct record_job, job);
    struct change *change = record->change;
    if (is_cancelled) {
        record->is_failed = node_check_running(job->node, &record->failure) < 0;
    }
    if (record->is_failed) {
        (void)error_prepend(&record->failure, "recording the baseline \"%s\"",
                            change->baseline.name);
        change_failed(change, &record->failure);
    } else {
        change->baseline.made_at_s = clock_now_s();
        take_effect(change);
    }
    free(record);
}

static struct change *change_new(struct node *node, const char *name, node_baseline_done *done,
                                 void *user)
{
    struct change *change = NEW(struct change);
    *change = (struct change){.node = node, .done = done, .user = user};
    memcpy(change->baseline.name, name, strlen(name) + 1); /* it was checked */
    return change;
}

static int check_name(const struct node *node, const char *name, struct error *err)
{
    struct baseline trial = {0};
    struct baselines all = {0};
    if (strnlen(name, BASELINE_NAME_MAX + 1) > BASELINE_NAME_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "the name of a baseline has at most %d bytes",
                         BASELINE_NAME_MAX);
    }
    memcpy(trial.name, name, strlen(name) + 1);
    node_baselines_copy(&all, &node->accepted);
    int result = baselines_add(&all, &trial, err);
    baselines_clear(&all);
    return result;
}

static uint32_t mask_of(const struct pcr_selection *selection, TPM2_ALG_ID bank)
{
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].bank == bank) {
            return selection->banks[i].mask;
        }
    }
    return 0;
}

/* Of other registers than those that are quoted it would never be accepted. */
static int check_selection(const struct node *node, const struct pcr_selection *selection,
                           struct error *err)
{
    const struct pcr_selection *quoted = &node->settings.selection;
    bool is_same = quoted->count > 0 && selection->count == quoted->count;
    for (size_t i = 0; i < quoted->count; i++) {
        is_same = is_same && mask_of(selection, quoted->banks[i].bank) == quoted->banks[i].mask;
    }
    _cleanup_(free_cleanup) char *text = pcr_selection_text(quoted);
    return is_same ? 0
                   : error_set(err, ERROR_FAILED_PRECONDITION,
                               "a baseline has the registers that node { } of the configuration "
                               "has in pcrs, which are: %s",
                               quoted->count ? text : "none");
}

void node_baseline_record(struct node *node, const char *name,
                          const struct pcr_selection *selection, node_baseline_done *done,
                          void *user)
{
    struct error err;
    selection = selection && selection->count > 0 ? selection : &node->settings.selection;
    if (node_check_running(node, &err) < 0 || check_name(node, name, &err) < 0 ||
        check_selection(node, selection, &err) < 0) {
        done(user, NULL, &err);
        return;
    }
    struct record_job *record = NEW(struct record_job);
    record->job.work = record_work;
    record->job.after = record_after;
    record->change = change_new(node, name, done, user);
    record->selection = *selection;
    node_submit(node, &record->job);
}

/* Announcing. */

/* The registers that are given must be among those that are quoted. */
static int check_wanted(const struct node *node, const struct baseline *wanted, struct error *err)
{
    const struct pcr_selection *quoted = &node->settings.selection;
    uint32_t all = 0;
    for (size_t i = 0; i < quoted->count; i++) {
        all |= quoted->banks[i].mask;
    }
    bool is_within = (wanted->open_mask & ~all) == 0;
    for (size_t i = 0; i < wanted->pcrs.count; i++) {
        const struct pcr_bank *bank = &wanted->pcrs.banks[i];
        is_within = is_within && (bank->mask & ~mask_of(quoted, bank->bank)) == 0 &&
                    (bank->mask & wanted->open_mask) == 0;
    }
    if (!is_within) {
        _cleanup_(free_cleanup) char *text = pcr_selection_text(quoted);
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "announcing a baseline: each register is given or open, once, and is "
                         "among those that node { } has in pcrs (%s)",
                         quoted->count ? text : "none");
    }
    if (wanted->pcrs.count == 0 && wanted->open_mask == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "announcing a baseline: nothing in it differs from now; give values, or "
                         "say which registers will change");
    }
    return 0;
}

/* As quoted now, but for what is given or open. */
static int complete(const struct node *node, struct baseline *baseline, struct error *err)
{
    const struct pcr_selection *quoted = &node->settings.selection;
    for (size_t i = 0; i < quoted->count; i++) {
        TPM2_ALG_ID bank = quoted->banks[i].bank;
        size_t size = hash_by_id(bank)->size;
        for (unsigned j = 0; j < PCR_COUNT; j++) {
            const uint8_t *value = pcr_set_value(&node->verdict.pcrs, bank, j);
            bool is_needed = (quoted->banks[i].mask & ~baseline->open_mask) >> j & 1;
            if (is_needed && value && !pcr_set_value(&baseline->pcrs, bank, j)) {
                TRY(pcr_set_put(&baseline->pcrs, bank, j, (struct bytes){value, size}, err));
            }
        }
    }
    return 0;
}

static int prepare(const struct node *node, const struct baseline *wanted, struct error *err)
{
    TRY(node_check_running(node, err));
    TRY(check_name(node, wanted->name, err));
    TRY(check_wanted(node, wanted, err));
    if (!node->is_attested || !node->verdict.baseline[0]) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "announcing a baseline: it differs from what holds now, and the registers "
                         "are those of no baseline now; record one first");
    }
    return 0;
}

void node_baseline_announce(struct node *node, const struct baseline *wanted,
                            node_baseline_done *done, void *user)
{
    struct error err;
    if (prepare(node, wanted, &err) < 0) {
        done(user, NULL, &err);
        return;
    }
    struct change *change = change_new(node, wanted->name, done, user);
    change->baseline = *wanted;
    change->baseline.is_configured = false;
    change->baseline.made_at_s = clock_now_s();
    change->baseline.announced_at_reset = node->verdict.clock.resetCount;
    if (complete(node, &change->baseline, &err) < 0) {
        change_failed(change, &err);
        return;
    }
    take_effect(change);
}
