#include "agent/svid/group.h"

#include <string.h>

#include "agent/svid/profile.h"
#include "agent/svid/state.h"
#include "agent/svid/subscription.h"
#include "agent/svid/svid.h"
#include "agent/svid/timing.h"
#include "lib/base/memory.h"

void groups_open(struct groups *groups)
{
    TAILQ_INIT(&groups->changed);
    SLIST_INIT(&groups->graves);
}

static void queue_group(struct group *group)
{
    group->is_stale = true;
    if (!group->is_queued) {
        group->is_queued = true;
        TAILQ_INSERT_TAIL(&group->manager->groups.changed, group, queue);
    }
}

static void drop_set(struct group *group)
{
    if (group->set) {
        identity_set_unref(take_ptr(group->set));
    }
}

static void free_group(struct group *group)
{
    struct groups *groups = &group->manager->groups;
    if (group->is_queued) {
        TAILQ_REMOVE(&groups->changed, group, queue);
    }
    for (size_t i = 0; i < group->count; i++) {
        LIST_REMOVE(&group->memberships[i], of_identity);
    }
    HASH_DEL(groups->by_identities, group);
    drop_set(group);
    free(group->memberships);
    free(group->identities);
    free(group);
}

/* An item of its own ends the key, as that of "nobody" may not be empty. */
static size_t group_key_bytes(size_t count)
{
    return (count + 1) * sizeof(struct identity *);
}

static void add_group(struct groups *groups, struct group *group)
{
    HASH_ADD_KEYPTR(hh, groups->by_identities, group->identities, group_key_bytes(group->count),
                    group);
}

struct group *group_get(struct manager *manager, struct identity **identities, size_t count)
{
    struct group *group = NULL;
    HASH_FIND(hh, manager->groups.by_identities, identities, group_key_bytes(count), group);
    if (group) {
        free((void *)identities);
        return group;
    }
    group = NEW(struct group);
    group->manager = manager;
    group->identities = identities;
    group->count = count;
    group->is_stale = true;
    group->memberships = memory_new_array(count, sizeof(*group->memberships));
    LIST_INIT(&group->profiles);
    add_group(&manager->groups, group);
    for (size_t i = 0; i < count; i++) {
        group->memberships[i] = (struct membership){.identity = identities[i], .group = group};
        LIST_INSERT_HEAD(&identities[i]->memberships, &group->memberships[i], of_identity);
    }
    return group;
}

void group_join(struct group *group, struct profile *profile)
{
    profile->group = group;
    LIST_INSERT_HEAD(&group->profiles, profile, of_group);
    group->subscription_count += profile->subscription_count;
    if (profile->subscription_count > 0) {
        group_use(group);
    }
}

void group_leave(struct group *group, struct profile *profile)
{
    LIST_REMOVE(profile, of_group);
    group->subscription_count -= profile->subscription_count;
    if (LIST_EMPTY(&group->profiles)) {
        free_group(group);
    }
}

void group_use(struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        identity_use(group->identities[i]);
    }
}

void groups_identity_changed(struct identity *identity)
{
    struct membership *membership;
    LIST_FOREACH (membership, &identity->memberships, of_identity) {
        queue_group(membership->group);
    }
}

void groups_bundle_changed(struct manager *manager)
{
    for (struct group *group = manager->groups.by_identities; group; group = group->hh.next) {
        queue_group(group);
    }
}

void groups_bury(struct identity *identity)
{
    SLIST_INSERT_HEAD(&identity->manager->groups.graves, identity, grave);
}

static void settle_changed(struct group *group)
{
    struct profile *profile;
    TAILQ_REMOVE(&group->manager->groups.changed, group, queue);
    group->is_queued = false;
    if (group->subscription_count == 0) {
        drop_set(group); /* no old key is held for callers that may never come */
        return;
    }
    LIST_FOREACH (profile, &group->profiles, of_group) {
        subscriptions_profile_changed(profile);
    }
}

bool groups_settle(struct manager *manager)
{
    struct groups *groups = &manager->groups;
    bool is_any = profiles_settle(manager);
    for (struct group *group; (group = TAILQ_FIRST(&groups->changed)) != NULL; is_any = true) {
        settle_changed(group);
    }
    while (!SLIST_EMPTY(&groups->graves)) {
        struct identity *identity = SLIST_FIRST(&groups->graves);
        SLIST_REMOVE_HEAD(&groups->graves, grave);
        identity_free(identity);
    }
    return is_any;
}

static bool is_overdue(const struct identity *identity)
{
    return identity->issuance && issuance_is_overdue(identity->issuance);
}

/* All SVIDs that are there, in order; and whether that is all that will come for now. */
static void collect(struct group *group)
{
    struct svid_x509 **svids = memory_new_array(group->count, sizeof(struct svid_x509 *));
    size_t found = 0;
    bool is_any_overdue = false;
    group->is_settled = true;
    group->valid_until_s = INT64_MAX;
    for (size_t i = 0; i < group->count; i++) {
        const struct identity *identity = group->identities[i];
        if (identity->svid) {
            svids[found++] = identity->svid;
            group->valid_until_s =
                MIN(group->valid_until_s, identity->svid->expires_at_s - TIMING_EXPIRY_MARGIN_S);
        } else if (identity->failures == 0 && is_overdue(identity)) {
            is_any_overdue = true;
        } else if (identity->failures == 0) {
            group->is_settled = false;
        }
    }
    if (found == 0 && is_any_overdue) {
        group->is_settled = false; /* nothing to go on with: it may come yet */
    }
    if (found > 0 || group->count == 0) {
        group->set = identity_set_new(svids, found, group->manager->bundle);
    }
    free((void *)svids);
}

void group_refresh(struct group *group)
{
    if (!group->is_stale && timer_heap_now_s(&group->manager->timers) < group->valid_until_s) {
        return;
    }
    for (size_t i = 0; i < group->count; i++) {
        identity_drop_unusable(group->identities[i]);
    }
    drop_set(group);
    collect(group);
    group->is_stale = false;
}

bool group_is_still_right(const struct group *group, const struct identity_set *told)
{
    if (told->count > 0 && told->bundle != group->manager->bundle) {
        return false;
    }
    size_t found = 0;
    for (size_t i = 0; i < group->count && found < told->count; i++) {
        found += group->identities[i]->svid == told->svids[found];
    }
    return found == told->count;
}

void group_failure(const struct group *group, struct error *ret_failure)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct error *failure = group->identities[i]->failure;
        if (failure) {
            (void)error_set(ret_failure,
                            failure->code == ERROR_PERMISSION_DENIED ? failure->code
                                                                     : ERROR_UNAVAILABLE,
                            "%s", failure->text);
            return;
        }
    }
    (void)error_set(ret_failure, ERROR_UNAVAILABLE,
                    "the X.509-SVIDs of this process are being issued");
}
