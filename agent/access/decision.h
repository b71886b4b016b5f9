/* A line in the log for what was decided about a caller, bounded in rate: a caller that asks in a
 * loop must not fill the disk. */
#pragma once

#include "agent/workload/peer.h"
#include "lib/base/error.h"

/* Lets a burst of lines pass, then some each second, and counts the others. All zero is full. */
struct log_gate {
    uint64_t emptied_ms; /* lines let pass, as time until they are forgotten */
    uint64_t unlogged;
};
bool log_gate_opens(struct log_gate *gate, uint64_t *ret_unlogged);

struct decisions {
    struct log_gate granted, denied;
};

/* what: of the thing granted, such as SPIFFE ID and serial. */
void decision_granted(struct decisions *decisions, const struct peer *peer, const char *method,
                      const char *what);
void decision_denied(struct decisions *decisions, const struct peer *peer, const char *method,
                     const struct error *reason);
