/* Answers of the outside policy that still hold, by question. All live equally long, so the oldest
 * is always the first to end: it makes room. Loop thread only. */
#pragma once

#include <uthash.h>

#include "agent/policy/outside.h"

enum { OUTSIDE_CACHE_MAX = 4096 };

/* Digest of a question: equal for equal ones, of the same process (not only the same pid). */
struct outside_key {
    uint8_t digest[32];
};
struct outside_key outside_key_of(const struct outside_question *question);

struct outside_answer {
    struct outside_key key;
    bool is_allowed;
    char *reason; /* NULL: none */
    uint64_t until_ms;
    UT_hash_handle hh;
};

struct outside_cache {
    struct outside_answer *answers; /* by key, the oldest first */
};

/* NULL: none that still holds. Borrowed until the cache changes. */
const struct outside_answer *outside_cache_find(const struct outside_cache *cache,
                                                const struct outside_key *key, uint64_t now_ms);
/* What is known of the question is replaced. answer's reason is copied. */
void outside_cache_add(struct outside_cache *cache, const struct outside_answer *answer,
                       uint64_t now_ms);
void outside_cache_clear(struct outside_cache *cache);
