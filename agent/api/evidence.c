#include "agent/api/evidence.h"

#include <string.h>

#include "agent/access/access.h"
#include "agent/api/recorded.h"
#include "agent/node/node.h"
#include "lib/base/memory.h"

static const char method[] = "FetchEvidence";

/* What a connection may have on its way is less than the longest evidence. */
enum { REPLY_MAX_BYTES = 6 << 20 };

struct evidence_call {
    struct api *api;
    struct rpc_call *call; /* NULL once it has ended */
    struct peer *peer;
    struct access_watch *access; /* the identity may be taken away while the TPM is at it */
    char *spiffe_id;             /* empty until it is chosen, where the caller names none */
    struct buffer nonce, challenge;
    struct account *account; /* the uid's, held while the node is at it */
    bool is_asked;           /* the node */
    bool is_over;            /* answered, or nobody waits any more */
    bool is_lost;            /* the identity, since the node was asked */
    struct error loss;
    unsigned busy; /* callbacks in progress or to come that use the call */
};

static void leave(struct evidence_call *evidence)
{
    evidence->busy--;
    if (evidence->busy > 0 || (evidence->call && !evidence->is_over)) {
        return;
    }
    access_watch_free(evidence->access);
    peer_unref(evidence->peer);
    free(evidence->spiffe_id);
    buffer_clear(&evidence->nonce);
    buffer_clear(&evidence->challenge);
    free(evidence);
}

static void call_closed(struct rpc_call *call, void *state)
{
    struct evidence_call *evidence = state;
    (void)call;
    evidence->busy++;
    evidence->call = NULL;
    node_evidence_drop(evidence->api->config.node, evidence);
    access_watch_free(take_ptr(evidence->access)); /* the node may take longer than the agent */
    leave(evidence);
}

/* Only between busy++ and leave. */
static void fail(struct evidence_call *evidence, const struct error *status)
{
    evidence->is_over = true;
    if (evidence->call) {
        decision_denied(&evidence->api->decisions, evidence->peer, method, status);
        rpc_call_finish(take_ptr(evidence->call), status);
    }
}

static bool is_in_tpm(const struct api *api, const struct svid_x509 *svid)
{
    return svid->key && key_keystore(svid->key) == node_keystore(api->config.node);
}

/* The caller's identity that is asked for; NULL with an error. */
static struct svid_x509 *choose(const struct evidence_call *evidence,
                                const struct identity_set *set, struct error *err)
{
    struct svid_x509 *chosen = NULL;
    for (size_t i = 0; i < set->count; i++) {
        struct svid_x509 *svid = set->svids[i];
        bool is_named = strcmp(svid->entry->spiffe_id, evidence->spiffe_id) == 0;
        if (!is_in_tpm(evidence->api, svid) || (evidence->spiffe_id[0] && !is_named)) {
            continue;
        }
        if (chosen && !evidence->spiffe_id[0]) {
            (void)error_set(err, ERROR_INVALID_ARGUMENT,
                            "this process has several identities with keys in the TPM; name one");
            return NULL;
        }
        chosen = chosen ? chosen : svid;
    }
    if (!chosen) {
        (void)error_set(err, ERROR_PERMISSION_DENIED,
                        "%s%.300s with its key in the TPM is this process's; evidence is about "
                        "such keys only",
                        evidence->spiffe_id[0] ? "no identity " : "no identity",
                        evidence->spiffe_id);
    }
    return chosen;
}

static int check_rule(struct evidence_call *evidence, const char *spiffe_id, struct error *err)
{
    const struct rule *rule = rules_find(policy_rules(evidence->api->config.policy), spiffe_id);
    if (rule && rule->may_show_evidence) {
        return 0;
    }
    (void)error_set(err, ERROR_PERMISSION_DENIED,
                    "the rule \"%.100s\" does not let %.200s have evidence about its key; evidence "
                    "= true in the rule does",
                    rule ? rule->pattern : "", spiffe_id);
    access_watch_note_denied(evidence->access, spiffe_id, rule ? rule->pattern : NULL, err->text);
    return -1;
}

static void record(const struct evidence_call *evidence)
{
    const struct audit_event event = {
        .action = AUDIT_EVIDENCE,
        .spiffe_id = evidence->spiffe_id,
        .process = access_watch_process(evidence->access),
        .asked = method,
        .decider = AUDIT_DECIDER_RULE,
    };
    recorded_write(evidence->api->config.audit, &event);
}

