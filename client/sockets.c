#include "client/sockets.h"

#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { ADMIN_TIMEOUT_MS = 10000, PATIENT_TIMEOUT_MS = 120000 };

int sockets_connect_workload(const struct arguments *arguments, uint64_t timeout_ms,
                             struct rpc_client **ret_client, struct error *err)
{
    _cleanup_(free_cleanup) char *path = NULL;
    TRY(endpoint_find(arguments->run_dir, &path, err));
    TRY(rpc_client_connect(path, timeout_ms, ret_client, err));
    rpc_client_set_metadata(*ret_client, "workload.spiffe.io", "true");
    return 0;
}

static int connect_admin(const struct arguments *arguments, uint64_t timeout_ms,
                         struct rpc_client **ret_client, struct error *err)
{
    _cleanup_(free_cleanup) char *path =
        file_join(endpoint_run_dir(arguments->run_dir), "admin.sock");
    return rpc_client_connect(path, timeout_ms, ret_client, err);
}

int sockets_connect_admin(const struct arguments *arguments, struct rpc_client **ret_client,
                          struct error *err)
{
    return connect_admin(arguments, ADMIN_TIMEOUT_MS, ret_client, err);
}

int sockets_connect_admin_patiently(const struct arguments *arguments,
                                    struct rpc_client **ret_client, struct error *err)
{
    return connect_admin(arguments, PATIENT_TIMEOUT_MS, ret_client, err);
}
