/* Where the agent's sockets are. */
#pragma once

#include "client/command.h"
#include "client/libsignet/endpoint.h"
#include "lib/rpc/client.h"

#define SOCKETS_DEFAULT_RUN_DIR ENDPOINT_DEFAULT_RUN_DIR

/* Connects to the Workload API: of --run-dir, else SPIFFE_ENDPOINT_SOCKET, else SIGNET_RUN_DIR,
 * else the default. The metadata that it asks for is set. timeout_ms as rpc_client_connect has it.
 */
int sockets_connect_workload(const struct arguments *arguments, uint64_t timeout_ms,
                             struct rpc_client **ret_client, struct error *err);
/* Connects to the admin API: of --run-dir, else SIGNET_RUN_DIR, else the default. */
int sockets_connect_admin(const struct arguments *arguments, struct rpc_client **ret_client,
                          struct error *err);
/* The same for what may take a minute: the TPM's work, a configuration of many thousand rules. */
int sockets_connect_admin_patiently(const struct arguments *arguments,
                                    struct rpc_client **ret_client, struct error *err);
