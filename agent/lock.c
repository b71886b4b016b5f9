#include "agent/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static int refuse(int descriptor, const char *what, const char *key, struct error *err)
{
    char text[24] = {0};
    uint64_t pid = 0;
    _cleanup_(free_cleanup) char *who = NULL;
    if (pread(descriptor, text, sizeof(text) - 1, 0) > 0 &&
        text_parse_u64(text, 1, INT32_MAX, &pid, NULL) == 0) {
        who = text_format(", pid %llu", (unsigned long long)pid);
    }
    return error_set(err, ERROR_ALREADY_EXISTS,
                     "%s: already in use by another agent%s; stop that one or set another %s", what,
                     who ? who : "", key);
}

static int write_pid(int descriptor)
{
    _cleanup_(free_cleanup) char *pid = text_format("%d", getpid());
    struct bytes text = bytes_of_text(pid);
    if (ftruncate(descriptor, 0) < 0) {
        return -1;
    }
    return pwrite(descriptor, text.data, text.size, 0) == (ssize_t)text.size ? 0 : -1;
}

int lock_folder(const char *folder, const char *what, const char *key, int *ret_descriptor,
                struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(folder, "lock");
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "opening the lock file %s", path);
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? refuse(descriptor, what, key, err)
                                    : error_set_errno(err, errno, "locking %s", path);
    }
    if (write_pid(descriptor) < 0) {
        return error_set_errno(err, errno, "writing %s", path);
    }
    *ret_descriptor = file_take(&descriptor);
    return 0;
}
