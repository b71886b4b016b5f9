/* Evidence for somebody else: made on the pool, as the TPM takes its time. */
#include <openssl/x509.h>

#include "agent/node/state.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum {
    WAITING_MAX = 64,
    WAITING_KEPT = 8, /* of those, for the administrator */
    WAITING_PER_ASKER_MAX = 4,
};

struct evidence_job {
    struct node_job job;
    struct buffer nonce;
    bool has_challenge;
    struct challenge challenge;
    struct key *key; /* NULL: none */
    struct buffer chain, ak_chain;
    struct pcr_selection selection;
    uint64_t asker;
    bool is_without_ima;
    uv_timer_t timer; /* of what fails before the TPM is asked */
    void (*done)(void *user, struct bytes json, const struct error *failure);
    void *user;
    LIST_ENTRY(evidence_job) link;
    /* The result. */
    struct buffer json;
    bool is_failed;
    struct error failure;
};

static void free_job(struct evidence_job *job)
{
    buffer_clear(&job->nonce);
    challenge_clear(&job->challenge);
    if (job->key) {
        key_unref(job->key);
    }
    buffer_clear(&job->chain);
    buffer_clear(&job->ak_chain);
    buffer_clear(&job->json);
    free(job);
}

/* DER one after the other. */
static int split_chain(const struct buffer *chain, struct evidence_chain *ret_chain,
                       struct error *err)
{
    const uint8_t *at = chain->data;
    const uint8_t *end = chain->size > 0 ? at + chain->size : at;
    while (at < end) {
        const uint8_t *begin = at;
        X509 *certificate = d2i_X509(NULL, &at, end - at);
        X509_free(certificate);
        if (!certificate || ret_chain->count == EVIDENCE_CHAIN_MAX) {
            return error_set_openssl(err, ERROR_INTERNAL, "taking a chain of certificates apart");
        }
        buffer_append(&ret_chain->items[ret_chain->count++], begin, (size_t)(at - begin));
    }
    return 0;
}

static int answer_challenge(const struct evidence_job *job, struct attest_host *host,
                            struct evidence *evidence, struct error *err)
{
    _cleanup_(secret_clear) struct secret hidden = {0};
    TRY(attest_host_activate(host, &job->challenge, &hidden, err));
    return challenge_answer(secret_bytes(&hidden), buffer_bytes(&job->nonce), &evidence->activated,
                            err);
}

static int gather(struct evidence_job *job, struct evidence *evidence, struct error *err)
{
    struct node_tpm *tpm = &job->job.node->tpm;
    struct bytes nonce = buffer_bytes(&job->nonce);
    TRY(node_tpm_open(tpm, err));
    TRY(attest_host_identify(tpm->host, evidence, err));
    if (job->has_challenge) {
        TRY(answer_challenge(job, tpm->host, evidence, err));
    }
    TRY(attest_host_quote(tpm->host, nonce, &job->selection, evidence, err));
    if (job->is_without_ima) {
        buffer_clear(&evidence->ima_list);
    }
    if (job->key) {
        TRY(attest_host_certify(tpm->host, job->key, nonce, evidence, err));
    }
    TRY(split_chain(&job->ak_chain, &evidence->ak_certificates, err));
    return split_chain(&job->chain, &evidence->key_certificates, err);
}

static void work(struct node_job *base)
{
    struct evidence_job *job = container_of(base, struct evidence_job, job);
    struct evidence *evidence = NEW(struct evidence);
    job->is_failed = gather(job, evidence, &job->failure) < 0;
    if (!job->is_failed) {
        evidence_format(evidence, &job->json);
    }
    evidence_clear(evidence);
    free(evidence);
}

static void leave_queue(struct evidence_job *job)
{
    LIST_REMOVE(job, link);
    job->job.node->evidence_count--;
}

static void tell_failure(struct evidence_job *job)
{
    (void)error_prepend(&job->failure, "making evidence");
    job->done(job->user, (struct bytes){0}, &job->failure);
}

