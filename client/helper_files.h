/* Puts files in place for other software: all of an update or none, as near as rename allows. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/bytes.h"

struct helper_folder {
    int descriptor;   /* -1: closed */
    const char *path; /* borrowed, for error texts */
};

/* Opens the folder, whose last name is no symbolic link. FailedPrecondition where others could
 * replace files in it: it belongs to somebody who is neither root, nor this user, nor owner (-1:
 * nobody), or others can write and it is not sticky. For secrets neither may the group write, and
 * it must lie in memory (tmpfs or ramfs) where needs_memory. */
int helper_folder_open(const char *path, uid_t owner, bool is_for_secret, bool needs_memory,
                       struct helper_folder *ret_folder, struct error *err);
/* For _cleanup_. */
void helper_folder_close(struct helper_folder *folder);

struct helper_write {
    const char *name;
    struct bytes contents;
    mode_t mode;
    uid_t owner;     /* -1: as it comes */
    gid_t group;     /* -1: as it comes */
    bool is_removal; /* of the file; contents do not count */
};

/* A mark: an empty file beside those that are written, there from before the first of them changes
 * until their software was told. It outlives this process. One of another user counts for nothing.
 */
bool helper_folder_has_mark(const struct helper_folder *folder, const char *mark);
void helper_folder_remove_mark(const struct helper_folder *folder, const char *mark);

/* Makes the files what writes say, in their order: those that differ are written beside their
 * places, synced, given owner and mode, and only then renamed one after the other; removals come
 * last. A place that is taken by anything but a regular file is refused. What an earlier process
 * left beside the places is removed. mark (NULL: none) is set before the first change.
 * *ret_has_changed: something has, also where the call then fails. */
int helper_files_update(const struct helper_folder *folder, const struct helper_write *writes,
                        size_t count, const char *mark, bool *ret_has_changed, struct error *err);
