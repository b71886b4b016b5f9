/* Metrics as Prometheus text over HTTP: `metrics { listen = "unix:/run/signet/metrics.sock" }` or a
 * loopback address and port. Off by default. Loop thread only. */
#pragma once

#include <uv.h>

#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/times.h"

struct metrics_server;

/* Answers GET and HEAD of /metrics, one request a connection; everything else gets its status. At
 * most METRICS_CONNECTIONS_MAX are served at once, others wait for their turn; each has
 * METRICS_REQUEST_MAX_BYTES, and METRICS_STALL_MS to ask and again to take the answer. collect
 * appends the whole text. A unix socket has mode 0660; what a dead process left at its path is
 * replaced, one that lives is not. */
enum {
    METRICS_CONNECTIONS_MAX = 16,
    METRICS_REQUEST_MAX_BYTES = 8192,
    METRICS_STALL_MS = 5000,
};
int metrics_server_new(uv_loop_t *loop, const char *listen,
                       void (*collect)(void *user, struct buffer *ret_text), void *user,
                       struct metrics_server **ret_server, struct error *err);
/* Ends all connections and removes the socket, then calls stopped; the server is freed. */
void metrics_server_stop(struct metrics_server *server, void (*stopped)(void *user), void *user);
/* "unix:PATH" (absolute), "127.0.0.1:PORT" or "[::1]:PORT". */
int metrics_listen_check(const char *listen, struct error *err);

/* Makes the text: one family after the other, each with its samples. */
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
void metric_family(struct buffer *text, const char *name, enum metric_type type, const char *help);
/* labels: name and value in turns, NULL at the end; values are escaped. NULL: none. suffix: "" or
 * "_bucket" and the like. */
void metric_sample(struct buffer *text, const char *name, const char *suffix,
                   const char *const *labels, double value);

/* The samples of a METRIC_HISTOGRAM, in seconds. */
void metric_times(struct buffer *text, const char *name, const char *const *labels,
                  const struct times *times);
