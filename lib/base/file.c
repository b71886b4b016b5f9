#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

void file_close_cleanup(int *descriptor)
{
    if (*descriptor >= 0) {
        int saved = errno;
        (void)close(*descriptor);
        errno = saved;
    }
}

char *file_join(const char *parent, const char *name)
{
    return text_format("%s/%s", parent, name);
}

static int write_all(int descriptor, struct bytes contents)
{
    size_t done = 0;
    while (done < contents.size) {
        ssize_t count = write(descriptor, contents.data + done, contents.size - done);
        if (count < 0 && errno != EINTR) {
            return -1;
        }
        done += (size_t)MAX(count, 0);
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    _cleanup_(free_cleanup) char *copy = memory_copy_text(path);
    _cleanup_(file_close_cleanup) int folder =
        open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder < 0 ? -1 : fsync(folder);
}

/* A rename would put a plain file where everybody expects /dev/null. */
static int refuse_other_than_file(const char *path, struct error *err)
{
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "writing %s: it is there and is no regular file; name a file", path);
    }
    return 0;
}

int file_write_atomic(const char *path, struct bytes contents, mode_t mode, struct error *err)
{
    TRY(refuse_other_than_file(path, err));
    _cleanup_(free_cleanup) char *temporary = text_format("%s.XXXXXX", path);
    _cleanup_(file_close_cleanup) int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "creating a temporary file beside %s", path);
    }
    if (fchmod(descriptor, mode) < 0 || write_all(descriptor, contents) < 0 ||
        fsync(descriptor) < 0 || rename(temporary, path) < 0) {
        int reason = errno;
        (void)unlink(temporary);
        return error_set_errno(err, reason, "writing %s", path);
    }
    if (sync_folder_of(path) < 0) {
        return error_set_errno(err, errno, "syncing the folder of %s", path);
    }
    return 0;
}

int file_make_folder(const char *path, mode_t mode, struct error *err)
{
    struct stat status;
    if (mkdir(path, mode) == 0) {
        /* The umask may have taken bits away. */
        return chmod(path, mode) < 0 ? error_set_errno(err, errno, "setting the mode of %s", path)
                                     : 0;
    }
    if (errno != EEXIST) {
        return error_set_errno(err, errno, "creating the folder %s", path);
    }
    if (stat(path, &status) < 0) {
        return error_set_errno(err, errno, "looking at the folder %s", path);
    }
    if (!S_ISDIR(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "using the folder %s: it is not a folder; move it away", path);
    }
    if (status.st_uid != geteuid() && status.st_uid != 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "using the folder %s: it belongs to uid %u, not to this agent's uid %u; "
                         "chown it or name another folder",
                         path, status.st_uid, geteuid());
    }
    if (status.st_mode & 0777 & ~mode) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "using the folder %s: its mode %04o lets others in; run chmod %04o %s",
                         path, status.st_mode & 07777, mode, path);
    }
    return 0;
}
