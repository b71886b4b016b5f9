/* The guard of a process's token: decides on each use of a key from what the loop published,
 * without waiting. Made on the loop; asked on the token's thread. */
#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/svid/svid.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { NS_PER_S = 1000000000 };

/* What may be done with one key. */
struct terms {
    uint64_t tag;
    struct tally *tally;            /* a reference, and with it the holding */
    struct identity_meters *meters; /* a reference */
    struct entry *entry;            /* a reference; loop thread */
    uint32_t sign_rate, sign_burst;
    uint64_t max_uses;
    /* Time may decide otherwise from then on; the loop publishes another gate by then. */
    int64_t until_s;
    /* The outside policy has allowed it until then. */
    _Atomic uint64_t outside_until_ms;
};

struct gate {
    struct token_guard guard;
    struct access *access; /* outlives every gate: the token's thread ends first */
    struct peer *peer;     /* a reference */
    struct file_identity program;
    bool is_program_known;
    struct subject *subject; /* a reference; loop thread */
    /* Uses of keys that were withdrawn, the last of them of that key; on their way to the loop. */
    atomic_uint refusals;
    _Atomic CK_OBJECT_HANDLE refused_key;
    struct mailbox_message refusal;
    size_t count;
    struct terms *terms;
    struct mailbox_message last; /* brings the gate to the loop, to be freed there */
};

/* A use that waits for the outside policy. */
struct late_use {
    struct mailbox_message message;
    struct gate *gate; /* a reference */
    struct terms *terms;
    struct token_question *question;
    struct outside_wait wait;
};

static struct gate *gate_of(struct token_guard *guard)
{
    return container_of(guard, struct gate, guard);
}

static struct terms *find_terms(struct gate *gate, uint64_t tag)
{
    for (size_t i = 0; i < gate->count; i++) {
        if (gate->terms[i].tag == tag) {
            return &gate->terms[i];
        }
    }
    return NULL;
}

static void give_back_use(const struct terms *terms)
{
    (void)atomic_fetch_sub(&terms->tally->holding->uses, 1);
}

/* Deciding. */

static bool is_same_process(const struct gate *gate)
{
    return peer_runs(gate->peer, gate->is_program_known ? &gate->program : NULL);
}

static CK_RV deny(const struct terms *terms, enum tally_kind kind, CK_RV rv)
{
    tally_count(terms->tally, kind);
    return rv;
}

