/* Descriptors and files on disk. Every thread. */
#pragma once

#include <sys/types.h>

#include "lib/base/bytes.h"

/* Closes unless negative; for _cleanup_ on an int. */
void file_close_cleanup(int *descriptor);

/* Hands ownership on: the descriptor, which is -1 afterwards. */
static inline int file_take(int *descriptor)
{
    int taken = *descriptor;
    *descriptor = -1;
    return taken;
}

/* Replaces path by the contents, whole or not at all: a temporary file beside it, fsync, rename,
 * fsync of the folder. InvalidArgument: something that is no regular file has that name. */
int file_write_atomic(const char *path, struct bytes contents, mode_t mode, struct error *err);

/* Creates the folder (its parents must exist) with the mode, or checks that an existing one is a
 * folder, belongs to this user or root, and grants nobody more than mode does. The error says which
 * of these failed and what to do. */
int file_make_folder(const char *path, mode_t mode, struct error *err);

/* "parent/name"; the caller frees it. */
char *file_join(const char *parent, const char *name);
