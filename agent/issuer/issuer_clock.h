/* Where the embedded issuer reads the time, so that tests can let weeks pass. */
#pragma once

#include <stdint.h>

struct issuer_clock {
    int64_t (*now_s)(void *user);         /* wall clock */
    uint64_t (*monotonic_ms)(void *user); /* for waiting */
    void *user;
};

static inline int64_t issuer_clock_now_s(const struct issuer_clock *clock)
{
    return clock->now_s(clock->user);
}

static inline uint64_t issuer_clock_monotonic_ms(const struct issuer_clock *clock)
{
    return clock->monotonic_ms(clock->user);
}
