/* Attestations of the node: one after the other, each with what the one before left. */
#include <stdio.h>
#include <string.h>

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* A node that is not attested is looked at again sooner: the trouble may pass. */
enum { RETRY_MAX_S = 60 };

struct attest_job {
    struct node_job job;
    struct attestation attestation;
    struct node_trust *trust;
};

/* With what is known then: the job before may have been one too. */
static void attest_begin(struct node_job *base)
{
    struct attest_job *job = container_of(base, struct attest_job, job);
    struct node *node = base->node;
    struct attest_policy *policy = &job->attestation.policy;
    job->trust = node->trust;
    job->trust->references++;
    job->attestation.tpm = &node->tpm;
    policy->ek_trust = node->trust->trust;
    policy->selection = node->settings.selection;
    policy->resets = node->settings.resets;
    policy->requires_event_log = node->settings.facts.count > 0;
    text_list_copy(&policy->facts, &node->settings.facts);
    node_baselines_copy(&policy->baselines, &node->in_force);
    node_memory_copy(&job->attestation.memory, &node->memory);
}

static void attest_job_free(struct attest_job *job)
{
    attestation_clear(&job->attestation);
    if (job->trust) {
        node_trust_unref(job->trust);
    }
    free(job);
}

static void attest_work(struct node_job *job)
{
    attestation_run(&container_of(job, struct attest_job, job)->attestation);
}

/* What the judge compares with the next time; it is on the disk already. */
static void take_memory(struct node *node, struct attestation *attestation)
{
    struct node_memory *memory = &attestation->memory;
    bool is_other_ak =
        node->memory.is_known &&
        !bytes_is_equal(tpm2_name_bytes(&node->memory.ak_name), tpm2_name_bytes(&memory->ak_name));
    node->is_first = node->is_first || (!node->memory.is_known && memory->is_known);
    node_memory_clear(&node->memory);
    node->memory = *memory;
    *memory = (struct node_memory){0};
    if (is_other_ak) {
        node_baselines_forget_open(node);
        node->verdict.baseline[0] = '\0'; /* nothing is announced by the boots of the AK before */
    }
}

/* The one that decides; NULL: nothing speaks against the node. */
static void take_finding(struct node *node, const struct finding *flaw)
{
    node->is_attested = !flaw;
    node->reason = flaw ? flaw->reason : VERDICT_NONE;
    (void)snprintf(node->reason_text, sizeof(node->reason_text), "%s", flaw ? flaw->text : "");
}

static void take_over(struct node *node, struct attestation *attestation)
{
    take_memory(node, attestation);
    verdict_clear(&node->verdict);
    node->verdict = attestation->verdict;
    attestation->verdict = (struct verdict){0};
    if (strcmp(node->ak_fingerprint, attestation->ak_fingerprint) != 0) {
        buffer_reset(&node->ak_chain); /* of the AK before */
    }
    buffer_clear(&node->ak_spki);
    node->ak_spki = attestation->ak_spki;
    attestation->ak_spki = (struct buffer){0};
    memcpy(node->ek_fingerprint, attestation->ek_fingerprint, sizeof(node->ek_fingerprint));
    memcpy(node->ak_fingerprint, attestation->ak_fingerprint, sizeof(node->ak_fingerprint));
    memcpy(node->ek_kind, attestation->ek_kind, sizeof(node->ek_kind));
    node->is_checked = true;
    take_finding(node, verdict_first_flaw(&node->verdict, NULL));
}

static void set_timer(struct node *node);

/* What others are told of. */
struct standing {
    bool is_attested;
    enum verdict_reason reason;
    char reason_text[sizeof(((struct node *)NULL)->reason_text)];
};

static struct standing standing_of(const struct node *node)
{
    struct standing standing = {.is_attested = node->is_attested, .reason = node->reason};
    memcpy(standing.reason_text, node->reason_text, sizeof(standing.reason_text));
    return standing;
}

static bool has_changed(const struct node *node, const struct standing *before)
{
    return node->is_attested != before->is_attested || node->reason != before->reason ||
           strcmp(node->reason_text, before->reason_text) != 0;
}