static void after(struct node_job *base, bool is_cancelled)
{
    struct evidence_job *job = container_of(base, struct evidence_job, job);
    if (is_cancelled) {
        job->is_failed = node_check_running(base->node, &job->failure) < 0;
    }
    leave_queue(job);
    base->node->counters.evidence += !job->is_failed;
    if (job->is_failed) {
        tell_failure(job);
    } else {
        job->done(job->user, buffer_bytes(&job->json), NULL);
    }
    free_job(job);
}

/* What fails before the TPM is asked is told from the loop, and does not wait for the TPM. By a
 * timer of the job's own: the node may have ended by the time that libuv lets go of it. */

static void timer_closed(uv_handle_t *handle)
{
    free_job(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
    tell_failure(timer->data);
    uv_close((uv_handle_t *)timer, timer_closed);
}

static void fail_soon(struct evidence_job *job, uv_loop_t *loop)
{
    (void)uv_timer_init(loop, &job->timer);
    job->timer.data = job;
    (void)uv_timer_start(&job->timer, on_timer, 0, 0);
}

static void copy_bytes(struct buffer *to, struct bytes from)
{
    buffer_append(to, from.data, from.size);
}

static void fill(struct evidence_job *job, const struct node *node,
                 const struct node_evidence_request *request)
{
    copy_bytes(&job->nonce, request->nonce);
    copy_bytes(&job->chain, request->chain);
    if (node->ak_expires_at_s > clock_now_s()) {
        copy_bytes(&job->ak_chain, buffer_bytes(&node->ak_chain));
    }
    job->key = request->key ? key_ref(request->key) : NULL;
    job->asker = request->asker;
    job->is_without_ima = request->is_without_ima;
    job->selection = node->settings.selection;
    if (job->selection.count == 0) {
        (void)pcr_selection_parse(PCR_DEFAULT_SELECTION, &job->selection, NULL);
    }
}

static int check_room(const struct node *node, uint64_t asker, struct error *err)
{
    const struct evidence_job *other;
    size_t limit = asker ? WAITING_MAX - WAITING_KEPT : WAITING_MAX;
    size_t own = 0;
    if (node->evidence_count >= limit) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%zu requests for evidence wait already; try again later",
                         node->evidence_count);
    }
    LIST_FOREACH (other, &node->evidence, link) {
        own += other->asker == asker;
    }
    if (asker && own >= WAITING_PER_ASKER_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%zu requests for evidence of this user wait already; ask again when they "
                         "are answered",
                         own);
    }
    return 0;
}

static int check(const struct node *node, const struct node_evidence_request *request,
                 struct error *err)
{
    TRY(node_check_running(node, err));
    if (request->nonce.size < EVIDENCE_NONCE_MIN_BYTES ||
        request->nonce.size > EVIDENCE_NONCE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the nonce has %zu bytes; a verifier chooses %d to %d at random",
                         request->nonce.size, EVIDENCE_NONCE_MIN_BYTES, EVIDENCE_NONCE_MAX_BYTES);
    }
    return check_room(node, request->asker, err);
}

void node_evidence(struct node *node, const struct node_evidence_request *request,
                   void (*done)(void *user, struct bytes json, const struct error *failure),
                   void *user)
{
    struct evidence_job *job = NEW(struct evidence_job);
    job->done = done;
    job->user = user;
    job->job.after = after;
    job->job.work = work;
    job->is_failed = check(node, request, &job->failure) < 0;
    if (!job->is_failed && request->challenge.size > 0) {
        job->has_challenge = true;
        job->is_failed = challenge_parse(request->challenge, &job->challenge, &job->failure) < 0;
    }
    if (job->is_failed) {
        fail_soon(job, node->loop);
        return;
    }
    fill(job, node, request);
    LIST_INSERT_HEAD(&node->evidence, job, link);
    node->evidence_count++;
    node_submit(node, &job->job);
}

void node_evidence_drop(struct node *node, const void *user)
{
    struct evidence_job *job;
    LIST_FOREACH (job, &node->evidence, link) {
        if (job->user == user) {
            break;
        }
    }
    if (job && node->in_hand != &job->job && !node->is_stopping) {
        STAILQ_REMOVE(&node->jobs, &job->job, node_job, link);
        leave_queue(job);
        (void)error_set(&job->failure, ERROR_CANCELLED, "nobody waits for it any more");
        fail_soon(job, node->loop);
    }
}