/* What may be otherwise at any moment, without limits that are used up. */
static CK_RV admit_now(const struct gate *gate, const struct terms *terms)
{
    const struct audit *audit = gate->access->config.audit;
    if (audit && !audit_is_usable(audit)) {
        return deny(terms, TALLY_DENIED_NODE, CKR_DEVICE_ERROR);
    }
    if (!is_same_process(gate)) {
        bool is_alive = peer_is_alive(gate->peer); /* else a child of it may ask */
        return deny(terms, is_alive ? TALLY_DENIED_PROGRAM : TALLY_DENIED_ENDED,
                    CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    if (terms->until_s != INT64_MAX && clock_now_s() >= terms->until_s) {
        return deny(terms, TALLY_DENIED_TIME, CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    return CKR_OK;
}

/* The outside policy. */

static void late_answered(struct outside_wait *wait, bool is_allowed, const char *reason,
                          uint64_t until_ms)
{
    struct late_use *late = container_of(wait, struct late_use, wait);
    CK_RV rv;
    (void)reason; /* in the log of the outside policy's own decisions */
    if (is_allowed) {
        atomic_store(&late->terms->outside_until_ms, until_ms);
        rv = admit_now(late->gate, late->terms); /* again: the answer took a while */
    } else {
        rv = deny(late->terms, TALLY_DENIED_OUTSIDE, CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    if (rv != CKR_OK) {
        give_back_use(late->terms);
    }
    token_question_answer(late->question, rv);
    token_guard_unref(&late->gate->guard);
    free(late);
}

static void ask_late(struct mailbox_message *message)
{
    struct late_use *late = container_of(message, struct late_use, message);
    struct access *access = late->gate->access;
    const struct outside_question asked =
        subject_question(late->gate->subject, late->terms->entry, "use");
    late->wait = (struct outside_wait){.done = late_answered};
    outside_ask(access->config.outside, &asked, &late->wait);
}

static void be_late(struct gate *gate, struct terms *terms, struct token_question *question)
{
    struct late_use *late = NEW(struct late_use);
    (void)token_guard_ref(&gate->guard);
    *late = (struct late_use){
        .message.deliver = ask_late,
        .gate = gate,
        .terms = terms,
        .question = question,
    };
    mailbox_post(gate->access->mailbox, &late->message);
}

/* Asking. */

/* Counts the use, unless it is one too many. */
static bool take_use(const struct terms *terms)
{
    struct holding *holding = terms->tally->holding;
    if (atomic_fetch_add(&holding->uses, 1) < terms->max_uses || terms->max_uses == 0) {
        return true;
    }
    give_back_use(terms);
    return false;
}

static CK_RV admit(struct token_guard *guard, uint64_t tag, struct token_question *question,
                   bool *ret_is_late)
{
    struct gate *gate = gate_of(guard);
    struct terms *terms = find_terms(gate, tag);
    const struct access_config *config = &gate->access->config;
    if (!terms) {
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    CK_RV rv = admit_now(gate, terms);
    if (rv != CKR_OK) {
        return rv;
    }
    if (!meter_take(&terms->meters->signs, meter_now_ns(), terms->sign_rate, NS_PER_S,
                    terms->sign_burst, NULL)) {
        return deny(terms, TALLY_DENIED_RATE, CKR_DEVICE_MEMORY);
    }
    if (!take_use(terms)) {
        return deny(terms, TALLY_DENIED_USES, CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    if (config->outside && clock_monotonic_ms() >= atomic_load(&terms->outside_until_ms)) {
        *ret_is_late = true;
        be_late(gate, terms, question);
    }
    return CKR_OK;
}

static void used(struct token_guard *guard, uint64_t tag, CK_RV rv)
{
    const struct terms *terms = find_terms(gate_of(guard), tag);
    /* Whoever closed the session, or lost the key, was told so otherwise. */
    bool is_withdrawn = rv == CKR_SESSION_CLOSED || rv == CKR_KEY_FUNCTION_NOT_PERMITTED;
    if (terms && !is_withdrawn) {
        tally_count(terms->tally, rv == CKR_OK ? TALLY_USED : TALLY_FAILED);
    }
}

static void record_refusal(struct subject *subject, const struct holding *holding, unsigned count)
{
    struct policy_answer answer;
    const struct policy_holder holder = {&subject->process, holding->first_use_s};
    policy_decide_holder(subject->access->config.policy, holding->spiffe_id, &holder, clock_now_s(),
                         &answer);
    denial_note_many(subject, holding->spiffe_id, "sign",
                     answer.is_allowed ? AUDIT_DECIDER_ENTRY : answer.decider,
                     !answer.is_allowed && answer.decider_id[0] ? answer.decider_id : NULL,
                     answer.is_allowed ? "the key was withdrawn from it" : answer.reason, count);
}

/* A process goes on with a key that it has lost. */
static void record_refusals(struct mailbox_message *message)
{
    struct gate *gate = container_of(message, struct gate, refusal);
    CK_OBJECT_HANDLE key = atomic_load(&gate->refused_key);
    unsigned count = atomic_exchange(&gate->refusals, 0);
    const struct tally *tally;
    LIST_FOREACH (tally, &gate->subject->tallies, of_subject) {
        if (tally->handle == key) {
            record_refusal(gate->subject, tally->holding, count);
            break;
        }
    }
    token_guard_unref(&gate->guard);
}

static void refused(struct token_guard *guard, CK_OBJECT_HANDLE key)
{
    struct gate *gate = gate_of(guard);
    atomic_store(&gate->refused_key, key);
    if (atomic_fetch_add(&gate->refusals, 1) == 0) {
        (void)token_guard_ref(guard);
        mailbox_post(gate->access->mailbox, &gate->refusal);
    }
}

/* A copy of the descriptor is in somebody else's hands. */
struct trespass {
    struct mailbox_message message;
    struct gate *gate; /* a reference */
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

static void record_trespass(struct mailbox_message *message)
{
    struct trespass *trespass = container_of(message, struct trespass, message);
    struct gate *gate = trespass->gate;
    const struct audit_process process = {
        .pid = trespass->pid,
        .uid = trespass->uid,
        .gid = trespass->gid,
    };
    _cleanup_(free_cleanup) char *reason =
        text_format("it wrote into the PKCS#11 connection of pid %d, which is not its own",
                    (int)gate->peer->pid);
    for (size_t i = 0; i < gate->count; i++) {
        const char *spiffe_id = gate->terms[i].entry->spiffe_id;
        if (i > 0 && strcmp(spiffe_id, gate->terms[i - 1].entry->spiffe_id) == 0) {
            continue; /* another generation of its key */
        }
        const struct audit_event event = {
            .action = AUDIT_DENIED,
            .is_failure = true,
            .spiffe_id = spiffe_id,
            .process = &process,
            .asked = "PKCS#11",
            .decider = AUDIT_DECIDER_PROCESS,
            .reason = reason,
        };
        record_event(gate->access, &event);
    }
    token_guard_unref(&gate->guard);
    free(trespass);
}

static void trespassed(struct token_guard *guard, pid_t pid, uid_t uid, gid_t gid)
{
    struct trespass *trespass = NEW(struct trespass);
    *trespass = (struct trespass){
        .message.deliver = record_trespass,
        .gate = gate_of(token_guard_ref(guard)),
        .pid = pid,
        .uid = uid,
        .gid = gid,
    };
    mailbox_post(trespass->gate->access->mailbox, &trespass->message);
}

static void free_gate(struct mailbox_message *message)
{
    struct gate *gate = container_of(message, struct gate, last);
    for (size_t i = 0; i < gate->count; i++) {
        tally_unref(gate->terms[i].tally);
        identity_meters_unref(gate->terms[i].meters);
        entry_unref(gate->terms[i].entry);
    }
    peer_unref(gate->peer);
    subject_unref(gate->subject);
    free(gate->terms);
    free(gate);
}

/* Entries are the loop's. */
static void leave_to_loop(struct token_guard *guard)
{
    struct gate *gate = gate_of(guard);
    mailbox_post(gate->access->mailbox, &gate->last);
}

static const struct token_guard_operations operations = {.admit = admit,
                                                         .used = used,
                                                         .free = leave_to_loop,
                                                         .refused = refused,
                                                         .trespassed = trespassed};

static void add_terms(struct gate *gate, const struct access_watch *watch,
                      const struct svid_x509 *svid, const struct policy_answer *answer)
{
    const struct rule *rule = answer->rule;
    struct terms *terms = &gate->terms[gate->count++];
    *terms = (struct terms){
        .tag = access_tag(svid),
        .tally = tally_ref(tally_get(watch->subject, svid)),
        .meters = policy_meters(watch->access->config.policy, svid->entry->spiffe_id),
        .entry = entry_ref(svid->entry),
        .until_s = answer->until_s,
    };
    tally_set_rule(terms->tally, rule ? rule->pattern : NULL);
    if (rule) {
        terms->sign_rate = rule->sign_rate;
        terms->sign_burst = rule->sign_burst ? rule->sign_burst : rule->sign_rate;
        terms->max_uses = rule->max_uses;
    }
}

/* All generations of an identity. Decided once more, as it counts now that it is held. */
static void add_identity(struct gate *gate, const struct access_watch *watch,
                         const struct svid_x509 *newest)
{
    struct policy_answer answer;
    struct subject *subject = watch->subject;
    const char *spiffe_id = newest->entry->spiffe_id;
    const struct policy_holder holder = {
        .process = &subject->process,
        .first_use_s = subject_holding(subject, spiffe_id)->first_use_s,
    };
    policy_decide_holder(watch->access->config.policy, spiffe_id, &holder, clock_now_s(), &answer);
    if (!answer.is_allowed) {
        return; /* a moment ago it was; the next beat says so */
    }
    for (const struct svid_x509 *svid = newest; svid; svid = svid->previous) {
        if (svid->key) {
            add_terms(gate, watch, svid, &answer);
        }
    }
}

struct token_guard *gate_new(const struct access_watch *watch, const struct identity_set *set)
{
    struct subject *subject = watch->subject;
    struct gate *gate = NEW(struct gate);
    size_t most = 0;
    *gate = (struct gate){
        .guard.operations = &operations,
        .access = watch->access,
        .peer = peer_ref(subject->peer),
        .subject = subject_ref(subject),
        .refusal.deliver = record_refusals,
        .program = subject->program,
        .is_program_known = subject->is_program_known,
        .last.deliver = free_gate,
    };
    atomic_init(&gate->guard.references, 1);
    for (size_t i = 0; i < set->count; i++) {
        most += 1 + svid_x509_previous_count(set->svids[i]);
    }
    gate->terms = memory_new_array(most, sizeof(*gate->terms));
    for (size_t i = 0; i < set->count; i++) {
        add_identity(gate, watch, set->svids[i]);
    }
    return &gate->guard;
}
