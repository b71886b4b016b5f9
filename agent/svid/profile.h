/* Callers with the same selectors share a profile, which knows the group of identities that applies
 * to them. Loop thread only. */
#pragma once

#include "agent/svid/group.h"

struct subscription; /* subscription.h */

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

TAILQ_HEAD(profile_queue, profile);
struct profiles {
    struct profile *by_selectors;
    struct profile_queue dirty, idle;
    size_t idle_count;
};

/* Profiles kept for callers that may come again. */
enum { IDLE_PROFILES_MAX = 1024 };

void profiles_open(struct profiles *profiles);
/* No subscription may be left. */
void profiles_close(struct manager *manager);

/* The profile of the selectors (sorted), with its group up to date. */
struct profile *profile_get(struct manager *manager, const struct text_list *selectors);
void profile_attach(struct profile *profile, struct subscription *subscription);
void profile_detach(struct profile *profile, struct subscription *subscription);

/* The entry is new, or changed, or goes: what applies to the callers concerned is looked up again
 * when the manager is left. identity: what it has been so far, NULL for a new one. */
void profiles_entry_changed(struct manager *manager, const struct text_list *selectors,
                            const struct identity *identity);
/* The rules have changed whom they deny. */
void profiles_rules_changed(struct manager *manager);
/* Looks up what has to be; returns whether there was anything. */
bool profiles_settle(struct manager *manager);
