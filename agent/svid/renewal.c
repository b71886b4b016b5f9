#include "agent/svid/renewal.h"

#include <string.h>

#include "agent/svid/state.h"
#include "agent/svid/svid.h"
#include "agent/svid/timing.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    /* How long an SVID that nobody could get is tried for after the last one left. */
    UNUSED_RETRY_MS = 600000,
    /* Renewal becomes urgent when so little of a life is left: a quarter. */
    URGENT_PART = 4,
};

static int64_t now_s(const struct identity *identity)
{
    return timer_heap_now_s(&identity->manager->timers);
}

static uint64_t now_ms(const struct identity *identity)
{
    return timer_heap_now_ms(&identity->manager->timers);
}

static bool is_wanted(const struct identity *identity)
{
    if (identity->is_removed || identity_is_denied(identity) || identity->manager->is_stopping) {
        return false;
    }
    if (identity_has_subscriber(identity)) {
        return true;
    }
    if (identity->used_ms == 0) {
        return false;
    }
    return identity->svid ? identity->used_ms >= identity->received_ms
                          : now_ms(identity) - identity->used_ms < UNUSED_RETRY_MS;
}

/* Whether the clock was set back to before the SVID begins. One whose issuer is ahead of this
 * host's clock is no such case: a new one would begin no earlier. */
static bool is_before_its_time(const struct identity *identity)
{
    int64_t now = now_s(identity);
    return now < identity->svid->not_before_s && now < identity->received_s;
}

static bool needs_svid(const struct identity *identity)
{
    return !identity->svid || identity->is_stale || now_s(identity) >= identity->renew_at_s ||
           is_before_its_time(identity);
}

/* Before it comes to an expiry for those who use it. */
static int64_t urgent_at_s(const struct identity *identity)
{
    int64_t expires_at_s = identity->svid->expires_at_s;
    return expires_at_s - (expires_at_s - identity->received_s) / URGENT_PART;
}

static bool is_urgent(const struct identity *identity)
{
    if (!identity_has_subscriber(identity)) {
        return false;
    }
    if (!identity->svid || identity->is_hurried || is_before_its_time(identity)) {
        return true;
    }
    return now_s(identity) >= urgent_at_s(identity);
}

/* When the wall clock will show at_s, by the monotonic one. */
static uint64_t when(const struct identity *identity, int64_t at_s)
{
    int64_t left_s = at_s - now_s(identity);
    return now_ms(identity) + (left_s > 0 ? (uint64_t)left_s * 1000 : 0);
}

/* The next moment at which there may be something to do; UINT64_MAX: none. */
static uint64_t next_look_ms(const struct identity *identity)
{
    uint64_t due_ms = UINT64_MAX;
    if (identity->svid) {
        due_ms = when(identity, identity->svid->expires_at_s - TIMING_EXPIRY_MARGIN_S);
    }
    if (!is_wanted(identity)) {
        return due_ms;
    }
    if (!identity->issuance) {
        return MIN(due_ms, needs_svid(identity) ? identity->retry_at_ms
                                                : when(identity, identity->renew_at_s));
    }
    bool may_hurry = identity->svid && identity_has_subscriber(identity);
    if (may_hurry && !issuance_is_urgent(identity->issuance)) {
        due_ms = MIN(due_ms, when(identity, urgent_at_s(identity)));
    }
    return due_ms;
}

void renewal_arm(struct identity *identity)
{
    uint64_t due_ms = next_look_ms(identity);
    if (due_ms != UINT64_MAX) {
        timer_set(&identity->manager->timers, &identity->timer, due_ms);
        return;
    }
    timer_cancel(&identity->manager->timers, &identity->timer);
    if (!identity->issuance) { /* whoever comes next gets a try of their own */
        identity_clear_failure(identity);
    }
}

/* A reason is logged when it changes, and one that many identities share once in a while. */
static void log_failure(struct identity *identity, const struct error *failure)
{
    enum { SAME_REASON_PAUSE_MS = 10000 };
    struct manager *manager = identity->manager;
    bool is_known = identity->failures > 0 && identity->failure &&
                    strcmp(identity->failure->text, failure->text) == 0;
    bool is_common = manager->logged_reason && strcmp(manager->logged_reason, failure->text) == 0 &&
                     now_ms(identity) - manager->logged_ms < SAME_REASON_PAUSE_MS;
    if (is_known || is_common) {
        manager->unlogged_failures++;
        return;
    }
    log_warning("cannot issue an X.509-SVID spiffe_id=%s entry=%s unlogged_failures=%zu "
                "reason=\"%s\"",
                identity->entry->spiffe_id, identity->entry->id, manager->unlogged_failures,
                failure->text);
    free(manager->logged_reason);
    manager->logged_reason = memory_copy_text(failure->text);
    manager->logged_ms = now_ms(identity);
    manager->unlogged_failures = 0;
}

static void note_failure(struct identity *identity, const struct error *failure)
{
    int64_t left_s = identity->svid ? identity->svid->expires_at_s - now_s(identity) : 0;
    log_failure(identity, failure);
    identity->manager->failures++;
    identity->failures++;
    identity->retry_at_ms = now_ms(identity) + timing_retry_ms(identity->failures, left_s);
    identity_set_failure(identity, failure);
    groups_identity_changed(identity);
}

