/* What one connection, or one call, of a process may have: from who it is to what it is offered. */
#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/svid/svid.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

void watch_enter(struct access_watch *watch)
{
    watch->busy++;
}

void watch_left(struct access_watch *watch)
{
    if (--watch->busy == 0 && watch->is_freed) {
/* The analyzer cannot count: it takes each of these calls for the last. */
#ifndef __clang_analyzer__
        free(watch);
#endif
    }
}

static void unqueue(struct access_watch *watch)
{
    if (watch->queue) {
        TAILQ_REMOVE(watch->queue, watch, queued);
        watch->queue = NULL;
    }
}

void watch_enqueue(struct access_watch *watch, struct access_watch_list *queue)
{
    if (!watch->queue) {
        watch->queue = queue;
        TAILQ_INSERT_TAIL(queue, watch, queued);
    }
}

struct access_watch *watch_dequeue(struct access_watch_list *queue)
{
    struct access_watch *watch = TAILQ_FIRST(queue);
    if (watch) {
        watch->queue = NULL;
        TAILQ_REMOVE(queue, watch, queued);
    }
    return watch;
}

/* Following. */

static void identities_changed(void *user, struct identity_set *set, const struct error *failure)
{
    struct access_watch *watch = user;
    if (watch->is_freed || watch->is_over) {
        return;
    }
    watch_enter(watch);
    watch_forget(watch);
    watch_drop_set(&watch->set);
    if (!peer_is_alive(watch->subject->peer)) {
        /* Somebody else holds the connection now, such as a child of the process. */
        struct error error;
        (void)error_set(&error, ERROR_UNAVAILABLE, "%s", subject_ended);
        watch_offer_failure(watch, &error, true, AUDIT_DECIDER_PROCESS);
    } else if (failure) {
        if (failure->code == ERROR_PERMISSION_DENIED) {
            watch_note_unissued(watch, failure);
        }
        watch_offer_failure(watch, failure, false, AUDIT_DECIDER_NODE);
    } else {
        watch->set = identity_set_ref(set);
        watch_decide(watch);
    }
    watch_left(watch);
}

static void follow(struct access_watch *watch)
{
    struct subscription *subscription = manager_subscribe(
        watch->access->config.manager, &watch->subject->selectors, identities_changed, watch);
    if (watch->is_freed) {
        subscription_free(subscription);
    } else {
        watch->subscription = subscription;
    }
}

void watches_follow_anew(struct subject *subject)
{
    struct access_watch_list queue = TAILQ_HEAD_INITIALIZER(queue);
    struct access_watch *watch;
    TAILQ_FOREACH (watch, &subject->watches, of_subject) {
        if (watch->subscription) {
            watch_enqueue(watch, &queue);
        }
    }
    while ((watch = watch_dequeue(&queue)) != NULL) {
        subscription_free(take_ptr(watch->subscription));
        watch_enter(watch);
        follow(watch);
        watch_left(watch);
    }
}

static void end_all(struct subject *subject, const char *reason)
{
    struct access_watch_list queue = TAILQ_HEAD_INITIALIZER(queue);
    struct access_watch *watch;
    struct error failure;
    subject->is_over = true;
    (void)error_set(&failure, ERROR_UNAVAILABLE, "%s; it has to connect again", reason);
    subject_ref(subject);
    TAILQ_FOREACH (watch, &subject->watches, of_subject) {
        unqueue(watch); /* whatever else was to happen to it */
        watch_enqueue(watch, &queue);
    }
    while ((watch = watch_dequeue(&queue)) != NULL) {
        watch_enter(watch);
        watch_forget(watch);
        watch_offer_failure(watch, &failure, true, AUDIT_DECIDER_PROCESS);
        watch_left(watch);
    }
    subject_unref(subject);
}

void watches_end_changed(struct subject *subject, const char *reason)
{
    if (!subject->is_over) {
        subject->access->status.changed_processes++;
        denial_note(subject, NULL, "hold", AUDIT_DECIDER_PROCESS, NULL, reason);
        end_all(subject, reason);
    }
}

void watches_end(struct subject *subject, const char *reason)
{
    if (peer_is_alive(subject->peer)) {
        watches_end_changed(subject, reason);
    } else if (!subject->is_over) { /* as processes do; a child of it may hold the connection */
        end_all(subject, subject_ended);
    }
}

static void attested(void *user, const struct text_list *selectors, const struct error *failure)
{
    struct access_watch *watch = user;
    struct error error;
    account_work_end(watch->account->accounts, watch->account);
    if (watch->is_freed || watch->is_over) {
        watch_left(watch);
        return;
    }
    if (failure) {
        error = *failure;
        (void)error_prepend(&error, "workload attestation failed");
        denial_note(watch->subject, NULL, watch->asked, AUDIT_DECIDER_PROCESS, NULL, error.text);
        watch_offer_failure(watch, &error, true, AUDIT_DECIDER_PROCESS);
    } else if (!subject_is_same(watch->subject)) {
        watches_end(watch->subject, subject_changed);
    } else {
        if (subject_set_selectors(watch->subject, selectors)) {
            watches_follow_anew(watch->subject);
        }
        follow(watch);
    }
    watch_left(watch);
}

static bool wants_all(const struct svid_x509 *svid)
{
    (void)svid;
    return true;
}

int access_watch_new(struct access *access, const struct caller *caller,
                     enum access_purpose purpose, const char *asked,
                     bool (*wanted)(const struct svid_x509 *svid),
                     void (*changed)(void *user, const struct access_offer *offer), void *user,
                     struct access_watch **ret_watch, struct error *err)
{
    if (caller->is_known) {
        account_work_go_on(caller->account->accounts, caller->account);
    } else {
        TRY(account_work_begin(caller->account->accounts, caller->account, err));
    }
    struct access_watch *watch = NEW(struct access_watch);
    *watch = (struct access_watch){
        .access = access,
        .account = caller->account,
        .subject = subject_get(access, caller->peer),
        .purpose = purpose,
        .asked = asked,
        .wanted = wanted ? wanted : wants_all,
        .changed = changed,
        .user = user,
        .until_s = INT64_MAX,
        .busy = 1,
    };
    TAILQ_INSERT_TAIL(&access->watches, watch, link);
    TAILQ_INSERT_TAIL(&watch->subject->watches, watch, of_subject);
    access->status.watches++;
    access_beat(access);
    *ret_watch = watch;
    attestor_attest(access->config.attestor, caller->peer, attested, watch);
    return 0;
}

void access_watch_note_denied(struct access_watch *watch, const char *spiffe_id, const char *rule,
                              const char *reason)
{
    denial_note(watch->subject, spiffe_id, watch->asked, AUDIT_DECIDER_RULE, rule, reason);
}

const struct audit_process *access_watch_process(const struct access_watch *watch)
{
    return &watch->subject->process;
}

void access_watch_free(struct access_watch *watch)
{
    if (!watch || watch->is_freed) {
        return;
    }
    watch_enter(watch);
    watch->is_freed = true;
    unqueue(watch);
    watch_forget(watch);
    subscription_free(take_ptr(watch->subscription));
    watch_drop_set(&watch->set);
    watch_drop_set(&watch->offered);
    free(take_ptr(watch->refusal));
    if (watch->guard) {
        token_guard_unref(take_ptr(watch->guard));
    }
    TAILQ_REMOVE(&watch->access->watches, watch, link);
    TAILQ_REMOVE(&watch->subject->watches, watch, of_subject);
    watch->access->status.watches--;
    subject_unref(take_ptr(watch->subject));
    watch_left(watch);
}
