/* Callers with the same selectors share a profile; profiles to which the same identities apply
 * share a group, and with it one identity_set and its encodings. So ten thousand streams cost
 * little each, and a change costs work for the groups that it concerns. Loop thread only. */
#pragma once

#include <sys/queue.h>
#include <uthash.h>

#include "agent/svid/identity.h"

struct subscription; /* subscription.h */

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
    bool is_settled; /* each identity has its SVID or has failed to get it */
    TAILQ_ENTRY(group) queue;
};

struct profile {
    struct manager *manager;
    struct text_list selectors;
    char *key; /* all selectors in one, for the hash */
    size_t key_size;
    UT_hash_handle hh;
    struct index_watch watch;
    struct group *group;
    LIST_ENTRY(profile) of_group;
    TAILQ_HEAD(, subscription) subscriptions;
    size_t subscription_count;
    bool is_dirty;              /* queued: what applies has to be looked up again */
    TAILQ_ENTRY(profile) queue; /* of dirty ones */
    TAILQ_ENTRY(profile) idle;  /* without subscriptions, the longest unused first */
};

TAILQ_HEAD(group_queue, group);
TAILQ_HEAD(profile_queue, profile);
struct groups {
    struct group *by_identities;
    struct profile *by_selectors;
    struct group_queue changed;
    struct profile_queue dirty, idle;
    size_t idle_count;
    SLIST_HEAD(, identity) graves;
};

/* Profiles kept for callers that may come again. */
enum { IDLE_PROFILES_MAX = 1024 };

void groups_open(struct groups *groups);
/* No subscription may be left. */
void groups_close(struct manager *manager);

/* The profile of the selectors (sorted), with its group up to date. */
struct profile *profile_get(struct manager *manager, const struct text_list *selectors);
void profile_attach(struct profile *profile, struct subscription *subscription);
void profile_detach(struct profile *profile, struct subscription *subscription);

/* The entry is new, or changed, or goes: what applies to the callers concerned is looked up again
 * when the loop leaves the manager. identity: what it has been so far, NULL for a new one. */
void groups_entry_changed(struct manager *manager, const struct text_list *selectors,
                          const struct identity *identity);
/* Another SVID, or none, or the first failure to get one. */
void groups_identity_changed(struct identity *identity);
/* All sets: the bundle has changed. */
void groups_bundle_changed(struct manager *manager);
/* The rules have changed whom they deny. */
void groups_rules_changed(struct manager *manager);
/* The identity is removed: freed once no group has it. */
void groups_bury(struct identity *identity);
/* Does what the functions above have put off, but for telling: that is left to the subscriptions
 * (subscriptions_group_changed). Returns whether there was anything. */
bool groups_settle(struct manager *manager);

/* Makes the set anew where it is stale or where time has passed it. */
void group_refresh(struct group *group);
/* Whether everything that was told is still what there is. */
bool group_is_still_right(const struct group *group, const struct identity_set *told);
/* Why there is no set. */
void group_failure(const struct group *group, struct error *ret_failure);