static int check_issued(const struct identity *identity, const struct svid_x509 *svid,
                        struct error *err)
{
    if (svid->expires_at_s - TIMING_EXPIRY_MARGIN_S <= now_s(identity)) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "the issuer's certificate for %s has expired already; are the clocks of "
                         "this host and of the issuer right?",
                         identity->entry->spiffe_id);
    }
    return 0;
}

static void note_issued(struct identity *identity, struct svid_x509 *svid)
{
    if (identity->failures > 0) {
        log_info("an X.509-SVID was issued again spiffe_id=%s entry=%s failures=%u",
                 identity->entry->spiffe_id, identity->entry->id, identity->failures);
    }
    if (svid->entry != identity->entry) { /* the entry got a new hint, say, meanwhile */
        entry_unref(svid->entry);
        svid->entry = entry_ref(identity->entry);
    }
    const struct manager_watcher *watcher = &identity->manager->watcher;
    if (watcher->issued) {
        watcher->issued(watcher->user, svid, identity->svid);
    }
    if (identity->svid) {
        svid_x509_keep_previous(svid, identity->svid, now_s(identity));
    }
    identity->svid = svid;
    identity->received_s = now_s(identity);
    identity->received_ms = now_ms(identity);
    identity->renew_at_s = timing_renew_at_s(identity->received_s, svid->expires_at_s);
    identity->is_stale = identity->is_hurried = false;
    identity->retry_at_ms = 0;
    identity_clear_failure(identity);
    identity->manager->issued++;
    log_debug("issued an X.509-SVID spiffe_id=%s entry=%s serial=%s expires_at=%lld",
              identity->entry->spiffe_id, identity->entry->id, svid->serial ? svid->serial : "",
              (long long)svid->expires_at_s);
    groups_identity_changed(identity);
}

void renewal_restore(struct identity *identity, struct svid_x509 *svid)
{
    const struct plan *plan = &identity->plan;
    if (identity->svid || identity_is_denied(identity) || plan->protection != svid->protection ||
        key_shelf_keystore(plan->shelf) != key_keystore(svid->key) ||
        key_shelf_type(plan->shelf) != key_type(svid->key) ||
        svid->expires_at_s - TIMING_EXPIRY_MARGIN_S <= now_s(identity)) {
        svid_x509_unref(svid);
        return;
    }
    if (identity->issuance) {
        issuance_abandon(take_ptr(identity->issuance));
    }
    svid_x509_set_entry(svid, identity->entry);
    identity->svid = svid;
    identity->received_s = now_s(identity);
    identity->received_ms = identity->used_ms = now_ms(identity);
    identity->renew_at_s = timing_renew_at_s(identity->received_s, svid->expires_at_s);
    groups_identity_changed(identity);
    renewal_touch(identity);
}

static int may_go_on(void *user, struct error *err)
{
    const struct identity *identity = user;
    const struct manager_watcher *watcher = &identity->manager->watcher;
    return watcher->may_still_issue ? watcher->may_still_issue(watcher->user, identity->entry, err)
                                    : 0;
}

static void on_issuance_done(void *user, struct svid_x509 *svid, const struct error *failure)
{
    struct identity *identity = user;
    struct manager *manager = identity->manager;
    struct error err;
    manager_enter(manager);
    identity->issuance = NULL;
    if (svid && (check_issued(identity, svid, &err) < 0 || may_go_on(identity, &err) < 0)) {
        svid_x509_unref(take_ptr(svid));
        failure = &err;
    }
    if (svid) {
        note_issued(identity, svid);
    } else {
        note_failure(identity, failure);
    }
    renewal_arm(identity);
    manager_leave(manager);
}

static void on_issuance_overdue(void *user)
{
    struct identity *identity = user;
    struct manager *manager = identity->manager;
    manager_enter(manager);
    if (!identity->svid) {
        groups_identity_changed(identity);
    }
    manager_leave(manager);
}

static bool may_issue(struct identity *identity)
{
    const struct manager_watcher *watcher = &identity->manager->watcher;
    struct error err;
    if (watcher->may_issue && watcher->may_issue(watcher->user, identity->entry, &err) < 0) {
        note_failure(identity, &err);
        return false;
    }
    return true;
}

static void issue(struct identity *identity)
{
    static const struct issuance_user operations = {on_issuance_done, on_issuance_overdue,
                                                    may_go_on};
    bool urgent = is_urgent(identity);
    if (identity->issuance && urgent && !issuance_is_urgent(identity->issuance) &&
        !issuance_hurry(identity->issuance)) {
        issuance_abandon(take_ptr(identity->issuance));
    }
    if (!identity->issuance && now_ms(identity) >= identity->retry_at_ms && may_issue(identity)) {
        identity->issuance = issuance_start(&identity->manager->issuances, identity->entry,
                                            &identity->plan, urgent, &operations, identity);
    }
}

void renewal_review(struct timer *timer)
{
    struct identity *identity = container_of(timer, struct identity, timer);
    struct manager *manager = identity->manager;
    manager_enter(manager);
    identity_drop_unusable(identity);
    if (is_wanted(identity) && needs_svid(identity)) {
        issue(identity);
    }
    renewal_arm(identity);
    manager_leave(manager);
}

void renewal_touch(struct identity *identity)
{
    timer_set(&identity->manager->timers, &identity->timer, now_ms(identity));
}

bool renewal_is_missing(const struct identity *identity)
{
    bool may_start = !identity->issuance && now_ms(identity) >= identity->retry_at_ms;
    bool may_hurry = identity->issuance && !issuance_is_urgent(identity->issuance);
    return needs_svid(identity) && (may_start || may_hurry);
}
