#include "agent/policy/outside_cache.h"

#include "lib/base/memory.h"

static struct outside_answer *find(const struct outside_cache *cache, const struct outside_key *key)
{
    struct outside_answer *answer = NULL;
    HASH_FIND(hh, cache->answers, key, sizeof(*key), answer);
    return answer;
}

static void drop(struct outside_cache *cache, struct outside_answer *answer)
{
    HASH_DEL(cache->answers, answer);
    free(answer->reason);
    free(answer);
}

const struct outside_answer *outside_cache_find(const struct outside_cache *cache,
                                                const struct outside_key *key, uint64_t now_ms)
{
    const struct outside_answer *answer = find(cache, key);
    return answer && answer->until_ms > now_ms ? answer : NULL;
}

/* NOLINTBEGIN(clang-analyzer-*): it cannot know that uthash takes each item out whole */
static void make_room(struct outside_cache *cache, uint64_t now_ms)
{
    while (cache->answers && (cache->answers->until_ms <= now_ms ||
                              HASH_COUNT(cache->answers) >= OUTSIDE_CACHE_MAX)) {
        drop(cache, cache->answers);
    }
}

void outside_cache_clear(struct outside_cache *cache)
{
    while (cache->answers) {
        drop(cache, cache->answers);
    }
}
/* NOLINTEND(clang-analyzer-*) */

static void insert(struct outside_cache *cache, struct outside_answer *answer)
{
    HASH_ADD(hh, cache->answers, key, sizeof(answer->key), answer);
}

void outside_cache_add(struct outside_cache *cache, const struct outside_answer *answer,
                       uint64_t now_ms)
{
    struct outside_answer *old = find(cache, &answer->key);
    if (old) {
        drop(cache, old);
    }
    make_room(cache, now_ms);
    struct outside_answer *kept = NEW(struct outside_answer);
    *kept = (struct outside_answer){.key = answer->key,
                                    .is_allowed = answer->is_allowed,
                                    .reason = memory_copy_text(answer->reason),
                                    .until_ms = answer->until_ms};
    insert(cache, kept);
}
