/* Whether a file still has the contents that it had. Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

/* All zero where unused bytes would be, so that it can be hashed as it lies in memory. */
struct file_identity {
    uint64_t device, inode, size_bytes;
    int64_t changed_s;
    uint64_t changed_ns;
    /* 1: fs-verity lets nobody change the contents any more; else 0. It may be turned on without
     * any other change, and leaves the contents as they are. */
    uint64_t is_verity;
};

/* Of the file that name leads to, below folder; of folder itself where name is "". Asks no file
 * server that has told the attributes before, so it does not wait for one. links is the number of
 * its names. Returns 0, or a negative errno. */
int file_identity_read(int folder, const char *name, struct file_identity *ret_identity,
                       uint32_t *ret_links);
/* Whether name leads to the file of that device and inode, whatever has become of its contents.
 * Asks no file server; false where it cannot be told. */
bool file_identity_is_at(int folder, const char *name, const struct file_identity *identity);
/* Whether it is the same file with the same contents. */
bool file_identity_is_equal(const struct file_identity *a, const struct file_identity *b);
