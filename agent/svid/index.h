/* Which entries apply to which selectors, and the other way about, at a cost that grows with the
 * answer. Each item is filed under one of its selectors; each watch under all of its own. Loop
 * thread only. */
#pragma once

#include <sys/queue.h>

#include "agent/selector.h"

struct index_bucket; /* what is filed under one selector */
struct index {
    struct index_bucket *buckets;
};

/* Something that applies where all of its selectors are there. Embed it. */
struct index_item {
    const struct text_list *needed; /* sorted, at least one; borrowed while filed */
    struct index_bucket *bucket;    /* NULL: not filed */
    LIST_ENTRY(index_item) link;
};

/* Somebody who has selectors and wants to hear about items. Embed it. */
struct index_watch_link;
struct index_watch {
    const struct text_list *present; /* sorted; borrowed while watching */
    struct index_watch_link *links;
};

void index_add(struct index *index, struct index_item *item, const struct text_list *needed);
void index_remove(struct index *index, struct index_item *item);
/* Visits each item all of whose selectors are among present (sorted). visit must not change the
 * index. */
void index_match(const struct index *index, const struct text_list *present,
                 void (*visit)(struct index_item *item, void *user), void *user);

void index_watch_add(struct index *index, struct index_watch *watch,
                     const struct text_list *present);
void index_watch_remove(struct index *index, struct index_watch *watch);
/* Visits each watch to which an item with these selectors applies. */
void index_watchers(const struct index *index, const struct text_list *needed,
                    void (*visit)(struct index_watch *watch, void *user), void *user);
