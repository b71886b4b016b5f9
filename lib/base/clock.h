/* Time. Lifetimes of credentials are wall clock seconds (they are compared with notAfter); waiting
 * is monotonic. */
#pragma once

#include <stdint.h>

/* Seconds since 1970, of the wall clock. */
int64_t clock_now_s(void);
/* Milliseconds of CLOCK_BOOTTIME: never goes back, goes on while the host sleeps. */
uint64_t clock_monotonic_ms(void);
/* To try again each time later: doubles the delay (0: nothing has failed yet) within the bounds,
 * and returns when it is over, in time of clock_monotonic_ms. */
uint64_t clock_back_off(uint64_t *delay_ms, uint64_t first_ms, uint64_t last_ms);
/* A uniform random number in [0, limit); limit > 0. For jitter and the like, from the system's
 * secure source. */
uint64_t clock_random_below(uint64_t limit);
