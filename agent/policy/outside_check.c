#include <string.h>

#include "agent/policy/outside.h"

static const char unix_scheme[] = "unix://";
/* Literal addresses: what a name stands for may change. */
static const char *const loopbacks[] = {"http://127.0.0.1:", "http://[::1]:"};
/* sun_path holds 107 bytes and a NUL; path: what a line of a log can hold. */
enum { SOCKET_PATH_MAX_BYTES = 107, PATH_MAX_BYTES = 256 };

/* What follows the prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

static int check_url(const char *url, struct error *err)
{
    uint64_t port = 0;
    const char *socket_path = after(url, unix_scheme);
    if (socket_path && socket_path[0] == '/' && socket_path[1] != '\0' &&
        strlen(socket_path) <= SOCKET_PATH_MAX_BYTES) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(loopbacks); i++) {
        const char *rest = after(url, loopbacks[i]);
        if (rest && text_parse_u64(rest, 1, UINT16_MAX, &port, NULL) == 0) {
            return 0;
        }
    }
    return error_set(
        err, ERROR_INVALID_ARGUMENT,
        "the outside policy's address is \"%s\"; expected \"unix:///\" and a path of at "
        "most %d bytes, such as \"unix:///run/opa.sock\", or \"http://127.0.0.1:PORT\" "
        "or \"http://[::1]:PORT\"",
        url, SOCKET_PATH_MAX_BYTES);
}

static bool is_segment(const char *segment, size_t size)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    bool is_dots = strspn(segment, ".") >= size;
    return size > 0 && !is_dots && strspn(segment, allowed) >= size;
}

static bool is_path(const char *path)
{
    for (;;) {
        size_t size = strcspn(path, "/");
        if (!is_segment(path, size)) {
            return false;
        }
        if (path[size] == '\0') {
            return true;
        }
        path += size + 1;
    }
}

int outside_check(const struct outside_config *config, struct error *err)
{
    TRY(check_url(config->url, err));
    if (strlen(config->path) > PATH_MAX_BYTES || !is_path(config->path)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the outside policy's path is \"%s\"; expected names of letters, digits, "
                         "'_', '-' and '.', separated by '/', such as \"signet/allow\", at most %d "
                         "bytes",
                         config->path, PATH_MAX_BYTES);
    }
    if (config->timeout_ms == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the outside policy's timeout is nothing; expected one such as \"250ms\"");
    }
    return 0;
}
