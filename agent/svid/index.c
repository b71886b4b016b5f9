#include "agent/svid/index.h"

#include <string.h>

#include "agent/svid/hash.h"
#include "lib/base/memory.h"

struct index_watch_link {
    struct index_watch *watch;
    struct index_bucket *bucket;
    LIST_ENTRY(index_watch_link) link;
};

struct index_bucket {
    char *selector;
    LIST_HEAD(, index_item) items;
    LIST_HEAD(, index_watch_link) watches;
    size_t item_count, watch_count;
    UT_hash_handle hh;
};

static struct index_bucket *find_bucket(const struct index *index, const char *selector)
{
    struct index_bucket *bucket = NULL;
    HASH_FIND_STR(index->buckets, selector, bucket);
    return bucket;
}

static struct index_bucket *make_bucket(struct index *index, const char *selector)
{
    struct index_bucket *bucket = find_bucket(index, selector);
    if (!bucket) {
        bucket = NEW(struct index_bucket);
        bucket->selector = memory_copy_text(selector);
        HASH_ADD_KEYPTR(hh, index->buckets, bucket->selector, strlen(bucket->selector), bucket);
    }
    return bucket;
}

static void drop_bucket_if_empty(struct index *index, struct index_bucket *bucket)
{
    if (bucket->item_count == 0 && bucket->watch_count == 0) {
        /* The analyzer takes the table of a bucket that is in it for one that may be missing. */
        HASH_DEL(index->buckets, bucket); /* NOLINT(clang-analyzer-core.NullDereference) */
        free(bucket->selector);
        free(bucket);
    }
}

/* The rarer among callers, the better: fewer callers look at the bucket in vain. */
static size_t commonness(const char *selector)
{
    static const char *const from_rare_to_common[] = {
        "unix:sha256:", "unix:path:", "unix:user:",          "unix:uid:",
        "unix:group:",  "unix:gid:",  "unix:supplementary_",
    };
    size_t i = 0;
    while (i < ARRAY_SIZE(from_rare_to_common) &&
           strncmp(selector, from_rare_to_common[i], strlen(from_rare_to_common[i])) != 0) {
        i++;
    }
    return i;
}

/* The selector with the fewest items so far; of equals the rarest kind. So 10,000 entries that
 * share a path or a user still spread over what tells them apart. */
static const char *choose_selector(const struct index *index, const struct text_list *needed)
{
    const char *best = NULL;
    size_t best_count = 0;
    for (size_t i = 0; i < needed->count; i++) {
        const struct index_bucket *bucket = find_bucket(index, needed->items[i]);
        size_t count = bucket ? bucket->item_count : 0;
        if (!best || count < best_count ||
            (count == best_count && commonness(needed->items[i]) < commonness(best))) {
            best = needed->items[i];
            best_count = count;
        }
    }
    return best;
}

void index_add(struct index *index, struct index_item *item, const struct text_list *needed)
{
    item->needed = needed;
    item->bucket = make_bucket(index, choose_selector(index, needed));
    LIST_INSERT_HEAD(&item->bucket->items, item, link);
    item->bucket->item_count++;
}

void index_remove(struct index *index, struct index_item *item)
{
    LIST_REMOVE(item, link);
    item->bucket->item_count--;
    drop_bucket_if_empty(index, item->bucket);
    *item = (struct index_item){0};
}

void index_match(const struct index *index, const struct text_list *present,
                 void (*visit)(struct index_item *item, void *user), void *user)
{
    for (size_t i = 0; i < present->count; i++) {
        const struct index_bucket *bucket = find_bucket(index, present->items[i]);
        struct index_item *item = bucket ? LIST_FIRST(&bucket->items) : NULL;
        for (; item; item = LIST_NEXT(item, link)) {
            if (selectors_match(item->needed, present)) {
                visit(item, user);
            }
        }
    }
}

void index_watch_add(struct index *index, struct index_watch *watch,
                     const struct text_list *present)
{
    watch->present = present;
    watch->links = memory_new_array(present->count, sizeof(*watch->links));
    for (size_t i = 0; i < present->count; i++) {
        struct index_watch_link *link = &watch->links[i];
        link->watch = watch;
        link->bucket = make_bucket(index, present->items[i]);
        link->bucket->watch_count++;
        LIST_INSERT_HEAD(&link->bucket->watches, link, link);
    }
}

void index_watch_remove(struct index *index, struct index_watch *watch)
{
    for (size_t i = 0; i < watch->present->count; i++) {
        struct index_watch_link *link = &watch->links[i];
        LIST_REMOVE(link, link);
        link->bucket->watch_count--;
        drop_bucket_if_empty(index, link->bucket);
    }
    free(watch->links);
    *watch = (struct index_watch){0};
}

void index_watchers(const struct index *index, const struct text_list *needed,
                    void (*visit)(struct index_watch *watch, void *user), void *user)
{
    const struct index_bucket *fewest = NULL;
    for (size_t i = 0; i < needed->count; i++) {
        const struct index_bucket *bucket = find_bucket(index, needed->items[i]);
        if (!bucket || bucket->watch_count == 0) {
            return;
        }
        if (!fewest || bucket->watch_count < fewest->watch_count) {
            fewest = bucket;
        }
    }
    struct index_watch_link *link = fewest ? LIST_FIRST(&fewest->watches) : NULL;
    for (; link; link = LIST_NEXT(link, link)) {
        if (selectors_match(needed, link->watch->present)) {
            visit(link->watch, user);
        }
    }
}
