#include "agent/node/node.h"

#include <stdio.h>
#include <string.h>

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

static struct node_trust *trust_new(const struct node_settings *settings)
{
    struct node_trust *trust = NEW(struct node_trust);
    struct error err;
    trust->references = 1;
    if (node_settings_trust(settings, &trust->trust, &err) < 0) {
        /* Checked when the settings were read: they have changed since. Nobody is believed. */
        log_error("node: no endorsement key is believed: %s", err.text);
        trust->trust = ek_trust_new();
    }
    return trust;
}

void node_trust_unref(struct node_trust *trust)
{
    if (--trust->references == 0) {
        if (trust->trust) {
            ek_trust_free(trust->trust);
        }
        free(trust);
    }
}

/* Jobs. */

static void run_next(struct node *node);

static void work_run(uv_work_t *work)
{
    const struct node *node = work->data;
    node->in_hand->work(node->in_hand);
}

static void work_done(uv_work_t *work, int status)
{
    struct node *node = work->data;
    struct node_job *job = take_ptr(node->in_hand);
    (void)status;
    job->after(job, false);
    run_next(node);
    node_end_if_done(node);
}

static void run_next(struct node *node)
{
    struct node_job *job = STAILQ_FIRST(&node->jobs);
    if (!job || node->in_hand || node->is_stopping) {
        return;
    }
    STAILQ_REMOVE_HEAD(&node->jobs, link);
    node->in_hand = job;
    if (job->begin) {
        job->begin(job);
    }
    (void)uv_queue_work(node->loop, &node->work, work_run, work_done);
}

void node_submit(struct node *node, struct node_job *job)
{
    job->node = node;
    if (node->is_stopping) {
        job->after(job, true);
        return;
    }
    if (job->goes_first) {
        STAILQ_INSERT_HEAD(&node->jobs, job, link);
    } else {
        STAILQ_INSERT_TAIL(&node->jobs, job, link);
    }
    run_next(node);
}

int node_check_running(const struct node *node, struct error *err)
{
    return node->is_stopping ? error_set(err, ERROR_CANCELLED, "the agent is stopping") : 0;
}

/* State. */

void node_state(const struct node *node, struct node_state *ret_state)
{
    enum node_on_failure on_failure = node->settings.on_failure;
    *ret_state = (struct node_state){
        .is_attested = node->is_attested,
        .on_failure = on_failure,
        .is_issuing_denied = !node->is_attested && on_failure != NODE_WARN,
        .is_use_denied = !node->is_attested && on_failure == NODE_LOCK,
        .reason = node->reason,
        .reason_text = node->reason_text,
        .attested_at_s = node->attested_at_s,
        .checked_at_s = node->checked_at_s,
        .next_at_s = node->next_at_s,
        .verdict = &node->verdict,
        .ek_kind = node->ek_kind,
        .baselines = &node->accepted,
    };
    memcpy(ret_state->ek_fingerprint, node->ek_fingerprint, sizeof(node->ek_fingerprint));
    memcpy(ret_state->ak_fingerprint, node->ak_fingerprint, sizeof(node->ak_fingerprint));
}

void node_counters(const struct node *node, struct node_counters *ret_counters)
{
    *ret_counters = node->counters;
}

struct keystore *node_keystore(const struct node *node)
{
    return node->config.keystore;
}

void node_set_settings(struct node *node, const struct node_settings *settings)
{
    node_settings_clear(&node->settings);
    node_settings_copy(&node->settings, settings);
    node_trust_unref(node->trust);
    node->trust = trust_new(settings);
    node_baselines_join(node);
    /* on_failure counts at once, the rest with the attestation that begins. */
    node->config.changed(node->config.user, node);
    node_attest_anew(node, NULL, NULL);
}

/* Life. */

static void open_tpm(struct node *node)
{
    const struct node_settings *settings = &node->settings;
    struct node_tpm *tpm = &node->tpm;
    tpm->config = (struct attest_host_config){
        .keystore = node->config.keystore,
        .ak_type = settings->ak_type,
        .ak_path = file_join(node->config.data_dir, "attestation-key"),
        .event_log_path = memory_copy_text(settings->event_log_path),
        .ima_path = memory_copy_text(settings->ima_path),
    };
    tpm->tcti = memory_copy_text(node->config.tcti);
    tpm->freshness = (struct freshness){
        .keystore = node->config.keystore,
        .index = settings->counter_index,
        .path = file_join(node->config.data_dir, "node.json"),
    };
}

static int read_memory(struct node *node, struct error *err)
{
    struct error failure;
    if (node_memory_read(node->tpm.freshness.path, &node->memory, &failure) < 0 &&
        failure.code != ERROR_NOT_FOUND) {
        return error_set(err, failure.code, "%s", failure.text);
    }
    node->attested_at_s = node->memory.attested_at_s;
    return 0;
}

static void node_free(struct node *node)
{
    node_tpm_clear(&node->tpm);
    if (node->trust) {
        node_trust_unref(node->trust);
    }
    node_settings_clear(&node->settings);
    node_memory_clear(&node->memory);
    baselines_clear(&node->recorded);
    baselines_clear(&node->accepted);
    baselines_clear(&node->in_force);
    verdict_clear(&node->verdict);
    buffer_clear(&node->ak_spki);
    buffer_clear(&node->ak_chain);
    free(node->baselines_path);
    free(node);
}
DEFINE_CLEANUP(struct node, node_free, node_free);

static int open_files(struct node *node, struct error *err)
{
    node->baselines_path = file_join(node->config.data_dir, "baselines.json");
    open_tpm(node);
    TRY(node_settings_check(&node->settings, err));
    node->trust = trust_new(&node->settings);
    TRY(read_memory(node, err));
    return node_baselines_open(node, err);
}

int node_new(uv_loop_t *loop, const struct node_config *config, struct node **ret_node,
             struct error *err)
{
    _cleanup_(node_free_cleanup) struct node *node = NEW(struct node);
    node->loop = loop;
    node->overdue_ms = NODE_OVERDUE_MS;
    node->config = *config;
    node_settings_copy(&node->settings, config->settings);
    STAILQ_INIT(&node->jobs);
    STAILQ_INIT(&node->waiters);
    LIST_INIT(&node->evidence);
    if (open_files(node, err) < 0) {
        return error_prepend(err, "preparing to attest this node");
    }
    (void)uv_timer_init(loop, &node->timer);
    node->timer.data = node->work.data = node;
    node_attest_first(node);
    *ret_node = take_ptr(node);
    return 0;
}

static void timer_closed(uv_handle_t *handle)
{
    struct node *node = handle->data;
    void (*stopped)(void *user) = node->stopped;
    void *user = node->stopped_user;
    node_free(node);
    stopped(user);
}

void node_end_if_done(struct node *node)
{
    if (node->is_stopping && !node->in_hand && !node->is_certifying &&
        !uv_is_closing((uv_handle_t *)&node->timer)) {
        uv_close((uv_handle_t *)&node->timer, timer_closed);
    }
}

void node_stop(struct node *node, void (*stopped)(void *user), void *user)
{
    struct node_job *job;
    node->is_stopping = true;
    node->stopped = stopped;
    node->stopped_user = user;
    (void)uv_timer_stop(&node->timer);
    while ((job = STAILQ_FIRST(&node->jobs)) != NULL) {
        STAILQ_REMOVE_HEAD(&node->jobs, link);
        job->after(job, true);
    }
    node_end_if_done(node);
}
