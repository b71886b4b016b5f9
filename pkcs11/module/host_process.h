/* The process of an isolated module: started, watched, killed and reaped by a thread of its own,
 * so that the kernel ends it with the agent (PR_SET_PDEATHSIG is tied to the starting thread). */
#pragma once

#include <stdbool.h>

#include "lib/base/macro.h"
#include "pkcs11/module/module.h"

struct host_process;

/* timers: how many calls may be under way at once. config is borrowed, keystore copied. */
int host_process_new(const struct module_config *config, const char *keystore, unsigned timers,
                     struct host_process **ret_process, struct error *err);
/* Ends the process first. */
void host_process_free(struct host_process *process);
DEFINE_CLEANUP(struct host_process, host_process_free, host_process_free);

/* Starts the program with the two sockets (host_protocol.h), which stay the caller's. */
int host_process_start(struct host_process *process, int listener, int control, struct error *err);
/* Gives it grace_ms to end by itself, then kills it; returns when it is reaped. */
void host_process_end(struct host_process *process, unsigned grace_ms);

/* The process is killed unless the timer is stopped within config's timeout_ms. */
void host_process_timer_start(struct host_process *process, unsigned timer);
void host_process_timer_stop(struct host_process *process, unsigned timer);
unsigned host_process_timeout_ms(const struct host_process *process);
