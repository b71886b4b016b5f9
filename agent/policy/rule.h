/* Rules: how keys of which identities are kept. First match wins. Immutable once built; every
 * thread. */
#pragma once

#include "lib/base/text.h"
#include "pkcs11/keystore.h"

struct rule {
    char *pattern;
    enum key_protection protection;
    char *keystore; /* name; NULL for the default: of hardware keys the first keystore of the
                       configuration, else the memory */
    enum key_type key_type;
};

struct rules {
    struct rule *items;
    size_t count;
};

/* The rule for the ID: the first that matches. Where the set is empty, the built-in one: hardware,
 * default keystore, ec-p256. NULL where a set is given and none matches: denied. Borrowed from
 * rules or static. */
const struct rule *rules_find(const struct rules *rules, const char *spiffe_id);
void rules_clear(struct rules *rules);
