#include "agent/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

static int address_of(const char *path, struct sockaddr_un *ret_address, struct error *err)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path)) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "creating the socket %s: the path has %zu bytes, at most %zu are possible; "
            "set a shorter run_dir",
            path, strlen(path), sizeof(ret_address->sun_path) - 1);
    }
    memcpy(ret_address->sun_path, path, strlen(path));
    return 0;
}

static int new_socket(const char *path, struct error *err)
{
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return descriptor < 0 ? error_set_errno(err, errno, "creating the socket %s", path)
                          : descriptor;
}

/* Makes room at the path, unless somebody lives there. */
static int clear_path(const char *path, const struct sockaddr_un *address, struct error *err)
{
    struct stat status;
    if (lstat(path, &status) < 0) {
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "looking at %s", path);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return error_set(err, ERROR_ALREADY_EXISTS,
                         "creating the socket %s: something that is not a socket is there; move it "
                         "away or set another run_dir",
                         path);
    }
    _cleanup_(file_close_cleanup) int probe = new_socket(path, err);
    if (probe < 0) {
        return -1;
    }
    /* Only a refused connection shows that nobody listens; EAGAIN is a full queue of one who does.
     */
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno != ECONNREFUSED) {
        return error_set(
            err, ERROR_ALREADY_EXISTS,
            "creating the socket %s: already in use by another process; stop that one or "
            "set another run_dir",
            path);
    }
    return unlink(path) < 0 && errno != ENOENT
               ? error_set_errno(err, errno, "removing the socket %s of an ended agent", path)
               : 0;
}

/* fchmod before bind limits the mode that bind gives the new file, so nobody whom the mode keeps
 * out can slip in between; chmod then undoes what the umask took away. */
static int bind_with_mode(int descriptor, const struct sockaddr_un *address, mode_t mode)
{
    if (fchmod(descriptor, mode) < 0 ||
        bind(descriptor, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        return -1;
    }
    if (chmod(address->sun_path, mode) < 0 || listen(descriptor, SOMAXCONN) < 0) {
        int reason = errno;
        (void)unlink(address->sun_path);
        errno = reason;
        return -1;
    }
    return 0;
}

int listener_open(const char *path, mode_t mode, struct listener *ret_listener, struct error *err)
{
    struct sockaddr_un address;
    TRY(address_of(path, &address, err));
    TRY(clear_path(path, &address, err));
    _cleanup_(file_close_cleanup) int descriptor = new_socket(path, err);
    struct stat status;
    if (descriptor < 0) {
        return -1;
    }
    if (bind_with_mode(descriptor, &address, mode) < 0 || lstat(path, &status) < 0) {
        return error_set_errno(err, errno, "creating the socket %s", path);
    }
    *ret_listener = (struct listener){.descriptor = file_take(&descriptor),
                                      .path = memory_copy_text(path),
                                      .device = status.st_dev,
                                      .inode = status.st_ino};
    return 0;
}

void listener_close(struct listener *listener)
{
    struct stat status;
    file_close_cleanup(&listener->descriptor);
    if (listener->path && lstat(listener->path, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode) {
        (void)unlink(listener->path);
    }
    free(listener->path);
    *listener = (struct listener){.descriptor = -1};
}
