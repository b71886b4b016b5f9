/* Where a log lies: its folder, its files, and whether somebody has taken them away. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log_state.h"
#include "lib/base/file.h"
#include "lib/base/log.h"

enum { NUMBERS_TRIED = 1000 };

void log_close_file(struct audit_log *log)
{
    file_close_cleanup(&log->file);
    log->file = -1;
    log->size = 0;
}

void log_close_folder(struct audit_log *log)
{
    log_close_file(log);
    file_close_cleanup(&log->folder);
    log->folder = -1;
}

/* So that a folder just made is still there after a power cut. A parent that may not be read cannot
 * be synced. */
static int sync_parent(const struct audit_log *log, int folder, struct error *err)
{
    _cleanup_(file_close_cleanup) int parent =
        openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent >= 0 && fsync(parent) < 0) {
        return error_set_errno(err, errno, "syncing the folder above %s", log->folder_name);
    }
    return 0;
}

int log_open_folder(struct audit_log *log, struct error *err)
{
    TRY(file_make_folder(log->folder_name, 0700, err));
    _cleanup_(file_close_cleanup) int folder =
        open(log->folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return error_set_errno(err, errno, "opening the audit log %s", log->folder_name);
    }
    /* Two writers would each break the other's chain. */
    if (flock(folder, LOCK_EX | LOCK_NB) < 0) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening the audit log %s: another process writes to it",
                         log->folder_name);
    }
    TRY(sync_parent(log, folder, err));
    log->folder = file_take(&folder);
    return 0;
}

/* Retention */

static void remove_oldest(struct audit_log *log)
{
    _cleanup_(audit_files_clear) struct audit_files files = {0};
    char name[AUDIT_FILE_NAME_BYTES];
    struct error reason;
    if (log->files_kept == 0) {
        return;
    }
    if (audit_files_list(log->folder, log->folder_name, &files, &reason) < 0) {
        log_warning("the oldest files of the audit log are not removed: %s", reason.text);
        return;
    }
    for (size_t i = 0; i + log->files_kept < files.count; i++) {
        audit_file_name(files.numbers[i], name);
        if (unlinkat(log->folder, name, 0) < 0) {
            (void)error_set_errno(&reason, errno, "removing %s/%s", log->folder_name, name);
            log_warning("the oldest files of the audit log are not removed: %s", reason.text);
            return;
        }
    }
}

/* A new file under the first number that is free. */
static int create_file(struct audit_log *log, int *ret_file, struct error *err)
{
    char name[AUDIT_FILE_NAME_BYTES];
    for (int i = 0; i < NUMBERS_TRIED && log->number < UINT32_MAX; i++) {
        audit_file_name(++log->number, name);
        int file = openat(log->folder, name,
                          O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file >= 0) {
            *ret_file = file;
            return 0;
        }
        if (errno != EEXIST) {
            int reason = errno;
            log->number--;
            return error_set_errno(err, reason, "beginning %s/%s", log->folder_name, name);
        }
    }
    return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                     "beginning another file in %s: no number is free", log->folder_name);
}

int log_begin_file(struct audit_log *log, struct error *err)
{
    char name[AUDIT_FILE_NAME_BYTES];
    _cleanup_(file_close_cleanup) int file = -1;
    TRY(create_file(log, &file, err));
    if (fsync(log->folder) < 0) {
        (void)error_set_errno(err, errno, "syncing the folder %s", log->folder_name);
        audit_file_name(log->number, name);
        (void)unlinkat(log->folder, name, 0);
        return -1;
    }
    log->file = file_take(&file);
    log->size = 0;
    remove_oldest(log);
    return 0;
}

/* Watching */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* What has happened to the folder; NULL: nothing. */
static const char *folder_trouble(const struct audit_log *log)
{
    struct stat own;
    struct stat there;
    if (fstat(log->folder, &own) < 0 || stat(log->folder_name, &there) < 0 || own.st_nlink == 0) {
        return "the folder was removed";
    }
    return is_same(&own, &there) ? NULL : "the folder was replaced by something else";
}

static const char *file_trouble(const struct audit_log *log, uint64_t size)
{
    char name[AUDIT_FILE_NAME_BYTES];
    struct stat own;
    struct stat there;
    audit_file_name(log->number, name);
    if (fstat(log->file, &own) < 0 || own.st_nlink == 0 ||
        fstatat(log->folder, name, &there, AT_SYMLINK_NOFOLLOW) < 0) {
        return "was removed";
    }
    if (!is_same(&own, &there)) {
        return "was replaced by something else";
    }
    if ((uint64_t)own.st_size < size) {
        return "was cut";
    }
    return (uint64_t)own.st_size > size ? "was written to by somebody else" : NULL;
}

int log_check_place(struct audit_log *log, uint64_t size, struct error *err)
{
    const char *trouble = folder_trouble(log);
    if (trouble) {
        log_close_folder(log);
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing the audit log %s: %s while the agent runs; it goes on in a new "
                         "file",
                         log->folder_name, trouble);
    }
    trouble = file_trouble(log, size);
    if (trouble) {
        log_close_file(log);
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "writing the audit log %s: its file %" PRIu32
                         " %s while the agent runs; it goes on in a new file",
                         log->folder_name, log->number, trouble);
    }
    return 0;
}
