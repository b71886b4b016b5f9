/* Callers to whom the same identities apply share a group, and with it one identity_set and its
 * encodings. So ten thousand streams cost little each, and a change costs work for the groups that
 * it concerns. Loop thread only. */
#pragma once

#include <sys/queue.h>

#include "agent/svid/hash.h"
#include "agent/svid/identity.h"

struct profile; /* profile.h */

struct membership {
    struct identity *identity;
    struct group *group;
    LIST_ENTRY(membership) of_identity;
};

struct group {
    struct manager *manager;
    /* In order of entry id, without those that the rules deny or whose hint another one has. */
    struct identity **identities;
    size_t count;
    struct membership *memberships;
    UT_hash_handle hh; /* by identities */
    LIST_HEAD(, profile) profiles;
    size_t subscription_count;
    /* What is to be had now, NULL: nothing. Made when asked for; valid while not stale. */
    struct identity_set *set;
    int64_t valid_until_s;
    bool is_stale, is_queued;
    /* Each identity has its SVID, has failed to get it, or is overdue while others are there. */
    bool is_settled;
    TAILQ_ENTRY(group) queue;
};

TAILQ_HEAD(group_queue, group);
struct groups {
    struct group *by_identities;
    struct group_queue changed;
    SLIST_HEAD(, identity) graves;
};

void groups_open(struct groups *groups);

/* The group of exactly these identities, with one NULL after the last; the list is taken. A new one
 * has to be joined: it lives as long as it has profiles. */
struct group *group_get(struct manager *manager, struct identity **identities, size_t count);
void group_join(struct group *group, struct profile *profile);
void group_leave(struct group *group, struct profile *profile);
/* A caller has come for its identities. */
void group_use(struct group *group);

/* Another SVID, or none, or the first failure to get one, or it is overdue. */
void groups_identity_changed(struct identity *identity);
/* All sets: the bundle has changed. */
void groups_bundle_changed(struct manager *manager);
/* The identity is removed: freed once no group has it. */
void groups_bury(struct identity *identity);
/* Does what was put off until the manager is left, but for telling, which is queued. Returns
 * whether there was anything. */
bool groups_settle(struct manager *manager);

/* Makes the set anew where it is stale or where time has passed it. */
void group_refresh(struct group *group);
/* Whether everything that was told is still what there is. */
bool group_is_still_right(const struct group *group, const struct identity_set *told);
/* Why there is no set. */
void group_failure(const struct group *group, struct error *ret_failure);
