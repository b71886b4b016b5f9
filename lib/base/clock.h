/* Time. Lifetimes of credentials are wall clock seconds (they are compared with notAfter); waiting
 * is monotonic. */
#pragma once

#include <stdint.h>

/* Seconds since 1970, of the wall clock. */
int64_t clock_now_s(void);
/* Milliseconds of CLOCK_BOOTTIME: never goes back, goes on while the host sleeps. */
uint64_t clock_monotonic_ms(void);
/* A uniform random number in [0, limit); limit > 0. For jitter and the like, from the system's
 * secure source. */
uint64_t clock_random_below(uint64_t limit);
