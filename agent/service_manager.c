/* The protocols of sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), which systemd
 * promises to keep. They are small; libsystemd would bring compression libraries into a process
 * that holds keys. */
#include "agent/service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { FIRST_PASSED_DESCRIPTOR = 3, PASSED_DESCRIPTORS_MAX = 65536 };
/* How long a service manager that does not read holds the agent up. */
enum { SEND_SECONDS = 1 };

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

static int *place_of(struct passed_descriptors *passed, const char *name)
{
    const struct {
        const char *name;
        int *place;
    } places[] = {{"api", &passed->api}, {"admin", &passed->admin}, {"pkcs11", &passed->pkcs11}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (strcmp(name, places[i].name) == 0) {
            return *places[i].place < 0 ? places[i].place : NULL;
        }
    }
    return NULL;
}

static int assign(struct passed_descriptors *passed, int descriptor, const char *name,
                  struct error *err)
{
    (void)fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    if (strncmp(name, SERVICE_MANAGER_STORED, strlen(SERVICE_MANAGER_STORED)) == 0) {
        passed->stored[passed->stored_count++] =
            (struct stored_descriptor){memory_copy_text(name), descriptor};
        return 0;
    }
    int *place = place_of(passed, name);
    if (!place) {
        log_warning("a socket of the service manager is not used name=%s (FileDescriptorName= must "
                    "be api, admin or pkcs11, each once)",
                    name);
        (void)close(descriptor);
        return 0;
    }
    *place = descriptor;
    return check_listener(descriptor, name, err);
}

int service_manager_receive(struct passed_descriptors *ret_passed, struct error *err)
{
    int result = 0;
    struct passed_descriptors passed = {.api = -1, .admin = -1, .pkcs11 = -1};
    bool is_for_us = environment_number("LISTEN_PID", INT32_MAX) == (uint64_t)getpid();
    int count = is_for_us ? (int)environment_number("LISTEN_FDS", PASSED_DESCRIPTORS_MAX) : 0;
    _cleanup_(free_cleanup) char *names =
        memory_copy_text(getenv("LISTEN_FDNAMES") ? getenv("LISTEN_FDNAMES") : "");
    struct reader reader = reader_of(bytes_of_text(names));
    passed.stored = memory_new_array((size_t)count, sizeof(*passed.stored));
    for (int i = 0; i < count && result == 0; i++) {
        struct bytes field = reader_until(&reader, ':');
        _cleanup_(free_cleanup) char *name =
            text_format("%.*s", (int)field.size, field.size > 0 ? (const char *)field.data : "");
        result = assign(&passed, FIRST_PASSED_DESCRIPTOR + i, name, err);
    }
    /* A process that this one starts must not take them for its own. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (result < 0) {
        passed_descriptors_clear(&passed);
        return result;
    }
    *ret_passed = passed;
    return 0;
}

void passed_descriptors_clear(struct passed_descriptors *passed)
{
    file_close_cleanup(&passed->api);
    file_close_cleanup(&passed->admin);
    file_close_cleanup(&passed->pkcs11);
    for (size_t i = 0; i < passed->stored_count; i++) {
        file_close_cleanup(&passed->stored[i].descriptor);
        free(passed->stored[i].name);
    }
    free(passed->stored);
    *passed = (struct passed_descriptors){.api = -1, .admin = -1, .pkcs11 = -1};
}

bool service_manager_is_there(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    return path && *path;
}

/* Sends state, with a descriptor unless it is -1. Returns -1 with errno. */
static int send_state(const char *state, int descriptor)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        errno = ENOTCONN;
        return -1;
    }
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract address */
    }
    struct iovec text = {.iov_base = (void *)state, .iov_len = strlen(state)};
    struct msghdr message = {
        .msg_name = &address,
        .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size),
        .msg_iov = &text,
        .msg_iovlen = 1,
    };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(sizeof(int))}};
    if (descriptor >= 0) {
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(descriptor));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    _cleanup_(file_close_cleanup) int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = SEND_SECONDS};
    if (sender < 0 ||
        setsockopt(sender, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) {
        return -1;
    }
    return sendmsg(sender, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

void service_manager_notify(const char *format, ...)
{
    char state[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(state, sizeof(state), format, arguments);
    va_end(arguments);
    (void)send_state(state, -1);
}

int service_manager_store(const char *name, int descriptor, struct error *err)
{
    _cleanup_(free_cleanup) char *state = text_format("FDSTORE=1\nFDNAME=%s", name);
    if (send_state(state, descriptor) < 0) {
        return error_set(err, ERROR_UNAVAILABLE, "leaving %s with the service manager: %s", name,
                         errno == ENOTCONN ? "there is none" : strerrorname_np(errno));
    }
    return 0;
}

void service_manager_forget(const char *name)
{
    service_manager_notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
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
