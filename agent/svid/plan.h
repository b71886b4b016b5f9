/* What the rules say about the key of an identity, made concrete. Loop thread only. */
#pragma once

#include "agent/policy/rule.h"
#include "agent/svid/key_pool.h"

struct manager_keystore;

struct plan {
    enum key_protection protection;
    struct key_shelf *shelf; /* the keystore and key type; NULL: denied */
};

/* Which keystore a rule means, of those of the agent. Fails where there is none of that name or
 * kind: a rule is never met by less than it asks for. */
int plan_find_keystore(const struct rule *rule, const struct manager_keystore *keystores,
                       size_t keystore_count, struct keystore **ret_keystore, struct error *err);
/* PermissionDenied with the reason where the rules give the SPIFFE ID no identity. */
int plan_make(const struct rules *rules, const char *spiffe_id,
              const struct manager_keystore *keystores, size_t keystore_count,
              struct key_pool *pool, struct plan *ret_plan, struct error *err);
