/* Processes without any identity cost a user nothing, and each is another one to the records. What
 * they are refused is told one by one only up to a rate, lest it push out of the log what others
 * did. */
#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/policy/meter.h"
#include "lib/base/memory.h"

enum { TOLD_AT_ONCE = 200, NS_PER_S = 1000000000 };

/* Of one uid. */
struct crowd {
    uint32_t uid;
    struct meter told; /* one a second */
    uint64_t count;    /* not told yet */
    int64_t since_ms;
    const char *asked; /* by the last */
    UT_hash_handle hh;
};

/* NOLINTNEXTLINE(readability-function-size): the size is that of uthash's macros. */
static struct crowd *crowd_of(struct access *access, uint32_t uid)
{
    struct crowd *crowd = NULL;
    HASH_FIND(hh, access->crowds, &uid, sizeof(uid), crowd);
    if (!crowd) {
        crowd = NEW(struct crowd);
        crowd->uid = uid;
        HASH_ADD(hh, access->crowds, uid, sizeof(crowd->uid), crowd);
    }
    return crowd;
}

bool crowd_hides(struct access *access, uint32_t uid, const char *asked)
{
    struct crowd *crowd = crowd_of(access, uid);
    access_beat(access);
    if (meter_take(&crowd->told, meter_now_ns(), 1, NS_PER_S, TOLD_AT_ONCE, NULL)) {
        return false;
    }
    crowd->since_ms = crowd->count++ == 0 ? record_now_ms() : crowd->since_ms;
    crowd->asked = asked;
    return true;
}

static void tell(struct access *access, struct crowd *crowd)
{
    _cleanup_(free_cleanup) char *reason =
        text_format("processes of uid %u, to which no entry applies, ask too often to be recorded "
                    "one by one",
                    crowd->uid);
    const struct audit_event event = {
        .action = AUDIT_DENIED,
        .is_failure = true,
        .asked = crowd->asked,
        .decider = AUDIT_DECIDER_ENTRY,
        .reason = reason,
        .count = crowd->count,
        .first_ms = crowd->since_ms,
    };
    record_event(access, &event);
    crowd->count = 0;
}

static void drop(struct access *access, struct crowd *crowd)
{
    HASH_DEL(access->crowds, crowd); /* NOLINT(clang-analyzer-*): uthash takes it out whole */
    free(crowd);
}

bool crowds_gather(struct access *access)
{
    struct crowd *crowd, *next;
    HASH_ITER (hh, access->crowds, crowd, next) {
        if (crowd->count > 0) {
            tell(access, crowd);
        } else if (crowd->told.due_ns <= meter_now_ns()) {
            drop(access, crowd);
        }
    }
    return access->crowds != NULL;
}

void crowds_clear(struct access *access)
{
    (void)crowds_gather(access);
    while (access->crowds) {
        /* NOLINTNEXTLINE(clang-analyzer-*): see drop */
        drop(access, access->crowds);
    }
}
