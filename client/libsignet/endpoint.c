#include "client/libsignet/endpoint.h"

#include <string.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

static const char *skip_prefix(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

int endpoint_parse(const char *endpoint, char **ret_path, struct error *err)
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

const char *endpoint_run_dir(const char *run_dir)
{
    const char *folder = run_dir ? run_dir : environment("SIGNET_RUN_DIR");
    return folder ? folder : ENDPOINT_DEFAULT_RUN_DIR;
}

int endpoint_find(const char *run_dir, char **ret_path, struct error *err)
{
    const char *endpoint = environment("SPIFFE_ENDPOINT_SOCKET");
    if (endpoint && !run_dir) {
        return endpoint_parse(endpoint, ret_path, err);
    }
    *ret_path = file_join(endpoint_run_dir(run_dir), "api.sock");
    return 0;
}
