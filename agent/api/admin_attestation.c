/* The part of the admin API that tells what this node has proven, and makes evidence of it. */
#include "agent/api/admin.h"

#include <string.h>

#include "agent/api/context.h"
#include "agent/api/recorded.h"
#include "agent/node/node.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

void admin_refuse_without_node(struct rpc_call *call)
{
    api_refuse(call, ERROR_FAILED_PRECONDITION,
               "this node is not attested: there is no block node in the configuration, see "
               "signetd.conf(5)");
}

/* Telling. */

struct told {
    Admin__Finding findings[CLAIM_COUNT], *finding_pointers[CLAIM_COUNT];
    Admin__Fact facts[FACTS_MAX], *fact_pointers[FACTS_MAX];
    struct admin_pcrs pcrs;
};

static void fill_findings(const struct verdict *verdict, struct told *told,
                          Admin__GetAttestationResponse *response)
{
    response->findings = told->finding_pointers;
    for (unsigned i = 0; i < CLAIM_COUNT; i++) {
        const struct finding *finding = &verdict->claims[i];
        bool is_required = verdict->required >> i & 1;
        if (finding->result == CLAIM_NOT_JUDGED && !is_required) {
            continue;
        }
        Admin__Finding *message = &told->findings[response->n_findings];
        told->finding_pointers[response->n_findings++] = message;
        admin__finding__init(message);
        message->claim = (char *)claim_name((enum claim)i);
        message->result = (char *)claim_result_name(finding->result);
        message->reason = (char *)verdict_reason_name(finding->reason);
        message->text = (char *)finding->text;
        message->required = is_required;
    }
}

static void fill_facts(const struct verdict *verdict, struct told *told,
                       Admin__GetAttestationResponse *response)
{
    response->facts = told->fact_pointers;
    response->n_facts = MIN(verdict->facts.count, (size_t)FACTS_MAX);
    for (size_t i = 0; i < response->n_facts; i++) {
        told->fact_pointers[i] = &told->facts[i];
        admin__fact__init(&told->facts[i]);
        told->facts[i].name = verdict->facts.items[i].name;
        told->facts[i].value = verdict->facts.items[i].value;
        told->facts[i].pcr = verdict->facts.items[i].pcr;
    }
}

void admin_fill_pcrs(const struct pcr_set *set, struct admin_pcrs *ret_pcrs)
{
    ret_pcrs->count = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct pcr_bank *bank = &set->banks[i];
        const struct hash_algorithm *hash = hash_by_id(bank->bank);
        for (unsigned j = 0; hash && j < PCR_COUNT; j++) {
            if (bank->mask >> j & 1) {
                Admin__Pcr *message = &ret_pcrs->items[ret_pcrs->count];
                ret_pcrs->pointers[ret_pcrs->count++] = message;
                admin__pcr__init(message);
                message->bank = (char *)hash->name;
                message->index = j;
                message->value.data = (uint8_t *)bank->values[j];
                message->value.len = hash->size;
            }
        }
    }
}

static void tell(struct rpc_call *call, const struct node *node)
{
    struct node_state state;
    _cleanup_(free_cleanup) struct told *told = NEW(struct told);
    Admin__GetAttestationResponse response = ADMIN__GET_ATTESTATION_RESPONSE__INIT;
    node_state(node, &state);
    response.configured = true;
    response.attested = state.is_attested;
    response.on_failure = (char *)node_on_failure_name(state.on_failure);
    response.issuing_denied = state.is_issuing_denied;
    response.use_denied = state.is_use_denied;
    response.reason = (char *)verdict_reason_name(state.reason);
    response.text = (char *)state.reason_text;
    response.attested_at = state.attested_at_s;
    response.checked_at = state.checked_at_s;
    response.next_at = state.next_at_s;
    fill_findings(state.verdict, told, &response);
    fill_facts(state.verdict, told, &response);
    admin_fill_pcrs(&state.verdict->pcrs, &told->pcrs);
    response.pcrs = told->pcrs.pointers;
    response.n_pcrs = told->pcrs.count;
    response.baseline = (char *)state.verdict->baseline;
    response.ek_fingerprint = state.ek_fingerprint;
    response.ek_kind = (char *)state.ek_kind;
    response.ak_fingerprint = state.ak_fingerprint;
    rpc_call_reply(call, &response.base);
}

/* A call that waits for the node. */
struct question {
    struct node *node;
    struct audit *audit;   /* outlives the node, as the API does not */
    struct rpc_call *call; /* NULL once it has ended */
    char *spiffe_id;       /* of evidence; NULL: about the node alone */
    char *key_id;          /* hexadecimal; NULL: none */
    struct audit_process asker;
};

static void question_closed(struct rpc_call *call, void *state)
{
    struct question *question = state;
    (void)call;
    question->call = NULL;
    node_evidence_drop(question->node, question);
}

