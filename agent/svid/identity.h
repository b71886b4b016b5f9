/* An entry, and the X.509-SVID that this node holds for it: issued when wanted, renewed in time,
 * withdrawn at once. Loop thread only.
 *
 * What keeps an SVID renewed: a subscriber, or one that came since the SVID was issued. Else it is
 * left to expire, so that an entry nobody asks for any more costs nothing. */
#pragma once

#include "agent/svid/hash.h"
#include "agent/svid/index.h"
#include "agent/svid/issuance.h"

struct manager;
struct membership; /* group.h */

struct identity {
    struct manager *manager;
    struct entry *entry;
    struct index_item item;
    UT_hash_handle hh; /* by entry->id */
    struct plan plan;
    struct svid_x509 *svid; /* NULL: none now */
    int64_t received_s, renew_at_s;
    uint64_t received_ms, used_ms; /* used_ms 0: never */
    struct issuance *issuance;     /* NULL: none under way */
    struct timer timer;            /* the next look at all this */
    uint64_t retry_at_ms;          /* not before */
    unsigned failures;             /* to issue, in a row */
    struct error *failure;         /* of the last try, or why the SVID was withdrawn; or NULL */
    LIST_HEAD(, membership) memberships;
    bool is_stale;   /* the SVID works but is not what entry and rules ask for now */
    bool is_hurried; /* it is stale because the entry changed: soon, please */
    bool is_removed; /* lives on until no group has it */
    bool is_seen_told, is_denial_logged;
    SLIST_ENTRY(identity) grave;
};

struct identity *identity_new(struct manager *manager, struct entry *entry);
/* Only when in no group any more. */
void identity_free(struct identity *identity);
/* The entry has changed. The caller refiles it in the index where selectors changed. */
void identity_change_entry(struct identity *identity, struct entry *entry);
/* The entry is gone: drops the SVID. */
void identity_remove(struct identity *identity);
/* Looks up the rules again and acts on what they say. Returns whether the identity came to be
 * denied or to be allowed. */
bool identity_apply_rules(struct identity *identity);
bool identity_is_denied(const struct identity *identity);
bool identity_has_subscriber(const struct identity *identity);
/* Why there is no SVID or no newer one; cleared with the count of failures. */
void identity_set_failure(struct identity *identity, const struct error *failure);
void identity_clear_failure(struct identity *identity);
/* Why the rules deny it. */
void identity_denial(const struct identity *identity, struct error *ret_reason);
/* Says in the log, once, why the rules deny what an entry gives to a caller. */
void identity_log_denied(struct identity *identity);

/* A caller has come for it; issues what is missing. */
void identity_use(struct identity *identity);
/* Drops an SVID that has expired or lost its key. */
void identity_drop_unusable(struct identity *identity);
/* Why it failed is over, perhaps: the next try is at once, as if there had been none. */
void identity_forgive(struct identity *identity);
/* The keystore came back, or lost keys. */
void identity_keystore_changed(struct identity *identity, struct keystore *keystore, bool is_ready);
