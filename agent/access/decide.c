/* What a watch is offered: each identity that entries give is decided, recorded, and told. */
#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/svid/svid.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* An identity of the set while it is decided. */
struct question {
    struct access_watch *watch;
    struct svid_x509 *svid; /* the set's */
    struct outside_wait wait;
    bool is_allowed, is_open;
};

/* Whatever is under way decides about something older. */
void watch_forget(struct access_watch *watch)
{
    for (size_t i = 0; i < watch->question_count; i++) {
        if (watch->questions[i].is_open) {
            outside_wait_cancel(&watch->questions[i].wait);
        }
    }
    free(take_ptr(watch->questions));
    watch->question_count = watch->questions_open = 0;
    if (watch->is_committing) {
        watch->is_committing = false;
        audit_wait_cancel(&watch->commit);
    }
}

/* Telling. */

static void tell(struct access_watch *watch, const struct access_offer *offer)
{
    watch_enter(watch);
    watch->changed(watch->user, offer);
    watch_left(watch);
}

/* decider, reason: where the identity itself was not refused. */
static void note_lost(struct access_watch *watch, const char *spiffe_id, enum audit_decider decider,
                      const char *reason)
{
    struct access_effect *effect = watch->access->effect;
    struct subject *subject = watch->subject;
    struct holding *holding = subject_holding(subject, spiffe_id);
    if (!holding->is_held) {
        return;
    }
    holding->is_held = false;
    _cleanup_(free_cleanup) struct refusal *refusal = take_ptr(holding->refusal);
    const struct audit_event event = {
        .action = AUDIT_WITHDRAWN,
        .spiffe_id = spiffe_id,
        .process = &subject->process,
        .asked = watch->asked,
        .decider = refusal ? refusal->decider : decider,
        .decider_id = refusal && refusal->decider_id[0] ? refusal->decider_id : NULL,
        .reason = refusal ? refusal->error.text : reason,
    };
    record_event(watch->access, &event);
    if (effect) {
        effect->identities++;
        effect->processes += !subject->is_affected;
        subject->is_affected = true;
    }
}

