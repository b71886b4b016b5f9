#include "agent/access/decision.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"

enum { LINE_MS = 20, BURST_LINES = 200 };

/* A leaky bucket: each line adds LINE_MS to what has to drain. */
bool log_gate_opens(struct log_gate *gate, uint64_t *ret_unlogged)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t emptied_ms = MAX(gate->emptied_ms, now_ms);
    if (emptied_ms - now_ms > (uint64_t)LINE_MS * (BURST_LINES - 1)) {
        gate->unlogged++;
        return false;
    }
    gate->emptied_ms = emptied_ms + LINE_MS;
    *ret_unlogged = gate->unlogged;
    gate->unlogged = 0;
    return true;
}

static void log_unlogged(const char *what, uint64_t unlogged)
{
    if (unlogged > 0) {
        log_warning("%llu calls were %s without a line of their own", (unsigned long long)unlogged,
                    what);
    }
}

void decision_granted(struct decisions *decisions, const struct peer *peer, const char *method,
                      const char *what)
{
    uint64_t unlogged = 0;
    if (log_gate_opens(&decisions->granted, &unlogged)) {
        log_unlogged("granted", unlogged);
        log_info("granted %s pid=%d uid=%u %s", method, peer->pid, peer->uid, what);
    }
}

void decision_denied(struct decisions *decisions, const struct peer *peer, const char *method,
                     const struct error *reason)
{
    uint64_t unlogged = 0;
    if (log_gate_opens(&decisions->denied, &unlogged)) {
        log_unlogged("denied", unlogged);
        log_info("denied %s pid=%d uid=%u code=%s: %s", method, peer->pid, peer->uid,
                 error_code_name(reason->code), reason->text);
    }
}