static struct question *question_new(struct api *api, struct rpc_call *call)
{
    struct question *question = NEW(struct question);
    question->node = api->config.node;
    question->audit = api->config.audit;
    question->call = call;
    question->asker = recorded_process(rpc_call_peer(call));
    rpc_call_on_closed(call, question_closed, question);
    return question;
}

static void question_free(struct question *question)
{
    free(question->spiffe_id);
    free(question->key_id);
    free(question);
}

static void attested(void *user)
{
    struct question *question = user;
    if (question->call) {
        tell(take_ptr(question->call), question->node);
    }
    question_free(question);
}

void admin_get_attestation(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct node *node = api->config.node;
    if (!node) {
        Admin__GetAttestationResponse response = ADMIN__GET_ATTESTATION_RESPONSE__INIT;
        rpc_call_reply(call, &response.base);
    } else if (((const Admin__GetAttestationRequest *)request)->now) {
        node_attest(node, attested, question_new(api, call));
    } else {
        tell(call, node);
    }
}

/* Evidence. */

static void record(const struct question *question, const struct error *failure)
{
    const struct audit_credential credential = {.kind = "key", .key_id = question->key_id};
    const struct audit_event event = {
        .action = AUDIT_EVIDENCE,
        .is_failure = failure != NULL,
        .spiffe_id = question->spiffe_id,
        .process = &question->asker,
        .asked = "MakeEvidence",
        .decider = AUDIT_DECIDER_ADMIN,
        .reason = failure ? failure->text : NULL,
        .credential = question->key_id ? &credential : NULL,
        .detail = question->spiffe_id ? NULL : "the node",
    };
    recorded_write(question->audit, &event);
}

static void evidence_made(void *user, struct bytes json, const struct error *failure)
{
    struct question *question = user;
    record(question, failure);
    if (question->call && failure) {
        rpc_call_finish(take_ptr(question->call), failure);
    } else if (question->call) {
        Admin__MakeEvidenceResponse response = ADMIN__MAKE_EVIDENCE_RESPONSE__INIT;
        response.evidence.data = (uint8_t *)json.data;
        response.evidence.len = json.size;
        recorded_reply(question->audit, take_ptr(question->call), &response.base,
                       "evidence was made");
    }
    question_free(question);
}

struct wanted {
    const char *spiffe_id, *key_id; /* empty: not by this */
    struct svid_x509 *found;        /* borrowed */
};

static void look_at(void *user, struct svid_x509 *svid)
{
    struct wanted *wanted = user;
    _cleanup_(free_cleanup) char *id = text_hex((struct bytes){svid->key_id, KEY_ID_BYTES});
    bool is_wanted = wanted->key_id[0] ? strcmp(id, wanted->key_id) == 0
                                       : strcmp(svid->entry->spiffe_id, wanted->spiffe_id) == 0;
    if (is_wanted && !wanted->found) {
        wanted->found = svid;
    }
}

static int find_svid(const struct api *api, struct wanted *wanted, struct error *err)
{
    if (!wanted->key_id[0] && !wanted->spiffe_id[0]) {
        return 0;
    }
    if (wanted->key_id[0] && wanted->spiffe_id[0]) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "making evidence: either a key's id or a SPIFFE ID is given, not both");
    }
    manager_each_svid(api->config.manager, look_at, wanted);
    if (!wanted->found) {
        return error_set(err, ERROR_NOT_FOUND,
                         "making evidence: nobody holds an SVID %s \"%.300s\" now; signet key list "
                         "shows those that are held",
                         wanted->key_id[0] ? "with the key" : "for",
                         wanted->key_id[0] ? wanted->key_id : wanted->spiffe_id);
    }
    if (!wanted->found->key ||
        key_keystore(wanted->found->key) != node_keystore(api->config.node)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "making evidence: the key of %.300s is not in the TPM, which certifies "
                         "its own keys only; a rule with key = \"hardware\" and the TPM's keystore "
                         "has it made there",
                         wanted->found->entry->spiffe_id);
    }
    return 0;
}

void admin_make_evidence(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Admin__MakeEvidenceRequest *message = (const Admin__MakeEvidenceRequest *)request;
    struct wanted wanted = {.spiffe_id = message->spiffe_id, .key_id = message->key_id};
    struct error error;
    if (!api->config.node) {
        admin_refuse_without_node(call);
        return;
    }
    if (find_svid(api, &wanted, &error) < 0 ||
        recorded_may_grant(api->config.audit, "making evidence", &error) < 0) {
        rpc_call_finish(call, &error);
        return;
    }
    struct question *question = question_new(api, call);
    struct node_evidence_request evidence = {
        .nonce = {message->nonce.data, message->nonce.len},
        .challenge = {message->challenge.data, message->challenge.len},
    };
    if (wanted.found) {
        question->spiffe_id = memory_copy_text(wanted.found->entry->spiffe_id);
        question->key_id = text_hex((struct bytes){wanted.found->key_id, KEY_ID_BYTES});
        evidence.key = wanted.found->key;
        evidence.chain = buffer_bytes(&wanted.found->chain);
    }
    node_evidence(api->config.node, &evidence, evidence_made, question);
}
