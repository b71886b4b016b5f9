#include "agent/svid/subscription.h"

#include "agent/svid/profile.h"
#include "agent/svid/state.h"
#include "agent/svid/svid.h"
#include "lib/base/memory.h"

static void replace_told(struct subscription *subscription, struct identity_set *set)
{
    struct identity_set *before = subscription->told;
    subscription->told = set ? identity_set_ref(set) : NULL;
    if (before) {
        identity_set_unref(before);
    }
}

/* The callback may end the subscription: nothing of it is used afterwards. */
static void tell_set(struct subscription *subscription, struct identity_set *set)
{
    bool is_known = identity_set_is_equal(subscription->told, set);
    replace_told(subscription, set);
    subscription->is_failure_told = false;
    if (!is_known) {
        struct identity_set *kept = identity_set_ref(set);
        subscription->changed(subscription->user, kept, NULL);
        identity_set_unref(kept);
    }
}

static void tell_failure(struct subscription *subscription, const struct group *group)
{
    struct error failure;
    if (subscription->is_failure_told) {
        return;
    }
    replace_told(subscription, NULL);
    subscription->is_failure_told = true;
    group_failure(group, &failure);
    subscription->changed(subscription->user, NULL, &failure);
}

static void tell(struct subscription *subscription)
{
    struct group *group = subscription->profile->group;
    group_refresh(group);
    /* Without a bundle the issuer has not told yet what there is. */
    bool is_ready = subscription->manager->bundle && group->is_settled;
    bool is_told_right = !subscription->told || group_is_still_right(group, subscription->told);
    if (!is_ready && is_told_right) {
        return;
    }
    if (group->set) {
        tell_set(subscription, group->set);
    } else {
        tell_failure(subscription, group);
    }
}

void subscriptions_profile_changed(struct profile *profile)
{
    struct subscription *subscription;
    TAILQ_FOREACH (subscription, &profile->subscriptions, of_profile) {
        if (!subscription->is_queued) {
            subscription->is_queued = true;
            TAILQ_INSERT_TAIL(&profile->manager->notices, subscription, notice);
        }
    }
}

static void unqueue(struct subscription *subscription)
{
    if (subscription->is_queued) {
        subscription->is_queued = false;
        TAILQ_REMOVE(&subscription->manager->notices, subscription, notice);
    }
}

void subscriptions_tell(struct manager *manager)
{
    struct subscription *subscription = TAILQ_FIRST(&manager->notices);
    if (subscription) {
        unqueue(subscription);
        tell(subscription);
    }
}

struct subscription *manager_subscribe(struct manager *manager, const struct text_list *selectors,
                                       void (*changed)(void *user, struct identity_set *set,
                                                       const struct error *failure),
                                       void *user)
{
    if (manager->subscription_count >= SUBSCRIPTIONS_MAX || manager->is_stopping) {
        struct error failure;
        (void)error_set(&failure, ERROR_RESOURCE_EXHAUSTED,
                        "the agent has %d streams of identities open, or stops; no more are taken",
                        SUBSCRIPTIONS_MAX);
        changed(user, NULL, &failure);
        return NULL;
    }
    manager_enter(manager);
    struct subscription *subscription = NEW(struct subscription);
    subscription->manager = manager;
    subscription->changed = changed;
    subscription->user = user;
    manager->subscription_count++;
    profile_attach(profile_get(manager, selectors), subscription);
    tell(subscription);
    manager_leave(manager);
    return subscription;
}

void subscription_free(struct subscription *subscription)
{
    if (!subscription) {
        return;
    }
    struct manager *manager = subscription->manager;
    manager_enter(manager);
    unqueue(subscription);
    profile_detach(subscription->profile, subscription);
    replace_told(subscription, NULL);
    manager->subscription_count--;
    free(subscription);
    manager_leave(manager);
}
