/* Who is told about identities, and what was told last. Loop thread only. */
#pragma once

#include <sys/queue.h>

#include "agent/svid/manager.h"

struct profile;

struct subscription {
    struct manager *manager;
    struct profile *profile;
    TAILQ_ENTRY(subscription) of_profile;
    TAILQ_ENTRY(subscription) notice;
    bool is_queued; /* for a notice */
    bool is_failure_told;
    struct identity_set *told; /* the last; NULL: none, or a failure after it */
    void (*changed)(void *user, struct identity_set *set, const struct error *failure);
    void *user;
};
TAILQ_HEAD(subscription_queue, subscription);

/* At once; more are refused. */
enum { SUBSCRIPTIONS_MAX = 100000 };

/* What the profile's subscriptions are told may have changed. */
void subscriptions_profile_changed(struct profile *profile);
/* Tells all who wait for it. */
void subscriptions_tell(struct manager *manager);
