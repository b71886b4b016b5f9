/* What this host decides by itself: rules, locks, limits. Who asks gets an answer with its reason
 * and the moment until which it holds, so that time alone takes effect too. Loop thread only. */
#pragma once

#include "agent/policy/lock.h"
#include "agent/policy/meter.h"
#include "agent/policy/rule.h"

struct policy;

/* What an identity uses up, over all processes, rules and generations of its key. Atomic counters;
 * reference counted, every thread. */
struct identity_meters {
    atomic_size_t references;
    struct meter signs, svids, jwts;
    char *spiffe_id;
};
struct identity_meters *identity_meters_ref(struct identity_meters *meters);
void identity_meters_unref(struct identity_meters *meters);

/* rules: from the heap, taken. */
int policy_new(const char *data_dir, struct rules *rules, struct policy **ret_policy,
               struct error *err);
void policy_free(struct policy *policy);
void policy_set_rules(struct policy *policy, struct rules *rules);
const struct rules *policy_rules(const struct policy *policy);
struct locks *policy_locks(struct policy *policy);
/* What is known of the node; nothing at first: not attested, nothing denied for that. */
struct policy_node {
    bool is_attested;       /* for rules that require it */
    bool is_issuing_denied; /* no SVID is made or renewed */
    bool is_use_denied;     /* nobody holds or uses an identity */
    const char *reason;     /* why, for people; copied */
};
void policy_set_node(struct policy *policy, const struct policy_node *node);
/* Those of the SPIFFE ID; made when there are none. A new reference. */
struct identity_meters *policy_meters(struct policy *policy, const char *spiffe_id);

struct policy_answer {
    bool is_allowed;
    enum audit_decider decider; /* RULE, LOCK or NODE; NONE where allowed by the built-in rule */
    char decider_id[256];       /* rule pattern or lock id; cut where longer */
    char reason[384];           /* for people: what is denied, why, until when, what to do */
    int64_t until_s;         /* wall clock: the answer may change then; INT64_MAX: never by time */
    const struct rule *rule; /* NULL: none matches. Borrowed until the rules are set anew */
};

/* In itself, whoever holds it: locks of the node or of the SPIFFE ID, the node, a matching rule,
 * attestation that it requires, hours. Where it is denied nothing is issued or renewed, and nobody
 * holds it. */
void policy_decide_identity(struct policy *policy, const char *spiffe_id, int64_t now_s,
                            struct policy_answer *ret_answer);

/* In the hands of a process: all of the above, and locks of pid and executable, executables,
 * max_process_age, first_use_within. */
struct policy_holder {
    const struct audit_process *process; /* with selectors */
    int64_t first_use_s; /* when this process was first given the identity; 0: not yet */
};
void policy_decide_holder(struct policy *policy, const char *spiffe_id,
                          const struct policy_holder *holder, int64_t now_s,
                          struct policy_answer *ret_answer);

/* One more credential, where the node may have any: takes from the identity's meters. */
void policy_decide_svid(struct policy *policy, const char *spiffe_id,
                        struct policy_answer *ret_answer);
/* One more JWT-SVID; *ret_ttl_limit_s is jwt_max_ttl (0: none). */
void policy_decide_jwt(struct policy *policy, const char *spiffe_id,
                       const struct text_list *audience, uint32_t *ret_ttl_limit_s,
                       struct policy_answer *ret_answer);

/* Whether rules or locks ask for a digest of every executable. */
bool policy_needs_sha256(const struct policy *policy);
