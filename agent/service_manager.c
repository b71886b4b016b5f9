/* The protocols of sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), which systemd
 * promises to keep. They are small; libsystemd would bring compression libraries into a process
 * that holds keys. */
#include "agent/service_manager.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { FIRST_PASSED_DESCRIPTOR = 3, PASSED_DESCRIPTORS_MAX = 64 };

/* A number in the environment; 0 where there is none or it is not one. */
static uint64_t environment_number(const char *name, uint64_t maximum)
{
    const char *text = getenv(name);
    uint64_t value = 0;
    return text && text_parse_u64(text, 1, maximum, &value, NULL) == 0 ? value : 0;
}

static int option_of(int descriptor, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(descriptor, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

static int check_listener(int descriptor, const char *name, struct error *err)
{
    if (option_of(descriptor, SO_DOMAIN) != AF_UNIX ||
        option_of(descriptor, SO_TYPE) != SOCK_STREAM ||
        option_of(descriptor, SO_ACCEPTCONN) != 1) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "taking the socket \"%s\" from the service manager: it is not a listening "
                         "unix stream socket; see ListenStream= of its unit",
                         name);
    }
    return 0;
}

static int assign(int descriptor, const char *name, int *ret_api, int *ret_admin, struct error *err)
{
    int *place = NULL;
    if (strcmp(name, "api") == 0) {
        place = ret_api;
    } else if (strcmp(name, "admin") == 0) {
        place = ret_admin;
    }
    if (!place || *place >= 0) {
        log_warning("a socket of the service manager is not used name=%s (FileDescriptorName= must "
                    "be api or admin, each once)",
                    name);
        (void)close(descriptor);
        return 0;
    }
    *place = descriptor;
    (void)fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    return check_listener(descriptor, name, err);
}

int service_manager_listeners(int *ret_api, int *ret_admin, struct error *err)
{
    int result = 0;
    *ret_api = -1;
    *ret_admin = -1;
    bool is_for_us = environment_number("LISTEN_PID", INT32_MAX) == (uint64_t)getpid();
    int count = is_for_us ? (int)environment_number("LISTEN_FDS", PASSED_DESCRIPTORS_MAX) : 0;
    _cleanup_(free_cleanup) char *names =
        memory_copy_text(getenv("LISTEN_FDNAMES") ? getenv("LISTEN_FDNAMES") : "");
    struct reader reader = reader_of(bytes_of_text(names));
    for (int i = 0; i < count && result == 0; i++) {
        struct bytes field = reader_until(&reader, ':');
        _cleanup_(free_cleanup) char *name =
            text_format("%.*s", (int)field.size, field.size > 0 ? (const char *)field.data : "");
        result = assign(FIRST_PASSED_DESCRIPTOR + i, name, ret_api, ret_admin, err);
    }
    /* A process that this one starts must not take them for its own. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return result;
}

void service_manager_notify(const char *format, ...)
{
    char state[512];
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract address */
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(state, sizeof(state), format, arguments);
    va_end(arguments);
    _cleanup_(file_close_cleanup) int descriptor =
        socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor >= 0) {
        (void)sendto(descriptor, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    }
}

static void feed(uv_timer_t *timer)
{
    (void)timer;
    service_manager_notify("WATCHDOG=1");
}

void service_manager_watchdog(uv_loop_t *loop, uv_timer_t *timer, bool *ret_is_open)
{
    uint64_t limit_us = environment_number("WATCHDOG_USEC", UINT64_MAX - 1);
    uint64_t pid = environment_number("WATCHDOG_PID", INT32_MAX);
    if (limit_us == 0 || (pid != 0 && pid != (uint64_t)getpid())) {
        return;
    }
    uint64_t period_ms = MAX(limit_us / 1000 / 3, 1);
    (void)uv_timer_init(loop, timer);
    (void)uv_timer_start(timer, feed, period_ms, period_ms);
    *ret_is_open = true;
}
