#include "client/sockets.h"

#include <string.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { ADMIN_TIMEOUT_MS = 10000 };

static const char *skip_prefix(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

int sockets_parse_endpoint(const char *endpoint, char **ret_path, struct error *err)
{
    const char *path = skip_prefix(endpoint, "unix:");
    if (skip_prefix(endpoint, "tcp:")) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "SPIFFE_ENDPOINT_SOCKET is \"%s\": the agent does not listen on TCP, since "
            "only a unix socket tells it who calls; set unix:///run/signet/api.sock",
            endpoint);
    }
    if (path && skip_prefix(path, "//")) {
        path += 2;
    }
    if (!path || path[0] != '/' || !path[1] || strpbrk(path, "?#")) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "SPIFFE_ENDPOINT_SOCKET is \"%s\": unix: and an absolute path are expected, "
            "such as unix:///run/signet/api.sock",
            endpoint);
    }
    *ret_path = memory_copy_text(path);
    return 0;
}

/* NULL for a variable that is not set or empty. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static char *in_run_dir(const struct arguments *arguments, const char *name)
{
    const char *folder = arguments->run_dir ? arguments->run_dir : environment("SIGNET_RUN_DIR");
    return file_join(folder ? folder : SOCKETS_DEFAULT_RUN_DIR, name);
}

int sockets_connect_workload(const struct arguments *arguments, uint64_t timeout_ms,
                             struct rpc_client **ret_client, struct error *err)
{
    const char *endpoint = environment("SPIFFE_ENDPOINT_SOCKET");
    _cleanup_(free_cleanup) char *path = NULL;
    if (endpoint && !arguments->run_dir) {
        TRY(sockets_parse_endpoint(endpoint, &path, err));
    } else {
        path = in_run_dir(arguments, "api.sock");
    }
    TRY(rpc_client_connect(path, timeout_ms, ret_client, err));
    rpc_client_set_metadata(*ret_client, "workload.spiffe.io", "true");
    return 0;
}

int sockets_connect_admin(const struct arguments *arguments, struct rpc_client **ret_client,
                          struct error *err)
{
    _cleanup_(free_cleanup) char *path = in_run_dir(arguments, "admin.sock");
    return rpc_client_connect(path, ADMIN_TIMEOUT_MS, ret_client, err);
}
