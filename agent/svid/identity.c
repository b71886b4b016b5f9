#include "agent/svid/identity.h"

#include <string.h>

#include "agent/svid/group.h"
#include "agent/svid/renewal.h"
#include "agent/svid/state.h"
#include "agent/svid/svid.h"
#include "agent/svid/timing.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    /* A keystore that loses every new key at once must not keep the host busy. */
    LOST_KEY_PAUSE_MS = 1000,
    /* A keystore that comes back is not met by all who waited in the same moment. */
    RETURN_SPREAD_MS = 1000,
};

static int64_t now_s(const struct identity *identity)
{
    return timer_heap_now_s(&identity->manager->timers);
}

static uint64_t now_ms(const struct identity *identity)
{
    return timer_heap_now_ms(&identity->manager->timers);
}

bool identity_is_denied(const struct identity *identity)
{
    return identity->plan.shelf == NULL;
}

bool identity_has_subscriber(const struct identity *identity)
{
    const struct membership *membership;
    LIST_FOREACH (membership, &identity->memberships, of_identity) {
        if (membership->group->subscription_count > 0) {
            return true;
        }
    }
    return false;
}

void identity_clear_failure(struct identity *identity)
{
    identity->failures = 0;
    free(take_ptr(identity->failure));
}

void identity_set_failure(struct identity *identity, const struct error *failure)
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
        identity_set_failure(identity, &failure);
    }
    groups_identity_changed(identity);
    if (!identity->is_removed) {
        renewal_touch(identity);
    }
}

void identity_drop_unusable(struct identity *identity)
{
    const struct svid_x509 *svid = identity->svid;
    if (!svid) {
        return;
    }
    if (now_s(identity) >= svid->expires_at_s - TIMING_EXPIRY_MARGIN_S) {
        if (identity_has_subscriber(identity)) {
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
    if (renewal_is_missing(identity)) {
        renewal_touch(identity);
    }
}

struct identity *identity_new(struct manager *manager, struct entry *entry)
{
    struct identity *identity = NEW(struct identity);
    identity->manager = manager;
    identity->entry = entry_ref(entry);
    identity->timer.fire = renewal_review;
    LIST_INIT(&identity->memberships);
    (void)identity_apply_rules(identity);
    if (entry->was_seen) { /* a workload had it: it will come again */
        identity->used_ms = now_ms(identity);
        renewal_touch(identity);
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
    identity_clear_failure(identity);
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
    renewal_touch(identity);
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
    if (!LIST_EMPTY(&identity->memberships) || identity->svid) {
        renewal_touch(identity);
    }
    return !plan.shelf != !before.shelf;
}

void identity_denial(const struct identity *identity, struct error *ret_reason)
{
    const struct manager *manager = identity->manager;
    struct plan ignored;
    (void)error_set(ret_reason, ERROR_PERMISSION_DENIED, "the rules deny it");
    (void)plan_make(manager->rules, identity->entry->spiffe_id, manager->keystores,
                    manager->keystore_count, manager->pool, &ignored, ret_reason);
}

void identity_log_denied(struct identity *identity)
{
    struct error reason;
    if (!identity->is_denial_logged) {
        identity->is_denial_logged = true;
        identity_denial(identity, &reason);
        log_warning("the rules deny an identity that an entry gives spiffe_id=%s entry=%s "
                    "reason=\"%s\"",
                    identity->entry->spiffe_id, identity->entry->id, reason.text);
    }
}

void identity_forgive(struct identity *identity)
{
    identity_clear_failure(identity);
    identity->retry_at_ms = 0;
    groups_identity_changed(identity);
    renewal_touch(identity);
}

void identity_keystore_changed(struct identity *identity, struct keystore *keystore, bool is_ready)
{
    const struct key *key = identity->svid ? identity->svid->key : NULL;
    if (key && key_keystore(key) == keystore) {
        identity_drop_unusable(identity);
    }
    /* Whichever it is: the issuer's key may be in it too. */
    if (is_ready && identity->failures > 0) {
        uint64_t soon_ms = now_ms(identity) + clock_random_below(RETURN_SPREAD_MS);
        identity->retry_at_ms = MIN(identity->retry_at_ms, soon_ms);
        renewal_arm(identity);
    }
}
