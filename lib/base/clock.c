#include "lib/base/clock.h"

#include <sodium.h>
#include <time.h>

#include "lib/base/macro.h"

int64_t clock_now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

uint64_t clock_monotonic_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_back_off(uint64_t *delay_ms, uint64_t first_ms, uint64_t last_ms)
{
    *delay_ms = MAX(MIN(*delay_ms * 2, last_ms), first_ms);
    return clock_monotonic_ms() + *delay_ms;
}

uint64_t clock_random_below(uint64_t limit)
{
    uint64_t value;
    uint64_t excess = (UINT64_MAX % limit + 1) % limit;
    do {
        randombytes_buf(&value, sizeof(value));
    } while (value > UINT64_MAX - excess);
    return value % limit;
}
