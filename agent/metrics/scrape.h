/* Connections to the metrics socket: each takes one request, is answered, and ends. Loop thread
 * only. */
#pragma once

#include <sys/queue.h>

#include "agent/metrics/metrics.h"

struct scrape;

struct scrapes {
    uv_loop_t *loop;
    void (*collect)(void *user, struct buffer *ret_text);
    void (*over)(void *user);
    void *user;
    size_t count; /* until their handles are closed */
    LIST_HEAD(, scrape) open;
};

/* over is told when one has ended. */
void scrapes_init(struct scrapes *scrapes, uv_loop_t *loop,
                  void (*collect)(void *user, struct buffer *ret_text), void (*over)(void *user),
                  void *user);
/* All of them, without another word; over is told of each, later. */
void scrapes_close(struct scrapes *scrapes);
/* Begins with one. The descriptor, which does not block, is taken. */
void scrape_open(struct scrapes *scrapes, int descriptor);
