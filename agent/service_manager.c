#include "agent/service_manager.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "lib/base/log.h"

static int check_listener(int descriptor, const char *name, struct error *err)
{
    if (sd_is_socket_unix(descriptor, SOCK_STREAM, 1, NULL, 0) <= 0) {
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
    return check_listener(descriptor, name, err);
}

int service_manager_listeners(int *ret_api, int *ret_admin, struct error *err)
{
    char **names = NULL;
    int result = 0;
    *ret_api = -1;
    *ret_admin = -1;
    int count = sd_listen_fds_with_names(1, &names);
    if (count < 0) {
        return error_set_errno(err, -count, "asking the service manager for sockets");
    }
    for (int i = 0; i < count && names; i++) {
        if (result == 0) {
            result = assign(SD_LISTEN_FDS_START + i, names[i], ret_api, ret_admin, err);
        }
        free(names[i]);
    }
    free((void *)names);
    return result;
}

void service_manager_notify(const char *format, ...)
{
    char state[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(state, sizeof(state), format, arguments);
    va_end(arguments);
    (void)sd_notify(0, state);
}

static void feed(uv_timer_t *timer)
{
    (void)timer;
    (void)sd_notify(0, "WATCHDOG=1");
}

void service_manager_watchdog(uv_loop_t *loop, uv_timer_t *timer, bool *ret_is_open)
{
    uint64_t limit_us = 0;
    if (sd_watchdog_enabled(0, &limit_us) <= 0) {
        return;
    }
    uint64_t period_ms = MAX(limit_us / 1000 / 3, 1);
    (void)uv_timer_init(loop, timer);
    (void)uv_timer_start(timer, feed, period_ms, period_ms);
    *ret_is_open = true;
}
