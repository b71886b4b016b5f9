#include "attest/ek_cache.h"

#include <pthread.h>
#include <string.h>
#include <uthash.h>

#include "lib/base/memory.h"

struct item {
    uint8_t key[EK_CACHE_KEY_BYTES];
    struct ek_validity validity;
    UT_hash_handle hh;
};

struct ek_cache {
    pthread_mutex_t mutex;
    struct item *items; /* uthash keeps the order in which they were added */
};

/* NOLINTBEGIN(clang-analyzer-*,readability-function-size): it cannot know that uthash takes each
 * item out whole, and counts the lines of its macros */
struct ek_cache *ek_cache_new(void)
{
    struct ek_cache *cache = NEW(struct ek_cache);
    pthread_mutex_init(&cache->mutex, NULL);
    return cache;
}

static void drop(struct ek_cache *cache, struct item *item)
{
    HASH_DEL(cache->items, item);
    free(item);
}

void ek_cache_free(struct ek_cache *cache)
{
    while (cache->items) {
        drop(cache, cache->items);
    }
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

bool ek_cache_has(struct ek_cache *cache, const uint8_t key[EK_CACHE_KEY_BYTES], int64_t now_s)
{
    struct item *item = NULL;
    pthread_mutex_lock(&cache->mutex);
    HASH_FIND(hh, cache->items, key, EK_CACHE_KEY_BYTES, item);
    if (item) {
        HASH_DEL(cache->items, item);
        HASH_ADD(hh, cache->items, key, EK_CACHE_KEY_BYTES, item);
    }
    const bool has = item && now_s >= item->validity.from_s && now_s < item->validity.to_s;
    pthread_mutex_unlock(&cache->mutex);
    return has;
}

void ek_cache_put(struct ek_cache *cache, const uint8_t key[EK_CACHE_KEY_BYTES],
                  const struct ek_validity *validity)
{
    struct item *item = NULL;
    pthread_mutex_lock(&cache->mutex);
    HASH_FIND(hh, cache->items, key, EK_CACHE_KEY_BYTES, item);
    if (item) {
        drop(cache, item);
    } else if (HASH_COUNT(cache->items) == EK_CACHE_MAX) {
        drop(cache, cache->items);
    }
    item = NEW(struct item);
    memcpy(item->key, key, EK_CACHE_KEY_BYTES);
    item->validity = *validity;
    HASH_ADD(hh, cache->items, key, EK_CACHE_KEY_BYTES, item);
    pthread_mutex_unlock(&cache->mutex);
}
/* NOLINTEND(clang-analyzer-*,readability-function-size) */