static bool has_identity(const struct identity_set *set, const char *spiffe_id)
{
    for (size_t i = 0; set && i < set->count; i++) {
        if (strcmp(set->svids[i]->entry->spiffe_id, spiffe_id) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_svid(const struct identity_set *set, const struct svid_x509 *svid)
{
    for (size_t i = 0; set && i < set->count; i++) {
        if (set->svids[i] == svid) {
            return true;
        }
    }
    return false;
}

/* What the records say before it is told. set: NULL: nothing. */
static void record_offer(struct access_watch *watch, const struct identity_set *set,
                         enum audit_decider decider, const char *reason)
{
    const struct identity_set *before = watch->offered;
    for (size_t i = 0; before && i < before->count; i++) {
        const char *spiffe_id = before->svids[i]->entry->spiffe_id;
        if (watch->wanted(before->svids[i]) && !has_identity(set, spiffe_id)) {
            note_lost(watch, spiffe_id, decider, reason);
        }
    }
    for (size_t i = 0; set && i < set->count; i++) {
        const struct svid_x509 *svid = set->svids[i];
        if (watch->wanted(svid) && !has_svid(before, svid)) {
            struct holding *holding = subject_holding(watch->subject, svid->entry->spiffe_id);
            holding->is_held = true;
            holding->first_use_s = holding->first_use_s ? holding->first_use_s : clock_now_s();
            tally_fetched(tally_get(watch->subject, svid), watch->asked);
        }
    }
}

static void offer_set(struct access_watch *watch, struct identity_set *set)
{
    const struct error *denied = watch->refusal ? &watch->refusal->error : NULL;
    record_offer(watch, set, AUDIT_DECIDER_ENTRY, "no entry gives it any more");
    watch_drop_set(&watch->offered);
    watch->offered = identity_set_ref(set);
    struct access_offer offer = {.set = set, .denied = denied};
    if (watch->guard) {
        token_guard_unref(take_ptr(watch->guard));
    }
    if (watch->purpose == ACCESS_PURPOSE_USE) {
        offer.guard = watch->guard = gate_new(watch, set);
    }
    tell(watch, &offer);
}

void watch_offer_failure(struct access_watch *watch, const struct error *failure, bool is_over,
                         enum audit_decider decider)
{
    const struct access_offer offer = {.failure = failure, .is_over = is_over};
    watch->is_over = watch->is_over || is_over;
    record_offer(watch, NULL, decider, failure->text);
    watch_drop_set(&watch->offered);
    tell(watch, &offer);
}

/* Deciding. */

static struct identity_set *allowed_of(const struct access_watch *watch)
{
    struct identity_set *set = watch->set;
    struct svid_x509 **svids = memory_new_array(set->count, sizeof(struct svid_x509 *));
    size_t count = 0;
    for (size_t i = 0; i < watch->question_count; i++) {
        if (watch->questions[i].is_allowed) {
            svids[count++] = watch->questions[i].svid;
        }
    }
    struct identity_set *allowed =
        count == set->count ? identity_set_ref(set) : identity_set_new(svids, count, set->bundle);
    free((void *)svids);
    return allowed;
}

static bool has_new_svid(const struct access_watch *watch, const struct identity_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (!has_svid(watch->offered, set->svids[i])) {
            return true;
        }
    }
    return false;
}

/* A token's guard holds terms that may have changed, so it is always told. */
static void offer_allowed(struct access_watch *watch)
{
    struct identity_set *allowed = allowed_of(watch);
    watch_forget(watch);
    if (has_new_svid(watch, allowed) && !subject_is_same(watch->subject)) {
        /* It may have become so while the SVID was made. */
        watches_end(watch->subject, subject_changed);
    } else if (watch->purpose == ACCESS_PURPOSE_USE || !watch->offered ||
               !identity_set_is_equal(watch->offered, allowed)) {
        offer_set(watch, allowed);
    }
    identity_set_unref(allowed);
}

/* Whether the identity of the SVID, which was offered, may go on being. */
static bool is_kept(const struct access_watch *watch, const struct svid_x509 *svid)
{
    for (size_t i = 0; i < watch->question_count; i++) {
        const struct question *question = &watch->questions[i];
        const struct entry *entry = question->svid->entry;
        if (strcmp(entry->id, svid->entry->id) == 0) {
            return question->is_allowed && strcmp(entry->spiffe_id, svid->entry->spiffe_id) == 0;
        }
    }
    return false;
}

static bool has_allowed(const struct access_watch *watch)
{
    for (size_t i = 0; i < watch->question_count; i++) {
        if (watch->questions[i].is_allowed) {
            return true;
        }
    }
    return false;
}

/* What is given waits, for an answer or for the disk; what is taken away does not. */
static void narrow_offer(struct access_watch *watch)
{
    const struct identity_set *offered = watch->offered;
    size_t count = 0;
    if (!offered) {
        return;
    }
    _cleanup_(free_cleanup) struct svid_x509 **svids =
        memory_new_array(offered->count, sizeof(struct svid_x509 *));
    for (size_t i = 0; i < offered->count; i++) {
        if (is_kept(watch, offered->svids[i])) {
            svids[count++] = offered->svids[i];
        }
    }
    /* A stream would end by it, though something is to come. */
    bool would_end = watch->purpose == ACCESS_PURPOSE_FETCH && count == 0 && has_allowed(watch);
    bool has_new_terms = watch->purpose == ACCESS_PURPOSE_USE && watch->access->effect;
    if ((count < offered->count || has_new_terms) && !would_end) {
        struct identity_set *kept = identity_set_new(svids, count, offered->bundle);
        offer_set(watch, kept);
        identity_set_unref(kept);
    }
}

static void committed(struct audit_wait *wait, const struct error *failure)
{
    struct access_watch *watch = container_of(wait, struct access_watch, commit);
    struct access *access = watch->access;
    watch_enter(watch);
    watch->is_committing = false;
    if (failure) {
        access->has_uncommitted = true;
        access_beat(access);
        watch_forget(watch);
        watch_offer_failure(watch, failure, false, AUDIT_DECIDER_NODE);
    } else {
        access->has_doubtful_record = false; /* all that was written before is on the disk */
        offer_allowed(watch);
    }
    watch_left(watch);
}

static bool must_commit(const struct access *access)
{
    return access->config.audit &&
           (!LIST_EMPTY(&access->unrecorded) || access->has_doubtful_record ||
            !audit_is_usable(access->config.audit));
}

/* All answers are there. An SVID is given out when the record of its making is on the disk. */
static void settle(struct access_watch *watch)
{
    const struct access *access = watch->access;
    if (must_commit(access)) {
        watch->is_committing = true;
        watch->commit = (struct audit_wait){.done = committed};
        audit_commit(access->config.audit, &watch->commit);
        narrow_offer(watch);
        return;
    }
    offer_allowed(watch);
}

static struct refusal *refusal_new(const char *spiffe_id, enum audit_decider decider,
                                   const char *decider_id, const char *reason)
{
    struct refusal *refusal = NEW(struct refusal);
    refusal->decider = decider;
    (void)snprintf(refusal->decider_id, sizeof(refusal->decider_id), "%s",
                   decider_id ? decider_id : "");
    (void)error_set(&refusal->error, ERROR_PERMISSION_DENIED, "%s: %s", spiffe_id, reason);
    return refusal;
}

static void refuse(struct access_watch *watch, const char *spiffe_id, enum audit_decider decider,
                   const char *decider_id, const char *reason)
{
    struct holding *holding = subject_holding(watch->subject, spiffe_id);
    if (holding->is_held) {
        free(holding->refusal);
        holding->refusal = refusal_new(spiffe_id, decider, decider_id, reason);
    }
    if (!watch->refusal) {
        watch->refusal = refusal_new(spiffe_id, decider, decider_id, reason);
    }
}

static void note_denied(struct access_watch *watch, const char *spiffe_id,
                        enum audit_decider decider, const char *decider_id, const char *reason)
{
    denial_note(watch->subject, spiffe_id, watch->asked, decider, decider_id, reason);
    refuse(watch, spiffe_id, decider, decider_id, reason);
}

static void rule_denied(void *user, const struct entry *entry, const struct error *reason)
{
    note_denied(user, entry->spiffe_id, AUDIT_DECIDER_RULE, NULL, reason->text);
}

static void note_nothing(struct access_watch *watch)
{
    manager_each_denied(watch->access->config.manager, &watch->subject->selectors, rule_denied,
                        watch);
    if (watch->refusal) {
        return;
    }
    /* A token is there for every process that loads PKCS#11, with something on it or not. */
    if (watch->purpose == ACCESS_PURPOSE_FETCH) {
        denial_note(watch->subject, NULL, watch->asked, AUDIT_DECIDER_ENTRY, NULL,
                    "no entry applies to this process");
    }
}

static void note_policy_denied(void *user, struct entry *entry)
{
    struct access_watch *watch = user;
    struct policy_answer answer;
    const struct policy_holder holder = {
        .process = &watch->subject->process,
        .first_use_s = subject_holding(watch->subject, entry->spiffe_id)->first_use_s,
    };
    policy_decide_holder(watch->access->config.policy, entry->spiffe_id, &holder, clock_now_s(),
                         &answer);
    if (!answer.is_allowed) {
        note_denied(watch, entry->spiffe_id, answer.decider,
                    answer.decider_id[0] ? answer.decider_id : NULL, answer.reason);
    }
}

void watch_note_unissued(struct access_watch *watch, const struct error *failure)
{
    free(take_ptr(watch->refusal));
    manager_each_match(watch->access->config.manager, &watch->subject->selectors,
                       note_policy_denied, watch);
    if (!watch->refusal) { /* a limit of issuance, such as svid_rate */
        denial_note(watch->subject, NULL, watch->asked, AUDIT_DECIDER_RULE, NULL, failure->text);
    }
}

static void outside_answered(struct outside_wait *wait, bool is_allowed, const char *reason,
                             uint64_t until_ms)
{
    struct question *question = container_of(wait, struct question, wait);
    struct access_watch *watch = question->watch;
    (void)until_ms; /* what was given out is not asked for again; each use of a key is */
    question->is_open = false;
    question->is_allowed = is_allowed;
    if (!is_allowed) {
        note_denied(watch, question->svid->entry->spiffe_id, AUDIT_DECIDER_OUTSIDE, NULL,
                    reason ? reason : "the outside policy does not allow it");
    }
    if (--watch->questions_open == 0) {
        watch_enter(watch);
        settle(watch);
        watch_left(watch);
    }
}

static void ask_outside(struct question *question)
{
    struct access_watch *watch = question->watch;
    struct access *access = watch->access;
    const struct outside_question asked =
        subject_question(watch->subject, question->svid->entry, "issue");
    question->wait = (struct outside_wait){.done = outside_answered};
    question->is_open = true;
    watch->questions_open++;
    outside_ask(access->config.outside, &asked, &question->wait);
}

static void decide_one(struct question *question, int64_t now_s)
{
    struct access_watch *watch = question->watch;
    struct access *access = watch->access;
    const char *spiffe_id = question->svid->entry->spiffe_id;
    struct holding *holding = subject_holding(watch->subject, spiffe_id);
    const struct policy_holder holder = {
        .process = &watch->subject->process,
        .first_use_s = holding->first_use_s,
    };
    struct policy_answer answer;
    policy_decide_holder(access->config.policy, spiffe_id, &holder, now_s, &answer);
    watch->until_s = MIN(watch->until_s, answer.until_s);
    holding->has_limits = answer.rule && (answer.rule->max_uses || answer.rule->first_use_within_s);
    question->is_allowed = answer.is_allowed;
    free(take_ptr(holding->refusal));
    if (!answer.is_allowed) {
        const char *decider_id = answer.decider_id[0] ? answer.decider_id : NULL;
        if (watch->wanted(question->svid)) {
            note_denied(watch, spiffe_id, answer.decider, decider_id, answer.reason);
        } else { /* something else was asked for; but why it is not there may be told */
            refuse(watch, spiffe_id, answer.decider, decider_id, answer.reason);
        }
    } else if (access->config.outside && watch->purpose == ACCESS_PURPOSE_FETCH &&
               watch->wanted(question->svid)) {
        ask_outside(question);
    }
}

void watch_decide(struct access_watch *watch)
{
    if (!watch->set || watch->is_over) {
        return;
    }
    watch_enter(watch);
    watch_forget(watch);
    size_t count = watch->set->count;
    watch->until_s = INT64_MAX;
    free(take_ptr(watch->refusal));
    watch->questions = memory_new_array(count, sizeof(*watch->questions));
    watch->question_count = count;
    watch->questions_open = 1; /* this function's: answers may come at once */
    for (size_t i = 0; i < count; i++) {
        watch->questions[i] = (struct question){.watch = watch, .svid = watch->set->svids[i]};
        decide_one(&watch->questions[i], clock_now_s());
    }
    if (count == 0) {
        note_nothing(watch);
    }
    if (watch->until_s != INT64_MAX) {
        access_beat(watch->access);
    }
    if (--watch->questions_open == 0) {
        settle(watch);
    } else {
        narrow_offer(watch);
    }
    watch_left(watch);
}
