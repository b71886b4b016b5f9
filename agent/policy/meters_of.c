#include <uthash.h>

#include "agent/policy/meters_of.h"
#include "lib/base/memory.h"

/* Fewer are never looked through for those that nobody needs. */
enum { SWEEP_MIN = 1024 };

struct kept {
    struct identity_meters *meters;
    UT_hash_handle hh;
};

struct meters_of {
    struct kept *all;
    size_t sweep_at;
};

struct identity_meters *identity_meters_ref(struct identity_meters *meters)
{
    atomic_fetch_add_explicit(&meters->references, 1, memory_order_relaxed);
    return meters;
}

void identity_meters_unref(struct identity_meters *meters)
{
    if (atomic_fetch_sub_explicit(&meters->references, 1, memory_order_acq_rel) == 1) {
        free(meters->spiffe_id);
        free(meters);
    }
}

struct meters_of *meters_of_new(void)
{
    struct meters_of *meters_of = NEW(struct meters_of);
    meters_of->sweep_at = SWEEP_MIN;
    return meters_of;
}

static void drop(struct meters_of *meters_of, struct kept *kept)
{
    HASH_DEL(meters_of->all, kept); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    identity_meters_unref(kept->meters);
    free(kept);
}

void meters_of_free(struct meters_of *meters_of)
{
    struct kept *kept, *next;
    HASH_ITER (hh, meters_of->all, kept, next) {
        drop(meters_of, kept);
    }
    free(meters_of);
}

/* Whether new ones would say the same. */
static bool is_needless(const struct identity_meters *meters, uint64_t now_ns)
{
    return atomic_load_explicit(&meters->references, memory_order_acquire) == 1 &&
           meters->signs.due_ns <= now_ns && meters->svids.due_ns <= now_ns &&
           meters->jwts.due_ns <= now_ns;
}

/* Identities come and go; what was kept for them goes with them, at a cost that the growth since
 * the last time has paid for. */
static void sweep(struct meters_of *meters_of)
{
    struct kept *kept, *next;
    uint64_t now_ns = meter_now_ns();
    if (HASH_COUNT(meters_of->all) < meters_of->sweep_at) {
        return;
    }
    HASH_ITER (hh, meters_of->all, kept, next) {
        if (is_needless(kept->meters, now_ns)) {
            drop(meters_of, kept);
        }
    }
    meters_of->sweep_at = MAX((size_t)HASH_COUNT(meters_of->all) * 2, (size_t)SWEEP_MIN);
}

static struct kept *find(struct meters_of *meters_of, const char *spiffe_id)
{
    struct kept *kept;
    HASH_FIND_STR(meters_of->all, spiffe_id, kept);
    return kept;
}

static struct kept *kept_new(const char *spiffe_id)
{
    struct kept *kept = NEW(struct kept);
    kept->meters = NEW(struct identity_meters);
    kept->meters->references = 1;
    kept->meters->spiffe_id = memory_copy_text(spiffe_id);
    return kept;
}

static void add(struct meters_of *meters_of, struct kept *kept)
{
    const char *key = kept->meters->spiffe_id;
    /* NOLINTNEXTLINE(clang-analyzer-*): dropped ones were taken out whole */
    HASH_ADD_KEYPTR(hh, meters_of->all, key, strlen(key), kept);
}

struct identity_meters *meters_of_find(struct meters_of *meters_of, const char *spiffe_id)
{
    struct kept *kept = find(meters_of, spiffe_id);
    if (!kept) {
        sweep(meters_of);
        kept = kept_new(spiffe_id);
        add(meters_of, kept);
    }
    return kept->meters;
}

size_t meters_of_count(const struct meters_of *meters_of)
{
    return HASH_COUNT(meters_of->all);
}
