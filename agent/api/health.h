/* grpc.health.v1.Health on both sockets (grpc/doc/health-checking.md). */
#pragma once

#include <sys/queue.h>
#include <uv.h>

struct health_watcher;

/* Streams that want to know of changes. What is watched cannot call back, so it is looked at, and
 * only while somebody watches. */
struct health_watchers {
    LIST_HEAD(, health_watcher) list;
    uv_timer_t timer;
};
