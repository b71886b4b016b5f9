/* What others may see of the manager. */
#include <string.h>

#include "agent/svid/state.h"

struct bundle *manager_bundle(struct manager *manager)
{
    return manager->bundle;
}

static int compare_entry_ids(const struct identity *a, const struct identity *b)
{
    return strcmp(a->entry->id, b->entry->id);
}

void manager_each_entry(struct manager *manager, void (*each)(void *user, struct entry *entry),
                        void *user)
{
    HASH_SORT(manager->identities, compare_entry_ids);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        each(user, identity->entry);
    }
}

void manager_each_svid(struct manager *manager, void (*each)(void *user, struct svid_x509 *svid),
                       void *user)
{
    HASH_SORT(manager->identities, compare_entry_ids);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        if (identity->svid) {
            each(user, identity->svid);
        }
    }
}

/* Overdue while it goes on trying, also when the last SVID has expired meanwhile. */
static int64_t renewal_lag_s(const struct identity *identity, int64_t now_s)
{
    bool is_followed = identity->received_s != 0 && !identity_is_denied(identity) &&
                       identity_has_subscriber(identity);
    return is_followed ? MAX(now_s - identity->renew_at_s, 0) : 0;
}

void manager_counters(struct manager *manager, struct manager_counters *ret_counters)
{
    struct manager_counters counters = {
        .entries = HASH_COUNT(manager->identities),
        .subscriptions = manager->subscription_count,
        .issuing = issuances_count(&manager->issuances),
        .issued = manager->issued,
        .failures = manager->failures,
    };
    int64_t now_s = timer_heap_now_s(&manager->timers);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        counters.renewal_lag_s = MAX(counters.renewal_lag_s, renewal_lag_s(identity, now_s));
        if (identity->svid) {
            int64_t expiry = identity->svid->expires_at_s;
            counters.svids++;
            counters.next_expiry_s =
                counters.next_expiry_s == 0 ? expiry : MIN(counters.next_expiry_s, expiry);
        }
    }
    *ret_counters = counters;
}
