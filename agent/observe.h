/* What the agent's parts tell of themselves, as metrics. Loop thread. */
#pragma once

#include "lib/base/bytes.h"

/* Appends all metrics as Prometheus text (agent/metrics/metrics.h). user is the struct agent. */
void observe_metrics(void *user, struct buffer *ret_text);
