/* Issuing an X.509-SVID: a place in the queue, a key, the issuer's answer. Those for which a
 * workload waits go first; renewals are few at a time, so that a thousand of them starve nobody.
 * Loop thread only. */
#pragma once

#include "agent/svid/plan.h"
#include "agent/svid/svid.h"

/* At once; together with the requests for JWT-SVIDs they fit into one flow of a keystore. */
enum { ISSUANCES_URGENT_MAX = 24, ISSUANCES_BACKGROUND_MAX = 16 };

/* A keystore that hangs takes no places from others, nor do its identities keep a caller from those
 * that are there. */
enum { ISSUANCE_OVERDUE_MS = 2000 };

struct issuance;
TAILQ_HEAD(issuance_list, issuance);

struct issuances {
    struct timer_heap *timers;
    struct issuer *issuer;
    uint32_t delivered_max_ttl_s;
    struct issuance_list queues[2]; /* by is_urgent */
    size_t queued_counts[2];
    size_t in_hand_counts[2];
    size_t place_counts[2]; /* of those in hand, without them whose keystore is overdue */
    struct timer pump;
    void (*ended)(void *user); /* after each that was in hand */
    void *user;
};

/* For whom an SVID is issued. */
struct issuance_user {
    /* Exactly one of svid (taken) and failure is set. */
    void (*done)(void *user, struct svid_x509 *svid, const struct error *failure);
    void (*overdue)(void *user); /* issuance_is_overdue has become true */
    /* The key is there: whether the issuer is to be asked. */
    int (*may_go_on)(void *user, struct error *err);
};

/* The timers and the issuer are borrowed as long as it is used. */
void issuances_open(struct issuances *issuances, struct timer_heap *timers, struct issuer *issuer,
                    uint32_t delivered_max_ttl_s);
/* done runs exactly once, never before the return, unless abandoned. The issuance ends with it. */
struct issuance *issuance_start(struct issuances *issuances, struct entry *entry,
                                const struct plan *plan, bool is_urgent,
                                const struct issuance_user *operations, void *user);
bool issuance_is_overdue(const struct issuance *issuance);
bool issuance_is_urgent(const struct issuance *issuance);
/* A workload has come to wait. False where the issuer has it already and cannot be hurried: then
 * abandon it and start another. */
bool issuance_hurry(struct issuance *issuance);
/* Nobody wants the result any more. */
void issuance_abandon(struct issuance *issuance);
/* Issuances that are queued or in hand; with none the struct may go. */
size_t issuances_count(const struct issuances *issuances);
