/* How often something may happen: a rate with a burst, and a count. Lock-free; every thread. Times
 * are clock_monotonic_ms's clock in nanoseconds, so setting the wall clock changes nothing. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A rate (GCRA: one number, no timer). All zero has its whole burst. */
struct meter {
    _Atomic uint64_t due_ns;
};

/* Takes one of rate for each period_ns, after a burst of at most burst (at least 1). rate 0: not
 * limited. False: too many; then *ret_wait_ns (may be NULL) is the time until one is there. */
bool meter_take(struct meter *meter, uint64_t now_ns, uint32_t rate, uint64_t period_ns,
                uint32_t burst, uint64_t *ret_wait_ns);

uint64_t meter_now_ns(void);
