/* The one door to identities: finds out what a process is, follows what entries give it, asks
 * rules, locks and the outside policy, records the decision, and looks again: when something
 * changed, when time changes the answer, and whenever the process may have become another one. Loop
 * thread only.
 *
 * A process that runs another program than when it connected, or acts as somebody else, loses what
 * it had: its watches are told Unavailable and end. */
#pragma once

#include "agent/access/account.h"
#include "agent/access/usage.h"
#include "agent/audit/audit.h"
#include "agent/metrics/metrics.h"
#include "agent/policy/outside.h"
#include "agent/policy/policy.h"
#include "agent/svid/manager.h"
#include "agent/workload/attest.h"
#include "pkcs11/token/guard.h"

struct access;

/* Borrowed; all of it outlives the access. */
struct access_config {
    const char *trust_domain;
    struct manager *manager;
    struct attestor *attestor;
    struct policy *policy;
    struct outside *outside;     /* NULL: none */
    struct audit *audit;         /* NULL: no records; for tests */
    struct usage *usage;         /* NULL: none; for tests */
    uint32_t recheck_interval_s; /* 0: processes are not looked at again by time */
};

/* Before manager_start, whose entries it is told of. */
int access_new(uv_loop_t *loop, const struct access_config *config, struct access **ret_access,
               struct error *err);
/* No watch may be left, no fetch be under way, and the token's thread has ended. Calls stopped;
 * freed.
 */
void access_stop(struct access *access, void (*stopped)(void *user), void *user);

/* What a process may have. */
struct access_watch;

enum access_purpose {
    ACCESS_PURPOSE_FETCH, /* a stream of the Workload API */
    ACCESS_PURPOSE_USE,   /* its token */
};

/* Told at once or later, and again at each change. set is borrowed; its count is 0 where there is
 * no identity, or none that the process may have. denied says why the first one that entries give
 * was refused; NULL: none was. failure is set instead where none could be issued for now, or the
 * process could not be identified, or is not what it was (is_over: nothing comes after it). guard,
 * for ACCESS_PURPOSE_USE, is asked before each use of a key of the set (tag: access_tag); take a
 * reference to keep. `changed` may call access_watch_free. */
struct access_offer {
    struct identity_set *set;
    const struct error *denied;
    const struct error *failure;
    bool is_over;
    struct token_guard *guard;
};
/* asked: for the records, such as "FetchX509SVID"; static. wanted chooses the identities that the
 * records tell of; NULL: all. caller is borrowed for the call. ResourceExhausted: its uid has too
 * much in progress. */
int access_watch_new(struct access *access, const struct caller *caller,
                     enum access_purpose purpose, const char *asked,
                     bool (*wanted)(const struct svid_x509 *svid),
                     void (*changed)(void *user, const struct access_offer *offer), void *user,
                     struct access_watch **ret_watch, struct error *err);
/* NULL is allowed. */
void access_watch_free(struct access_watch *watch);
/* What the process may have, and yet a rule does not let it do: for the records, bounded as all
 * refusals are. rule: its pattern; NULL: none. */
void access_watch_note_denied(struct access_watch *watch, const char *spiffe_id, const char *rule,
                              const char *reason);
/* The process, for the records; borrowed. */
const struct audit_process *access_watch_process(const struct access_watch *watch);
/* The tag of a generation of the token, by which its guard knows the SVID: the beginning of its
 * key's id, which is a hash. */
uint64_t access_tag(const struct svid_x509 *svid);

/* As manager_jwt_fetch, for a process; done exactly once. */
void access_jwt_fetch(struct access *access, const struct caller *caller,
                      const struct text_list *audience, const char *spiffe_id,
                      void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                                   const struct error *failure),
                      void *user);

/* Rules, locks or attestation have changed, by policy.h: takes effect before the return on every
 * process and every issuance. */
struct access_effect {
    size_t identities, processes; /* that lost something */
};
void access_policy_changed(struct access *access, struct access_effect *ret_effect);

/* What limits have counted of processes that may go on, for the process of the agent that comes
 * next; appended. restore is for a new access, before anybody is served; DataLoss: not all of it.
 */
void access_save(struct access *access, struct buffer *ret_state);
int access_restore(struct access *access, struct bytes state, struct error *err);

/* Processes that hold the identity now. */
size_t access_holders(struct access *access, const char *spiffe_id);
/* The same for all identities: called once for each process and identity that it holds. */
void access_each_held(struct access *access, void (*each)(void *user, const char *spiffe_id),
                      void *user);

struct access_status {
    size_t processes, watches;
    uint64_t identified, denied_by[AUDIT_DECIDER_ADMIN + 1]; /* by decider */
    uint64_t used, rechecks, changed_processes;
};
void access_status(struct access *access, struct access_status *ret_status);