static void conclude(struct node *node, struct attestation *attestation)
{
    take_over(node, attestation);
    node->checked_at_s = clock_now_s();
    node->counters.attestations++;
    node->counters.failures += !node->is_attested;
    if (node->is_attested) {
        node->attested_at_s = node->checked_at_s;
        node_baselines_seen(node);
        node_certify(node);
    }
    node_record(node);
    node->is_first = node->is_first && !node->is_attested;
    set_timer(node);
}

static void tell_waiters(struct node_waiters *waiters)
{
    struct node_waiter *waiter;
    while ((waiter = STAILQ_FIRST(waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(waiters, link);
        waiter->done(waiter->user);
        free(waiter);
    }
}

static void attest_after(struct node_job *job, bool is_cancelled)
{
    struct node *node = job->node;
    struct attest_job *attest = container_of(job, struct attest_job, job);
    struct node_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    /* Another one was asked for since: this one's settings hold no more, nor does its verdict. */
    bool is_superseded = node->attesting != job;
    if (!is_superseded) {
        node->attesting = NULL;
        STAILQ_CONCAT(&waiters, &node->waiters);
    }
    if (!is_cancelled && is_superseded) {
        take_memory(node, &attest->attestation);
    } else if (!is_cancelled) {
        const struct standing before = standing_of(node);
        conclude(node, &attest->attestation);
        if (has_changed(node, &before)) {
            node->config.changed(node->config.user, node);
        }
    }
    attest_job_free(attest);
    tell_waiters(&waiters);
}

static void wait_for_attestation(struct node *node, void (*done)(void *user), void *user)
{
    if (done) {
        struct node_waiter *waiter = NEW(struct node_waiter);
        waiter->done = done;
        waiter->user = user;
        STAILQ_INSERT_TAIL(&node->waiters, waiter, link);
    }
}

/* A TPM that hangs does not keep the verdict of before alive. */
static void on_overdue(uv_timer_t *timer)
{
    struct node *node = timer->data;
    const struct standing before = standing_of(node);
    verdict_clear(&node->verdict);
    node->verdict.required = 1U << CLAIM_QUOTE;
    verdict_set(&node->verdict, CLAIM_QUOTE, CLAIM_NOT_PROVEN, VERDICT_TPM_UNREACHABLE,
                "the attestation under way has not come to its end in %llu s; the TPM hangs, or "
                "other programs keep it",
                (unsigned long long)(node->overdue_ms / 1000));
    take_finding(node, verdict_first_flaw(&node->verdict, NULL));
    node->checked_at_s = clock_now_s();
    node->next_at_s = node->checked_at_s; /* it is under way */
    node_record(node);
    if (has_changed(node, &before)) {
        node->config.changed(node->config.user, node);
    }
}

void node_attest_anew(struct node *node, void (*done)(void *user), void *user)
{
    struct attest_job *job = NEW(struct attest_job);
    job->job.begin = attest_begin;
    job->job.work = attest_work;
    job->job.after = attest_after;
    job->job.goes_first = true;
    (void)uv_timer_start(&node->timer, on_overdue, node->overdue_ms, 0);
    wait_for_attestation(node, done, user);
    node->attesting = &job->job;
    node_submit(node, &job->job);
}

void node_attest(struct node *node, void (*done)(void *user), void *user)
{
    if (node->attesting) {
        wait_for_attestation(node, done, user);
    } else {
        node_attest_anew(node, done, user);
    }
}

static void on_timer(uv_timer_t *timer)
{
    node_attest(timer->data, NULL, NULL);
}

static void set_timer(struct node *node)
{
    uint32_t interval_s = node->settings.reattest_interval_s;
    uint32_t wait_s = node->is_attested ? interval_s : MIN(interval_s, (uint32_t)RETRY_MAX_S);
    node->next_at_s = node->checked_at_s + wait_s;
    if (node->attesting) { /* another one is under way already */
        (void)uv_timer_start(&node->timer, on_overdue, node->overdue_ms, 0);
    } else if (!node->is_stopping) {
        (void)uv_timer_start(&node->timer, on_timer, (uint64_t)wait_s * 1000, 0);
    }
}

void node_attest_first(struct node *node)
{
    struct attest_job *job = NEW(struct attest_job);
    job->job.node = node;
    attest_begin(&job->job);
    attest_work(&job->job);
    conclude(node, &job->attestation);
    attest_job_free(job);
}
