#include "agent/workload/hash_cache.h"

#include <uthash.h>

#include "lib/base/memory.h"

struct known_hash {
    struct hash_answer answer;
    UT_hash_handle hh;
};

struct hash_cache {
    struct known_hash *all; /* in the order of use */
    size_t entries_max;
};

struct hash_cache *hash_cache_new(size_t entries_max)
{
    struct hash_cache *cache = NEW(struct hash_cache);
    cache->entries_max = entries_max;
    return cache;
}

static void drop(struct hash_cache *cache, struct known_hash *known)
{
    HASH_DEL(cache->all, known); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    free(known);
}

void hash_cache_free(struct hash_cache *cache)
{
    struct known_hash *known, *next;
    HASH_ITER (hh, cache->all, known, next) {
        drop(cache, known);
    }
    free(cache);
}

static struct known_hash *find(struct hash_cache *cache, const struct file_identity *file)
{
    struct known_hash *known;
    HASH_FIND(hh, cache->all, file, sizeof(*file), known);
    return known;
}

static void add(struct hash_cache *cache, struct known_hash *known)
{
    /* NOLINTNEXTLINE(clang-analyzer-*): it was taken out whole where it was freed */
    HASH_ADD(hh, cache->all, answer.file, sizeof(known->answer.file), known);
}

const char *hash_cache_find(struct hash_cache *cache, const struct file_identity *file)
{
    struct known_hash *known = find(cache, file);
    if (!known) {
        return NULL;
    }
    HASH_DEL(cache->all, known); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    add(cache, known);
    return known->answer.digest;
}

void hash_cache_store(struct hash_cache *cache, const struct hash_answer *answer)
{
    if (!answer->is_lasting || find(cache, &answer->file)) {
        return;
    }
    if (HASH_COUNT(cache->all) >= cache->entries_max) {
        drop(cache, cache->all);
    }
    struct known_hash *known = NEW(struct known_hash);
    known->answer = *answer;
    add(cache, known);
}
