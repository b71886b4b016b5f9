/* The manager's inside, shared by the files of this room. Loop thread only. */
#pragma once

#include "agent/svid/jwt_cache.h"
#include "agent/svid/profile.h"
#include "agent/svid/subscription.h"

struct manager {
    uv_loop_t *loop;
    struct issuer *issuer;
    struct issuer_listener listener;
    struct manager_keystore *keystores;
    size_t keystore_count;
    struct rules *rules;
    struct manager_watcher watcher;

    struct timer_heap timers;
    struct mailbox *mailbox; /* from the keystores' workers */
    uv_poll_t mailbox_poll;
    struct key_pool *pool;
    struct issuances issuances;
    struct jwt_cache *jwts;

    struct identity *identities; /* by entry id */
    struct index index;
    struct profiles profiles;
    struct groups groups;
    struct subscription_queue notices;
    size_t subscription_count;
    struct bundle *bundle;

    uint64_t issued, failures;
    char *logged_reason; /* of the last failure that was logged */
    uint64_t logged_ms;
    size_t unlogged_failures;

    unsigned depth; /* of calls into the manager */
    bool is_stopping;
    struct timer end; /* looks whether everything in hand has ended */
    void (*stopped)(void *user);
    void *stopped_user;
    unsigned open_parts;
};

/* Around whatever changes something. Effects on others (regrouping, telling subscribers, freeing)
 * wait for the outermost leave, so that a callback may call back. */
void manager_enter(struct manager *manager);
void manager_leave(struct manager *manager);

/* manager_new with another clock. */
int manager_new_with_clock(uv_loop_t *loop, const struct manager_config *config,
                           const struct timer_clock *clock, struct manager **ret_manager,
                           struct error *err);
