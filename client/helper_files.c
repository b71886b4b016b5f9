#include "client/helper_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { WRITES_MAX = 8, COMPARE_STEP_BYTES = 4096, RANDOM_BYTES = 8, LEFTOVER_AGE_S = 10 };

/* A file that waits beside its place; all zero: nothing does. */
struct staged {
    char *temporary;
};

void helper_folder_close(struct helper_folder *folder)
{
    if (folder->path) {
        file_close_cleanup(&folder->descriptor);
    }
    *folder = (struct helper_folder){.descriptor = -1};
}

static int check_memory(const struct helper_folder *folder, struct error *err)
{
    struct statfs system;
    if (fstatfs(folder->descriptor, &system) < 0) {
        return error_set_errno(err, errno, "looking at the file system of %s", folder->path);
    }
    if (system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "putting a private key into %s: it is not on tmpfs or ramfs, and a key "
                         "goes to no disk; name a folder in /run",
                         folder->path);
    }
    return 0;
}

static int check_folder(const struct helper_folder *folder, uid_t owner, bool is_for_secret,
                        struct error *err)
{
    struct stat status;
    if (fstat(folder->descriptor, &status) < 0) {
        return error_set_errno(err, errno, "looking at the folder %s", folder->path);
    }
    if (status.st_uid != 0 && status.st_uid != geteuid() && status.st_uid != owner) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing into %s: it belongs to uid %u, who could replace what is put "
                         "there; chown it to uid %u, or say owner",
                         folder->path, status.st_uid, geteuid());
    }
    mode_t others = is_for_secret ? S_IWGRP | S_IWOTH : S_IWOTH;
    if ((status.st_mode & others) && !(status.st_mode & S_ISVTX)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing into %s: others can write there (mode %04o) and replace files; "
                         "run chmod go-w %s",
                         folder->path, status.st_mode & 07777, folder->path);
    }
    return 0;
}

int helper_folder_open(const char *path, uid_t owner, bool is_for_secret, bool needs_memory,
                       struct helper_folder *ret_folder, struct error *err)
{
    _cleanup_(helper_folder_close) struct helper_folder folder = {
        .descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), .path = path};
    if (folder.descriptor < 0 && (errno == ELOOP || errno == ENOTDIR)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing into %s: it is a symbolic link or no folder; name the folder "
                         "itself",
                         path);
    }
    if (folder.descriptor < 0) {
        return error_set_errno(err, errno, "opening the folder %s, which must be there", path);
    }
    TRY(check_folder(&folder, owner, is_for_secret, err));
    if (needs_memory) {
        TRY(check_memory(&folder, err));
    }
    *ret_folder = folder;
    folder.path = NULL;
    return 0;
}

/* What is at the place: 1 with *ret_status, 0 for nothing. */
static int look(const struct helper_folder *folder, const char *name, struct stat *ret_status,
                struct error *err)
{
    if (fstatat(folder->descriptor, name, ret_status, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT
                   ? 0
                   : error_set_errno(err, errno, "looking at %s/%s", folder->path, name);
    }
    if (!S_ISREG(ret_status->st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing %s/%s: there is %s in its place; move it away", folder->path,
                         name,
                         S_ISLNK(ret_status->st_mode) ? "a symbolic link" : "no regular file");
    }
    return 1;
}

static bool has_contents(int descriptor, struct bytes contents)
{
    uint8_t step[COMPARE_STEP_BYTES];
    struct reader rest = reader_of(contents);
    ssize_t count = 0;
    do {
        count = read(descriptor, step, sizeof(step));
        struct bytes wanted = reader_bytes(&rest, (size_t)MAX(count, 0));
        if (count < 0 || rest.is_bad ||
            !bytes_is_equal_secret((struct bytes){step, (size_t)count}, wanted)) {
            count = -1;
        }
    } while (count > 0);
    OPENSSL_cleanse(step, sizeof(step));
    return count == 0 && reader_is_done(&rest);
}

/* Whether the file at the place is what is wanted, in every respect: one that somebody else put
 * there with the right contents could be changed later. */
static bool is_current(const struct helper_folder *folder, const struct helper_write *write,
                       const struct stat *status)
{
    uid_t owner = write->owner != (uid_t)-1 ? write->owner : geteuid();
    if ((status->st_mode & 07777) != write->mode ||
        status->st_size != (off_t)write->contents.size || status->st_uid != owner ||
        (write->group != (gid_t)-1 && status->st_gid != write->group)) {
        return false;
    }
    _cleanup_(file_close_cleanup) int descriptor =
        openat(folder->descriptor, write->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return descriptor >= 0 && has_contents(descriptor, write->contents);
}

static int write_all(int descriptor, struct bytes contents)
{
    struct reader rest = reader_of(contents);
    while (!reader_is_done(&rest)) {
        ssize_t count = write(descriptor, rest.rest.data, rest.rest.size);
        if (count < 0 && errno != EINTR) {
            return -1;
        }
        (void)reader_bytes(&rest, (size_t)MAX(count, 0));
    }
    return 0;
}

/* The owner first: a change of it may take bits of the mode away. */
static int finish(int descriptor, const struct helper_write *write)
{
    if ((write->owner != (uid_t)-1 || write->group != (gid_t)-1) &&
        fchown(descriptor, write->owner, write->group) < 0) {
        return -1;
    }
    return fchmod(descriptor, write->mode) < 0 ? -1 : fsync(descriptor);
}

static char *temporary_name(const char *name)
{
    uint8_t random[RANDOM_BYTES];
    (void)RAND_bytes(random, sizeof(random));
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){random, sizeof(random)});
    return text_format(".%s.%s", name, hex);
}

