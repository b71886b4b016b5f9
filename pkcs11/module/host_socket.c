#include "pkcs11/module/host_socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

int host_socket_init(struct host_socket *socket, struct error *err)
{
    socket->folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (socket->folder < 0) {
        return error_set_errno(err, errno, "preparing the address of an isolated module");
    }
    (void)snprintf(socket->path, sizeof(socket->path), "/proc/self/fd/%d/s", socket->folder);
    (void)snprintf(socket->address, sizeof(socket->address), "unix:path=%s", socket->path);
    return 0;
}

void host_socket_clear(struct host_socket *socket)
{
    host_socket_hide(socket);
    file_close_cleanup(&socket->folder);
    socket->folder = -1;
}

static int make_folder(struct host_socket *socket, struct error *err)
{
    const char *const parents[] = {getenv("RUNTIME_DIRECTORY"), getenv("XDG_RUNTIME_DIR"), "/tmp"};
    for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
        _cleanup_(free_cleanup) char *path =
            parents[i] ? text_format("%s/signet-module-XXXXXX", parents[i]) : NULL;
        if (path && mkdtemp(path)) {
            socket->parent = take_ptr(path);
            return 0;
        }
    }
    return error_set_errno(err, errno,
                           "making a private folder for the socket of an isolated "
                           "module (in RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, /tmp)");
}

/* Puts the folder behind the number that is in the address. */
static int show(const struct host_socket *socket)
{
    _cleanup_(file_close_cleanup) int folder =
        open(socket->parent, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return folder < 0 ? -1 : dup3(folder, socket->folder, O_CLOEXEC);
}

int host_socket_listen(struct host_socket *host_socket, int backlog, int *ret_listener,
                       struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", host_socket->path);
    host_socket_hide(host_socket);
    TRY(make_folder(host_socket, err));
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || show(host_socket) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, backlog) < 0) {
        int failure = errno;
        file_close_cleanup(&listener);
        return error_set_errno(err, failure, "listening in %s for an isolated module",
                               host_socket->parent);
    }
    *ret_listener = listener;
    return 0;
}

void host_socket_hide(struct host_socket *socket)
{
    if (socket->parent) {
        (void)unlinkat(socket->folder, "s", 0);
        (void)rmdir(socket->parent);
        free(take_ptr(socket->parent));
    }
}

static bool is_ours(int descriptor, const char *path)
{
    struct sockaddr_un address = {0};
    struct ucred peer = {0};
    socklen_t address_size = sizeof(address);
    socklen_t peer_size = sizeof(peer);
    return getpeername(descriptor, (struct sockaddr *)&address, &address_size) == 0 &&
           address.sun_family == AF_UNIX && strcmp(address.sun_path, path) == 0 &&
           getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == 0 &&
           peer.pid == getpid();
}

unsigned host_socket_protect(const struct host_socket *socket)
{
    unsigned count = 0;
    DIR *descriptors = opendir("/proc/self/fd");
    if (!descriptors) {
        return 0;
    }
    const struct dirent *entry;
    while ((entry = readdir(descriptors))) {
        int descriptor = (int)strtol(entry->d_name, NULL, 10);
        if (is_ours(descriptor, socket->path) && fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0) {
            count++;
        }
    }
    (void)closedir(descriptors);
    return count;
}
