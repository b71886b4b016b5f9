#include "agent/workload/file_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static uint64_t device_of(const struct statx *status)
{
    return (uint64_t)status->stx_dev_major << 32 | status->stx_dev_minor;
}

int file_identity_read(int folder, const char *name, struct file_identity *ret_identity,
                       uint32_t *ret_links)
{
    enum { WANTED = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_CTIME | STATX_NLINK };
    struct statx status;
    if (statx(folder, name, AT_STATX_DONT_SYNC | AT_EMPTY_PATH | AT_NO_AUTOMOUNT, WANTED, &status) <
        0) {
        return -errno;
    }
    if ((status.stx_mask & WANTED) != WANTED || !S_ISREG(status.stx_mode)) {
        return -EINVAL;
    }
    *ret_identity = (struct file_identity){
        .device = device_of(&status),
        .inode = status.stx_ino,
        .size_bytes = status.stx_size,
        .changed_s = status.stx_ctime.tv_sec,
        .changed_ns = status.stx_ctime.tv_nsec,
        .is_verity = (status.stx_attributes & status.stx_attributes_mask & STATX_ATTR_VERITY) != 0,
    };
    *ret_links = status.stx_nlink;
    return 0;
}

bool file_identity_is_at(int folder, const char *name, const struct file_identity *identity)
{
    enum { WANTED = STATX_TYPE | STATX_INO };
    struct statx status;
    return statx(folder, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, WANTED, &status) == 0 &&
           (status.stx_mask & WANTED) == WANTED && S_ISREG(status.stx_mode) &&
           status.stx_ino == identity->inode && device_of(&status) == identity->device;
}

bool file_identity_is_equal(const struct file_identity *a, const struct file_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->changed_s == b->changed_s && a->changed_ns == b->changed_ns;
}
