/* Where the Workload API's socket is. Every thread. */
#pragma once

#include "lib/base/error.h"

#define ENDPOINT_DEFAULT_RUN_DIR "/run/signet"

/* The path that SPIFFE_ENDPOINT_SOCKET stands for (SPIFFE Workload Endpoint 4): unix:/path or
 * unix:///path; the caller frees it. */
int endpoint_parse(const char *endpoint, char **ret_path, struct error *err);

/* run_dir's, where that is not NULL; else by SPIFFE_ENDPOINT_SOCKET, else in SIGNET_RUN_DIR, else
 * in the default. The caller frees it. */
int endpoint_find(const char *run_dir, char **ret_path, struct error *err);

/* The folder of the sockets: run_dir, else SIGNET_RUN_DIR, else the default. Borrowed. */
const char *endpoint_run_dir(const char *run_dir);
