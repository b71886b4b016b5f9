#include "agent/svid/timing.h"

#include "lib/base/clock.h"
#include "lib/base/macro.h"

/* As many tries fit into what is left of a life. */
enum { TRIES_BEFORE_EXPIRY = 8, DOUBLINGS_MAX = 6 };

int64_t timing_renew_at_s(int64_t now_s, int64_t expires_at_s)
{
    int64_t life = expires_at_s - now_s;
    if (life <= 0) {
        return now_s;
    }
    uint64_t spread = (uint64_t)life / 5;
    return now_s + life / 2 - (int64_t)(spread / 2) + (int64_t)clock_random_below(spread + 1);
}

uint64_t timing_retry_ms(unsigned failures, int64_t left_s)
{
    unsigned doublings = MIN(failures > 0 ? failures - 1 : 0, (unsigned)DOUBLINGS_MAX);
    uint64_t wait = (uint64_t)TIMING_RETRY_MIN_MS << doublings;
    wait += clock_random_below(wait / 2 + 1);
    wait = MIN(wait, (uint64_t)TIMING_RETRY_MAX_MS);
    if (left_s > 0) {
        wait = MIN(wait, (uint64_t)left_s * 1000 / TRIES_BEFORE_EXPIRY);
    }
    return MAX(wait, (uint64_t)TIMING_RETRY_MIN_MS);
}
