/* Reading the configuration again while running. */
#pragma once

#include "agent/config.h"

/* The keys, separated by ", ", that differ and take effect only at the next start; the caller frees
 * it. NULL: none. */
char *reload_restart_keys(const struct config *running, const struct config *wanted);

/* Whether what can be taken over from wanted fits what runs: same trust domain, and every keystore
 * that a rule names is one of the running configuration. */
int reload_check(const struct config *running, const struct config *wanted, struct error *err);
