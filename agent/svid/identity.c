#include "agent/svid/identity.h"

#include <string.h>

#include "agent/svid/group.h"
#include "agent/svid/state.h"
#include "agent/svid/timing.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    /* How long an SVID that nobody could get is tried for after the last one left. */
    UNUSED_RETRY_MS = 600000,
    /* A keystore that loses every new key at once must not keep the host busy. */
    LOST_KEY_PAUSE_MS = 1000,
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

static bool has_subscriber(const struct identity *identity)
{
    const struct membership *membership;
    LIST_FOREACH (membership, &identity->memberships, of_identity) {
        if (membership->group->subscription_count > 0) {
            return true;
        }
    }
    return false;
}

bool identity_is_denied(const struct identity *identity)
{
    return identity->plan.shelf == NULL;
}

static bool is_wanted(const struct identity *identity)
{
    if (identity->is_removed || identity_is_denied(identity) || identity->manager->is_stopping) {
        return false;
    }
    if (has_subscriber(identity)) {
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

static bool is_urgent(const struct identity *identity)
{
    if (!has_subscriber(identity)) {
        return false;
    }
    if (!identity->svid || identity->is_hurried || is_before_its_time(identity)) {
        return true;
    }
    int64_t life = identity->svid->expires_at_s - identity->received_s;
    return identity->svid->expires_at_s - now_s(identity) < life / URGENT_PART;
}

static void clear_failure(struct identity *identity)
{
    free(take_ptr(identity->failure));
}

static void set_failure(struct identity *identity, const struct error *failure)
{
    if (!identity->failure) {
        identity->failure = NEW(struct error);
    }
    *identity->failure = *failure;
}

static void abandon_issuance(struct identity *identity)
{
    if (identity->issuance) {
        issuance_abandon(take_ptr(identity->issuance));
    }
}

/* Takes the SVID away from everybody; reason is what they are told while there is no other. */
static void withdraw(struct identity *identity, const char *reason)
{
    if (!identity->svid) {
        return;
    }
    svid_x509_unref(take_ptr(identity->svid));
    identity->is_stale = identity->is_hurried = false;
    if (identity->failures == 0) {
        struct error failure;
        (void)error_set(&failure, ERROR_UNAVAILABLE,
                        "the X.509-SVID of %s is being issued anew: %s", identity->entry->spiffe_id,
                        reason);
        set_failure(identity, &failure);
    }
    groups_identity_changed(identity);
    if (!identity->is_removed) {
        identity_touch(identity);
    }
}

void identity_drop_unusable(struct identity *identity)
{
    const struct svid_x509 *svid = identity->svid;
    if (!svid) {
        return;
    }
    if (now_s(identity) >= svid->expires_at_s - TIMING_EXPIRY_MARGIN_S) {
        if (has_subscriber(identity)) {
            log_warning("an X.509-SVID expired before there was another spiffe_id=%s entry=%s",
                        identity->entry->spiffe_id, identity->entry->id);
        }
        withdraw(identity, "the one before has expired");
    } else if (svid->key && !key_is_alive(svid->key)) {
        log_warning("a keystore lost the key of an X.509-SVID spiffe_id=%s entry=%s keystore=%s",
                    identity->entry->spiffe_id, identity->entry->id,
                    keystore_name(key_keystore(svid->key)));
        identity->retry_at_ms =
            MAX(identity->retry_at_ms, identity->received_ms + LOST_KEY_PAUSE_MS);
        withdraw(identity, "the keystore lost its key");
    }
}

/* When the wall clock will show at_s, by the monotonic one. */
static uint64_t when(const struct identity *identity, int64_t at_s)
{
    int64_t left_s = at_s - now_s(identity);
    return now_ms(identity) + (left_s > 0 ? (uint64_t)left_s * 1000 : 0);
}

static void arm(struct identity *identity)
{
    uint64_t due_ms = UINT64_MAX;
    if (identity->svid) {
        due_ms = when(identity, identity->svid->expires_at_s - TIMING_EXPIRY_MARGIN_S);
    }
    if (!identity->issuance && is_wanted(identity)) {
        uint64_t next_ms =
            needs_svid(identity) ? identity->retry_at_ms : when(identity, identity->renew_at_s);
        due_ms = MIN(due_ms, next_ms);
    } else if (!identity->issuance && !identity->svid) {
        clear_failure(identity); /* whoever comes next gets a try of their own */
        identity->failures = 0;
    }
    if (due_ms == UINT64_MAX) {
        timer_cancel(&identity->manager->timers, &identity->timer);
    } else {
        timer_set(&identity->manager->timers, &identity->timer, due_ms);
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
    set_failure(identity, failure);
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
    if (identity->svid) {
        svid_x509_unref(identity->svid);
    }
    identity->svid = svid;
    identity->received_s = now_s(identity);
    identity->received_ms = now_ms(identity);
    identity->renew_at_s = timing_renew_at_s(identity->received_s, svid->expires_at_s);
    identity->is_stale = identity->is_hurried = false;
    identity->failures = 0;
    identity->retry_at_ms = 0;
    clear_failure(identity);
    identity->manager->issued++;
    log_debug("issued an X.509-SVID spiffe_id=%s entry=%s serial=%s expires_at=%lld",
              identity->entry->spiffe_id, identity->entry->id, svid->serial ? svid->serial : "",
              (long long)svid->expires_at_s);
    groups_identity_changed(identity);
}

static void on_issuance_done(void *user, struct svid_x509 *svid, const struct error *failure)
{
    struct identity *identity = user;
    struct error err;
    manager_enter(identity->manager);
    identity->issuance = NULL;
    if (svid && check_issued(identity, svid, &err) < 0) {
        svid_x509_unref(take_ptr(svid));
        failure = &err;
    }
    if (svid) {
        note_issued(identity, svid);
    } else {
        note_failure(identity, failure);
    }
    arm(identity);
    manager_leave(identity->manager);
}

static void issue(struct identity *identity)
{
    bool urgent = is_urgent(identity);
    if (identity->issuance && urgent && !issuance_is_urgent(identity->issuance) &&
        !issuance_hurry(identity->issuance)) {
        abandon_issuance(identity);
    }
    if (!identity->issuance && now_ms(identity) >= identity->retry_at_ms) {
        identity->issuance = issuance_start(&identity->manager->issuances, identity->entry,
                                            &identity->plan, urgent, on_issuance_done, identity);
    }
}

static void review(struct timer *timer)
{
    struct identity *identity = container_of(timer, struct identity, timer);
    manager_enter(identity->manager);
    identity_drop_unusable(identity);
    if (is_wanted(identity) && needs_svid(identity)) {
        issue(identity);
    }
    arm(identity);
    manager_leave(identity->manager);
}

void identity_touch(struct identity *identity)
{
    timer_set(&identity->manager->timers, &identity->timer, now_ms(identity));
}

void identity_use(struct identity *identity)
{
    struct issuer *issuer = identity->manager->issuer;
    identity->used_ms = now_ms(identity);
    if (!identity->is_seen_told) {
        identity->is_seen_told = true;
        if (!identity->entry->was_seen) {
            issuer->operations->entry_seen(issuer, identity->entry);
        }
    }
    bool may_start = !identity->issuance && now_ms(identity) >= identity->retry_at_ms;
    bool may_hurry = identity->issuance && !issuance_is_urgent(identity->issuance);
    if (needs_svid(identity) && (may_start || may_hurry)) {
        identity_touch(identity);
    }
}

struct identity *identity_new(struct manager *manager, struct entry *entry)
{
    struct identity *identity = NEW(struct identity);
    identity->manager = manager;
    identity->entry = entry_ref(entry);
    identity->timer.fire = review;
    LIST_INIT(&identity->memberships);
    (void)identity_apply_rules(identity);
    if (entry->was_seen) { /* a workload had it: it will come again */
        identity->used_ms = now_ms(identity);
        identity_touch(identity);
    }
    return identity;
}

void identity_free(struct identity *identity)
{
    abandon_issuance(identity);
    timer_cancel(&identity->manager->timers, &identity->timer);
    if (identity->svid) {
        svid_x509_unref(identity->svid);
    }
    if (identity->plan.shelf) {
        key_shelf_release(identity->plan.shelf);
    }
    clear_failure(identity);
    entry_unref(identity->entry);
    free(identity);
}

void identity_remove(struct identity *identity)
{
    identity->is_removed = true;
    abandon_issuance(identity);
    withdraw(identity, "its entry was removed");
    timer_cancel(&identity->manager->timers, &identity->timer);
}

/* The SVID stays; it says the same under the changed entry. */
static void rename_svid(struct identity *identity)
{
    struct svid_x509 *renamed;
    struct error err;
    if (!identity->svid) {
        return;
    }
    if (svid_x509_rename(identity->svid, identity->entry, &renamed, &err) < 0) {
        identity->is_stale = identity->is_hurried = true;
        return;
    }
    svid_x509_unref(identity->svid);
    identity->svid = renamed;
    groups_identity_changed(identity);
}

void identity_change_entry(struct identity *identity, struct entry *entry)
{
    _cleanup_(entry_unref_cleanup) struct entry *before = identity->entry;
    identity->entry = entry_ref(entry);
    if (strcmp(before->spiffe_id, entry->spiffe_id) != 0) {
        abandon_issuance(identity);
        withdraw(identity, "its entry has another SPIFFE ID now");
        identity->is_denial_logged = false;
        (void)identity_apply_rules(identity);
    } else if (!text_list_is_equal(&before->dns_names, &entry->dns_names) ||
               before->x509_svid_ttl_s != entry->x509_svid_ttl_s) {
        abandon_issuance(identity);
        rename_svid(identity);
        identity->is_stale = identity->is_hurried = true;
    } else {
        rename_svid(identity);
    }
    identity_touch(identity);
}

bool identity_apply_rules(struct identity *identity)
{
    struct manager *manager = identity->manager;
    struct plan before = identity->plan;
    struct plan plan = {0};
    (void)plan_make(manager->rules, identity->entry->spiffe_id, manager->keystores,
                    manager->keystore_count, manager->pool, &plan, NULL);
    if (plan.shelf == before.shelf && plan.protection == before.protection) {
        return false;
    }
    identity->plan = plan;
    if (plan.shelf) {
        key_shelf_use(plan.shelf);
    }
    if (before.shelf) {
        key_shelf_release(before.shelf);
    }
    abandon_issuance(identity);
    /* A key with less protection than the rules ask for now is of no more use to anybody; one
     * that is merely kept elsewhere serves until the next is there. */
    if (!plan.shelf || plan.protection < before.protection) {
        withdraw(identity, "the rules for its key have changed");
    }
    identity->is_stale = identity->svid != NULL;
    identity->is_denial_logged = false;
    identity_touch(identity);
    return !plan.shelf != !before.shelf;
}

void identity_log_denied(struct identity *identity)
{
    struct error err;
    struct plan ignored;
    struct manager *manager = identity->manager;
    if (!identity->is_denial_logged &&
        plan_make(manager->rules, identity->entry->spiffe_id, manager->keystores,
                  manager->keystore_count, manager->pool, &ignored, &err) < 0) {
        identity->is_denial_logged = true;
        log_warning("the rules deny an identity that an entry gives spiffe_id=%s entry=%s "
                    "reason=\"%s\"",
                    identity->entry->spiffe_id, identity->entry->id, err.text);
    }
}

void identity_keystore_changed(struct identity *identity, struct keystore *keystore, bool is_ready)
{
    enum { SPREAD_MS = 500 };
    if (identity->svid && identity->svid->key && key_keystore(identity->svid->key) == keystore) {
        identity_drop_unusable(identity);
    }
    bool is_here = identity->plan.shelf && key_shelf_keystore(identity->plan.shelf) == keystore;
    if (is_here && is_ready && identity->failures > 0) {
        identity->retry_at_ms = now_ms(identity) + clock_random_below(SPREAD_MS);
    }
    if (is_here && identity->failure) {
        arm(identity);
    }
}
