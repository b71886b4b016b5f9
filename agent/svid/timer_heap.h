/* Timers of which there are many: a heap on one libuv timer. Waiting is monotonic; what depends on
 * the wall clock learns from `jumped` that the clock was set. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "lib/base/error.h"

/* Where the time comes from; tests have clocks of their own. */
struct timer_clock {
    int64_t (*now_s)(void);
    uint64_t (*monotonic_ms)(void);
};
extern const struct timer_clock timer_clock_system;

/* Embed it. All zero but for fire: not set. */
struct timer {
    uint64_t due_ms;
    size_t position; /* in the heap, from 1; 0: not set */
    void (*fire)(struct timer *timer);
};

struct timer_heap {
    const struct timer_clock *clock;
    uv_timer_t timer;
    uv_poll_t clock_set; /* readable when somebody sets the wall clock */
    int clock_descriptor;
    struct timer **heap;
    size_t count, capacity;
    struct timer *firing; /* one that sets itself again waits for the next turn */
    bool is_running;
    int64_t offset_ms; /* of the wall clock from the monotonic one */
    void (*jumped)(void *user);
    void *user;
    unsigned open_handles;
    void (*closed)(void *user);
};

/* The wall clock is looked at this often even where nothing is due. */
enum { TIMER_LOOK_MS = 30000 };

/* jumped: the wall clock and the monotonic one moved apart by more than two seconds. */
int timer_heap_open(struct timer_heap *timers, uv_loop_t *loop, const struct timer_clock *clock,
                    void (*jumped)(void *user), void *user, struct error *err);
/* Calls closed once the struct may be freed; no timer fires any more. */
void timer_heap_close(struct timer_heap *timers, void (*closed)(void *user));

int64_t timer_heap_now_s(const struct timer_heap *timers);
uint64_t timer_heap_now_ms(const struct timer_heap *timers);
/* Sets the timer, or sets it anew. fire runs once, never before the return. */
void timer_set(struct timer_heap *timers, struct timer *timer, uint64_t due_ms);
void timer_cancel(struct timer_heap *timers, struct timer *timer);
/* Looks at both clocks and fires what is due. */
void timer_heap_run(struct timer_heap *timers);
