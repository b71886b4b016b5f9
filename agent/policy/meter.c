#include "agent/policy/meter.h"

#include <time.h>

#include "lib/base/macro.h"

/* GCRA: due_ns is when all that was taken so far would have been had at the steady rate. Whoever is
 * not further ahead of it than the burst may take. */

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t multiply_saturated(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

bool meter_take(struct meter *meter, uint64_t now_ns, uint32_t rate, uint64_t period_ns,
                uint32_t burst, uint64_t *ret_wait_ns)
{
    if (rate == 0) {
        return true;
    }
    /* Rounded up, so that no more than the rate is ever had. */
    uint64_t each_ns = MAX(period_ns / rate + (period_ns % rate != 0), (uint64_t)1);
    uint64_t ahead_ns = multiply_saturated(each_ns, MAX(burst, 1U) - 1);
    uint64_t latest_ns = add_saturated(now_ns, ahead_ns);
    /* Who owes more than this burst and rate let anybody owe was charged by slower ones: he owes no
     * more than that, from now on. */
    uint64_t most_ns = add_saturated(latest_ns, each_ns);
    uint64_t due_ns = atomic_load_explicit(&meter->due_ns, memory_order_relaxed);
    for (;;) {
        uint64_t from_ns = MIN(MAX(due_ns, now_ns), most_ns);
        bool is_taken = from_ns <= latest_ns;
        uint64_t next_ns = is_taken ? add_saturated(from_ns, each_ns) : from_ns;
        if (next_ns == due_ns ||
            atomic_compare_exchange_weak_explicit(&meter->due_ns, &due_ns, next_ns,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            if (!is_taken && ret_wait_ns) {
                *ret_wait_ns = from_ns - latest_ns;
            }
            return is_taken;
        }
    }
}

uint64_t meter_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
