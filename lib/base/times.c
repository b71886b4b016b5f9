#include "lib/base/times.h"

#include <time.h>

const uint32_t times_bounds_us[TIMES_BUCKETS] = {100,     250,     500,     1000,    2500,   5000,
                                                 10000,   25000,   50000,   100000,  250000, 500000,
                                                 1000000, 2500000, 5000000, 10000000};

void times_add(struct times *times, uint64_t us)
{
    unsigned bucket = 0;
    while (bucket < TIMES_BUCKETS && us > times_bounds_us[bucket]) {
        bucket++;
    }
    (void)atomic_fetch_add_explicit(&times->counts[bucket], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&times->sum_us, us, memory_order_relaxed);
}

void times_add_since(struct times *times, uint64_t begin_us)
{
    uint64_t now_us = times_now_us();
    times_add(times, now_us > begin_us ? now_us - begin_us : 0);
}

uint64_t times_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
