/* How long something takes, counted in buckets. Atomic, no waiting; every thread. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* Buckets of 100 us to 10 s, and one for what took longer. */
enum { TIMES_BUCKETS = 16 };
/* Their upper ends, which belong to them. */
extern const uint32_t times_bounds_us[TIMES_BUCKETS];

/* All zero is empty. */
struct times {
    _Atomic uint64_t counts[TIMES_BUCKETS + 1], sum_us;
};

void times_add(struct times *times, uint64_t us);
/* Adds the time since times_now_us gave begin_us. */
void times_add_since(struct times *times, uint64_t begin_us);
/* Of CLOCK_MONOTONIC, for differences. */
uint64_t times_now_us(void);