static void answer(struct evidence_call *evidence, struct bytes json)
{
    struct error error;
    if (json.size > REPLY_MAX_BYTES) {
        (void)error_set(&error, ERROR_RESOURCE_EXHAUSTED,
                        "the evidence has %zu bytes, most of them logs, and %d can be sent here; "
                        "an administrator gets it by signet attest evidence",
                        json.size, REPLY_MAX_BYTES);
        fail(evidence, &error);
        return;
    }
    Hardware__EvidenceResponse response = HARDWARE__EVIDENCE_RESPONSE__INIT;
    response.evidence.data = (uint8_t *)json.data;
    response.evidence.len = json.size;
    record(evidence);
    decision_granted(&evidence->api->decisions, evidence->peer, method, evidence->spiffe_id);
    evidence->is_over = true;
    recorded_reply(evidence->api->config.audit, take_ptr(evidence->call), &response.base,
                   "evidence was made");
}

static void evidence_made(void *user, struct bytes json, const struct error *failure)
{
    struct evidence_call *evidence = user;
    struct account *account = evidence->account;
    struct error error;
    if (evidence->call && evidence->is_lost) {
        fail(evidence, &evidence->loss);
    } else if (evidence->call && failure) {
        fail(evidence, failure);
    } else if (evidence->call && check_rule(evidence, evidence->spiffe_id, &error) < 0) {
        fail(evidence, &error); /* the rules may have changed meanwhile */
    } else if (evidence->call) {
        answer(evidence, json);
    }
    evidence->is_over = true;
    leave(evidence);
    account_work_end(account->accounts, account); /* the API may stop now */
}

static void ask(struct evidence_call *evidence, const struct svid_x509 *svid)
{
    const struct caller *caller = rpc_call_peer(evidence->call);
    struct error error;
    if (account_work_begin(caller->account->accounts, caller->account, &error) < 0) {
        fail(evidence, &error);
        return;
    }
    evidence->account = caller->account;
    const struct node_evidence_request request = {
        .nonce = buffer_bytes(&evidence->nonce),
        .challenge = buffer_bytes(&evidence->challenge),
        .key = svid->key,
        .chain = buffer_bytes(&svid->chain),
        .asker = (uint64_t)evidence->peer->uid + 1, /* 0 is the administrator */
        .is_without_ima = true,
    };
    evidence->is_asked = true;
    evidence->busy++; /* evidence_made's */
    node_evidence(evidence->api->config.node, &request, evidence_made, evidence);
}

static int judge_offer(struct evidence_call *evidence, const struct access_offer *offer,
                       struct svid_x509 **ret_svid, struct error *err)
{
    if (offer->failure) {
        *err = *offer->failure;
        err->code = offer->is_over ? ERROR_UNAVAILABLE : err->code;
        return -1;
    }
    struct svid_x509 *svid = choose(evidence, offer->set, err);
    if (!svid && offer->denied && err->code == ERROR_PERMISSION_DENIED) {
        *err = *offer->denied;
    }
    if (!svid || check_rule(evidence, svid->entry->spiffe_id, err) < 0) {
        return -1;
    }
    *ret_svid = svid;
    return 0;
}

static void offered(void *user, const struct access_offer *offer)
{
    struct evidence_call *evidence = user;
    struct svid_x509 *svid = NULL;
    struct error error;
    if (!evidence->call || evidence->is_over || evidence->is_lost) {
        return;
    }
    evidence->busy++;
    int result = judge_offer(evidence, offer, &svid, &error);
    if (result < 0 && evidence->is_asked) {
        evidence->is_lost = true;
        evidence->loss = error;
    } else if (result < 0) {
        fail(evidence, &error);
    } else if (!evidence->is_asked) {
        free(evidence->spiffe_id);
        evidence->spiffe_id = memory_copy_text(svid->entry->spiffe_id);
        ask(evidence, svid);
    }
    leave(evidence);
}

/* They are told of by the records of evidence. */
static bool wants_none(const struct svid_x509 *svid)
{
    (void)svid;
    return false;
}

void evidence_start(struct api *api, struct rpc_call *call,
                    const Hardware__EvidenceRequest *request)
{
    const struct caller *caller = rpc_call_peer(call);
    struct error error;
    if (!api->config.node) {
        api_refuse(call, ERROR_FAILED_PRECONDITION,
                   "this host makes no evidence: its agent has no block node in its configuration");
        return;
    }
    struct evidence_call *evidence = NEW(struct evidence_call);
    evidence->api = api;
    evidence->call = call;
    evidence->peer = peer_ref(caller->peer);
    evidence->spiffe_id = memory_copy_text(request->spiffe_id);
    evidence->busy = 1;
    buffer_append(&evidence->nonce, request->nonce.data, request->nonce.len);
    buffer_append(&evidence->challenge, request->challenge.data, request->challenge.len);
    rpc_call_on_closed(call, call_closed, evidence);
    if (access_watch_new(api->config.access, caller, ACCESS_PURPOSE_FETCH, method, wants_none,
                         offered, evidence, &evidence->access, &error) < 0) {
        fail(evidence, &error);
    }
    leave(evidence);
}
