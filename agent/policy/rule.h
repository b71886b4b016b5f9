/* Rules: how keys of which identities are kept, and what may be done with them. First match wins.
 * Immutable once built; every thread. */
#pragma once

#include "agent/policy/schedule.h"
#include "lib/base/text.h"
#include "pkcs11/keystore.h"

struct rule {
    char *pattern;
    enum key_protection protection;
    char *keystore; /* name; NULL for the default: of hardware keys the first keystore of the
                       configuration, else the memory */
    enum key_type key_type;

    /* What may be done. Zero and empty: not limited. */
    uint32_t sign_rate, sign_burst; /* signatures a second, of the identity on this host; burst 0:
                                       as many as sign_rate */
    uint64_t max_uses;              /* signatures of one process */
    uint32_t svid_rate, jwt_rate;   /* X.509-SVIDs, JWT-SVIDs a minute, of the identity */
    struct text_list jwt_audiences; /* patterns, audience_matches; every audience asked for must
                                       match one */
    uint32_t jwt_max_ttl_s;
    struct schedule *hours;       /* NULL: always */
    uint32_t max_process_age_s;   /* how long after its start a process may hold the identity */
    uint32_t first_use_within_s;  /* of the start of the process: who comes later never gets it */
    bool requires_attested;       /* the node */
    bool may_show_evidence;       /* a process may have evidence about its own key (key evidence) */
    struct text_list executables; /* selectors, sorted: "unix:sha256:HEX", "unix:fsverity:ALG:HEX";
                                     the process must have one of them */
};

struct rules {
    struct rule *items;
    size_t count;
    struct rule_index *index; /* rules_prepare; NULL while they are gathered */
};

/* Makes finding fast however many there are; call once they are all there. */
void rules_prepare(struct rules *rules);
/* The rule for the ID: the first that matches. Where the set is empty, the built-in one: hardware,
 * default keystore, ec-p256, no limits. NULL where a set is given and none matches: denied.
 * Borrowed from rules or static. */
const struct rule *rules_find(const struct rules *rules, const char *spiffe_id);
/* A deep copy, from the heap. */
struct rules *rules_copy(const struct rules *rules);
void rules_clear(struct rules *rules);
void rule_clear(struct rule *rule);

/* An earlier rule that matches all that the rule at the index does, so that it never counts; NULL:
 * none. For a warning. */
const struct rule *rules_shadowing(const struct rules *rules, size_t index);

/* A pattern of audiences: any text in which each asterisk stands for any run of characters, none
 * too. Linear in time. */
bool audience_matches(const char *pattern, const char *audience);