/* Whether entry is what temporary_name makes of name. */
static bool is_temporary_of(const char *entry, const char *name)
{
    size_t size = strlen(name);
    if (entry[0] != '.' || strncmp(entry + 1, name, size) != 0 || entry[size + 1] != '.') {
        return false;
    }
    const char *hex = entry + size + 2;
    return strlen(hex) == 2 * (size_t)RANDOM_BYTES &&
           strspn(hex, "0123456789abcdef") == 2 * (size_t)RANDOM_BYTES;
}

static void remove_leftover(const struct helper_folder *folder, const char *entry)
{
    struct stat status;
    if (fstatat(folder->descriptor, entry, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode) && status.st_mtime + LEFTOVER_AGE_S < clock_now_s()) {
        (void)unlinkat(folder->descriptor, entry, 0);
    }
}

/* A process that was killed may have left a copy of a key. One that is young may be at work. */
static void remove_leftovers(const struct helper_folder *folder, const struct helper_write *writes,
                             size_t count)
{
    int descriptor = openat(folder->descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (!entries) {
        file_close_cleanup(&descriptor);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(entries));) {
        for (size_t i = 0; i < count; i++) {
            if (is_temporary_of(entry->d_name, writes[i].name)) {
                remove_leftover(folder, entry->d_name);
            }
        }
    }
    (void)closedir(entries);
}

static int stage(const struct helper_folder *folder, const struct helper_write *write,
                 struct staged *ret_staged, struct error *err)
{
    _cleanup_(free_cleanup) char *name = temporary_name(write->name);
    _cleanup_(file_close_cleanup) int descriptor = openat(
        folder->descriptor, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "creating a file in %s", folder->path);
    }
    if (write_all(descriptor, write->contents) < 0 || finish(descriptor, write) < 0) {
        int reason = errno;
        (void)unlinkat(folder->descriptor, name, 0);
        return error_set_errno(err, reason, "writing %s/%s with its owner and mode", folder->path,
                               write->name);
    }
    ret_staged->temporary = take_ptr(name);
    return 0;
}

/* 1: there is something to change, 0: there is nothing. */
static int stage_all(const struct helper_folder *folder, const struct helper_write *writes,
                     size_t count, struct staged *staged, struct error *err)
{
    int is_any = 0;
    for (size_t i = 0; i < count; i++) {
        struct stat status;
        int there = look(folder, writes[i].name, &status, err);
        TRY(there);
        if (!writes[i].is_removal && (there == 0 || !is_current(folder, &writes[i], &status))) {
            TRY(stage(folder, &writes[i], &staged[i], err));
            is_any = 1;
        } else if (writes[i].is_removal && there) {
            is_any = 1;
        }
    }
    return is_any;
}

bool helper_folder_has_mark(const struct helper_folder *folder, const char *mark)
{
    struct stat status;
    return fstatat(folder->descriptor, mark, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(status.st_mode) && status.st_uid == geteuid();
}

void helper_folder_remove_mark(const struct helper_folder *folder, const char *mark)
{
    (void)unlinkat(folder->descriptor, mark, 0);
}

/* What is in its place instead does no harm: software is then told as if there were no marks. */
static int set_mark(const struct helper_folder *folder, const char *mark, struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor = openat(
        folder->descriptor, mark, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return descriptor < 0 && errno != EEXIST
               ? error_set_errno(err, errno, "creating a file in %s", folder->path)
               : 0;
}

static int place_all(const struct helper_folder *folder, const struct helper_write *writes,
                     size_t count, struct staged *staged, bool *ret_has_changed, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!staged[i].temporary) {
            continue;
        }
        if (renameat(folder->descriptor, staged[i].temporary, folder->descriptor, writes[i].name) <
            0) {
            return error_set_errno(err, errno, "putting %s/%s in place", folder->path,
                                   writes[i].name);
        }
        free(take_ptr(staged[i].temporary));
        *ret_has_changed = true;
    }
    for (size_t i = 0; i < count; i++) {
        if (writes[i].is_removal && unlinkat(folder->descriptor, writes[i].name, 0) == 0) {
            *ret_has_changed = true;
        } else if (writes[i].is_removal && errno != ENOENT) {
            return error_set_errno(err, errno, "removing %s/%s", folder->path, writes[i].name);
        }
    }
    return 0;
}

int helper_files_update(const struct helper_folder *folder, const struct helper_write *writes,
                        size_t count, const char *mark, bool *ret_has_changed, struct error *err)
{
    struct staged staged[WRITES_MAX] = {{NULL}};
    bool has_changed = false;
    if (count > WRITES_MAX) {
        return error_set(err, ERROR_INTERNAL, "writing into %s: %zu files at once", folder->path,
                         count);
    }
    remove_leftovers(folder, writes, count);
    int result = stage_all(folder, writes, count, staged, err);
    if (result > 0 && mark) {
        result = set_mark(folder, mark, err);
    }
    if (result >= 0) {
        result = place_all(folder, writes, count, staged, &has_changed, err);
    }
    for (size_t i = 0; i < count; i++) {
        if (staged[i].temporary) {
            (void)unlinkat(folder->descriptor, staged[i].temporary, 0);
            free(staged[i].temporary);
        }
    }
    *ret_has_changed = has_changed;
    if (has_changed && fsync(folder->descriptor) < 0 && result == 0) {
        return error_set_errno(err, errno, "syncing the folder %s", folder->path);
    }
    return result;
}
