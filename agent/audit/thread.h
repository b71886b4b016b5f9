/* The threads of the audit log. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts a thread that no signal reaches; 0 or an errno value. */
int audit_thread_start(pthread_t *ret_thread, void *(*main)(void *), void *argument);
void audit_thread_init(pthread_mutex_t *lock, pthread_cond_t *conditions[], size_t count);
/* Waits for the condition, whose clock is the monotonic one, until deadline_ms of
 * clock_monotonic_ms; whether it is still before that. May return early. */
bool audit_thread_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline_ms);
