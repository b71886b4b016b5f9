#include "agent/svid/timer_heap.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { JUMP_MS = 2000 };
static const time_t FAR_AWAY_S = 8000000000; /* the year 2223 */

const struct timer_clock timer_clock_system = {clock_now_s, clock_monotonic_ms};

int64_t timer_heap_now_s(const struct timer_heap *timers)
{
    return timers->clock->now_s();
}

uint64_t timer_heap_now_ms(const struct timer_heap *timers)
{
    return timers->clock->monotonic_ms();
}

static void place(struct timer_heap *timers, struct timer *timer, size_t position)
{
    timers->heap[position - 1] = timer;
    timer->position = position;
}

static void sift_up(struct timer_heap *timers, struct timer *timer, size_t position)
{
    while (position > 1 && timers->heap[position / 2 - 1]->due_ms > timer->due_ms) {
        place(timers, timers->heap[position / 2 - 1], position);
        position /= 2;
    }
    place(timers, timer, position);
}

static void sift_down(struct timer_heap *timers, struct timer *timer, size_t position)
{
    while (position * 2 <= timers->count) {
        size_t child = position * 2;
        if (child < timers->count &&
            timers->heap[child]->due_ms < timers->heap[child - 1]->due_ms) {
            child++;
        }
        if (timers->heap[child - 1]->due_ms >= timer->due_ms) {
            break;
        }
        place(timers, timers->heap[child - 1], position);
        position = child;
    }
    place(timers, timer, position);
}

static void on_timer(uv_timer_t *timer)
{
    timer_heap_run(timer->data);
}

static void arm(struct timer_heap *timers)
{
    if (timers->closed) {
        return;
    }
    uint64_t wait = TIMER_LOOK_MS;
    if (timers->count > 0) {
        uint64_t now = timer_heap_now_ms(timers);
        uint64_t due = timers->heap[0]->due_ms;
        wait = MIN(wait, due > now ? due - now : 0);
    }
    (void)uv_timer_start(&timers->timer, on_timer, wait, 0);
}

static void take_out(struct timer_heap *timers, struct timer *timer)
{
    size_t position = timer->position;
    struct timer *last = timers->heap[--timers->count];
    timer->position = 0;
    if (last != timer) {
        if (position > 1 && timers->heap[position / 2 - 1]->due_ms > last->due_ms) {
            sift_up(timers, last, position);
        } else {
            sift_down(timers, last, position);
        }
    }
}

void timer_cancel(struct timer_heap *timers, struct timer *timer)
{
    if (timer->position > 0) {
        take_out(timers, timer);
    }
}

void timer_set(struct timer_heap *timers, struct timer *timer, uint64_t due_ms)
{
    timer_cancel(timers, timer);
    if (timers->count == timers->capacity) {
        timers->capacity = MAX(timers->capacity * 2, (size_t)16);
        timers->heap = memory_resize_array(timers->heap, timers->capacity, sizeof(struct timer *));
    }
    timer->due_ms = timer == timers->firing ? MAX(due_ms, timer_heap_now_ms(timers) + 1) : due_ms;
    sift_up(timers, timer, ++timers->count);
    if (timer->position == 1 && !timers->is_running) {
        arm(timers);
    }
}

static void look_at_clocks(struct timer_heap *timers, uint64_t now_ms)
{
    int64_t offset_ms = timer_heap_now_s(timers) * 1000 - (int64_t)now_ms;
    int64_t moved_ms = offset_ms - timers->offset_ms;
    if (moved_ms > JUMP_MS || moved_ms < -JUMP_MS) {
        timers->offset_ms = offset_ms;
        timers->jumped(timers->user);
    }
}

void timer_heap_run(struct timer_heap *timers)
{
    uint64_t now_ms = timer_heap_now_ms(timers);
    timers->is_running = true;
    look_at_clocks(timers, now_ms);
    /* What is set meanwhile may run too, but does not keep the loop from its other work. */
    for (size_t left = timers->count * 2; left > 0 && timers->count > 0; left--) {
        struct timer *timer = timers->heap[0];
        if (timer->due_ms > now_ms) {
            break;
        }
        take_out(timers, timer);
        timers->firing = timer;
        timer->fire(timer);
        timers->firing = NULL;
    }
    timers->is_running = false;
    arm(timers);
}

/* A timer far away that the kernel cancels whenever somebody sets the clock: so a jump is seen at
 * once. */
static int watch_clock(int descriptor)
{
    const struct itimerspec never = {.it_value.tv_sec = FAR_AWAY_S};
    return timerfd_settime(descriptor, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void on_clock_set(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct timer_heap *timers = poll->data;
    uint64_t expirations;
    /* It fails with ECANCELED, which is the news. */
    if (read(timers->clock_descriptor, &expirations, sizeof(expirations)) < 0) {
        (void)watch_clock(timers->clock_descriptor);
    }
    timer_heap_run(timers);
}

int timer_heap_open(struct timer_heap *timers, uv_loop_t *loop, const struct timer_clock *clock,
                    void (*jumped)(void *user), void *user, struct error *err)
{
    int descriptor = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (descriptor < 0 || watch_clock(descriptor) < 0) {
        (void)error_set_errno(err, errno, "watching for changes of the clock");
        file_close_cleanup(&descriptor);
        return -1;
    }
    *timers = (struct timer_heap){.clock = clock, .jumped = jumped, .user = user};
    timers->offset_ms = timer_heap_now_s(timers) * 1000 - (int64_t)timer_heap_now_ms(timers);
    int result = uv_poll_init(loop, &timers->clock_set, descriptor);
    if (result < 0) {
        (void)close(descriptor);
        return error_set(err, ERROR_INTERNAL, "watching for changes of the clock: %s",
                         uv_strerror(result));
    }
    timers->clock_descriptor = descriptor;
    (void)uv_timer_init(loop, &timers->timer);
    timers->timer.data = timers->clock_set.data = timers;
    (void)uv_poll_start(&timers->clock_set, UV_READABLE, on_clock_set);
    timers->open_handles = 2;
    arm(timers);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct timer_heap *timers = handle->data;
    if (--timers->open_handles == 0) {
        (void)close(timers->clock_descriptor);
        free(timers->heap);
        timers->closed(timers->user);
    }
}

void timer_heap_close(struct timer_heap *timers, void (*closed)(void *user))
{
    timers->closed = closed;
    timers->count = 0;
    uv_close((uv_handle_t *)&timers->timer, on_handle_closed);
    uv_close((uv_handle_t *)&timers->clock_set, on_handle_closed);
}
