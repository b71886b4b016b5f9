/* Whether a file still has the contents that it had. Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

/* All zero where unused bytes would be, so that it can be hashed as it lies in memory. */
struct file_identity {
    uint64_t device, inode, size_bytes;
    int64_t changed_s;
    uint64_t changed_ns;
};

/* Of the file that name leads to, below folder; of folder itself where name is "". Asks no file
 * server that has told the attributes before, so it does not wait for one. links is the number of
 * its names. Returns 0, or a negative errno. */
int file_identity_read(int folder, const char *name, struct file_identity *ret_identity,
                       uint32_t *ret_links);
bool file_identity_is_equal(const struct file_identity *a, const struct file_identity *b);
