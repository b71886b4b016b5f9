/* The inside of struct usage, for usage.c (what is counted) and usage_saving.c. Loop thread only.
 */
#pragma once

#include <uthash.h>

#include "agent/access/usage_store.h"
#include "lib/base/text.h"

struct saving;

struct counted {
    struct usage_record record;
    bool is_known; /* an entry gives it, as far as this process was told */
    bool is_dirty;
    UT_hash_handle hh; /* by record.spiffe_id */
};

struct usage {
    uv_loop_t *loop;
    uv_timer_t *timer; /* freed by its close */
    struct usage_store *store;
    struct counted *rows;
    size_t dirty;
    struct saving *saving; /* NULL: none under way */
    uint64_t opened_ms;
    int64_t pruned_day;
    bool is_full_told, is_failure_told;
    struct text_list gone; /* to be deleted */
};

/* It has changed. */
static inline void usage_mark(struct usage *usage, struct counted *row)
{
    usage->dirty += row->is_dirty ? 0 : 1;
    row->is_dirty = true;
}

/* usage_saving.c: before the return; waits for what is being written. */
void usage_save_all(struct usage *usage);
