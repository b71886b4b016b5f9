/* Upkeep of the issuer's store that nobody waits for: old rows of the inventory go, and a store
 * that was in trouble is tried again. Loop thread only. */
#pragma once

#include "agent/issuer/issuer_clock.h"
#include "agent/issuer/store.h"

/* All zero but for the first three, which are set once. */
struct upkeep {
    struct store *store;
    struct mailbox *mailbox;
    const struct issuer_clock *clock;
    struct store_job record;
    int64_t expired_before_s;
    size_t deleted;
    uint64_t next_prune_ms;
    bool is_pruning, is_in_hand;
};

/* Starts what is due, unless something is in hand. */
void upkeep_advance(struct upkeep *upkeep);
