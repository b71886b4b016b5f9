/* The agent's life: everything brought up in order, run, and taken down in the reverse order. */
#pragma once

#include "agent/config.h"

/* Runs the agent until SIGTERM or SIGINT. Call once, first thing in the process after the
 * configuration was read; config is borrowed. Returns 0 after an orderly stop; an error when it
 * could not start, with everything taken down again. */
int agent_run(const struct config *config, struct error *err);
