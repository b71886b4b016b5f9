/* A restart of the agent must not take their tokens from processes that use them, since PKCS#11
 * clients never connect again. At a stop the service manager is left the connections, what their
 * processes had in hand, and the identities whose keys the hardware can open again; the next
 * process goes on with them. A stop that no start follows closes them. Nothing is written to a
 * file. Loop thread. */
#pragma once

struct agent;

/* Before the tokens are stopped. Does nothing without a service manager. */
void handover_leave(struct agent *agent);
/* Once manager and tokens have been started, before anybody is served. */
void handover_take(struct agent *agent);
