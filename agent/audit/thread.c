#include "agent/audit/thread.h"

#include <signal.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/macro.h"

/* A thread's memory counts only where it was touched. */
enum { STACK_BYTES = 1 << 20, WAIT_MAX_MS = 60000 };

int audit_thread_start(pthread_t *ret_thread, void *(*main)(void *), void *argument)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are for the thread of the event loop. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(ret_thread, &attributes, main, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return failure;
}

void audit_thread_init(pthread_mutex_t *lock, pthread_cond_t *conditions[], size_t count)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(lock, NULL);
    for (size_t i = 0; i < count; i++) {
        (void)pthread_cond_init(conditions[i], &attributes);
    }
    (void)pthread_condattr_destroy(&attributes);
}

bool audit_thread_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms >= deadline_ms) {
        return false;
    }
    uint64_t wait_ms = MIN(deadline_ms - now_ms, (uint64_t)WAIT_MAX_MS);
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + wait_ms % 1000 * 1000000;
    until.tv_sec += (time_t)(wait_ms / 1000 + nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    (void)pthread_cond_timedwait(condition, lock, &until);
    return true;
}
