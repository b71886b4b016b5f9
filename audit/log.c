#include "audit/log.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audit/keys.h"
#include "audit/log_state.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

DEFINE_CLEANUP(struct audit_log, audit_log, audit_log_close);

void audit_log_close(struct audit_log *log)
{
    if (!log) {
        return;
    }
    log_close_folder(log);
    buffer_clear(&log->key);
    buffer_clear(&log->pending);
    free(log->cuts);
    free(log->folder_name);
    free(log);
}

int audit_log_open(const struct audit_log_config *config, struct audit_log **ret_log,
                   struct audit_found *ret_found, struct error *err)
{
    _cleanup_(audit_log_cleanup) struct audit_log *log = NEW(struct audit_log);
    struct audit_found found = {0};
    log->folder_name = memory_copy_text(config->folder);
    log->file_max_bytes = config->file_max_bytes;
    log->file_max_age_s = config->file_max_age_s;
    log->files_kept = config->files_kept;
    log->folder = log->file = -1;
    if (sodium_init() < 0) {
        return error_set(err, ERROR_INTERNAL, "opening the audit log: libsodium does not start");
    }
    TRY(log_open_folder(log, err));
    TRY(log_find_end(log, &found, err));
    if (log->file < 0) {
        TRY(log_begin_file(log, err));
    }
    *ret_found = found;
    *ret_log = take_ptr(log);
    return 0;
}

const struct audit_link *audit_log_link(const struct audit_log *log)
{
    return &log->link;
}

size_t audit_log_pending_bytes(const struct audit_log *log)
{
    return log->pending.size;
}

/* Appending */

/* Bytes of the newest file, with those that are not in it yet. */
static uint64_t newest_size(const struct audit_log *log)
{
    return log->cut_count > 0 ? log->pending.size - log->cuts[log->cut_count - 1]
                              : log->size + log->pending.size;
}

static bool is_time_for_new_file(const struct audit_log *log, int64_t now_s)
{
    return (log->file_max_bytes > 0 && newest_size(log) >= log->file_max_bytes) ||
           (log->file_max_age_s > 0 && now_s - log->began_at_s >= (int64_t)log->file_max_age_s);
}

static void add_cut(struct audit_log *log)
{
    log->cuts = memory_resize_array(log->cuts, log->cut_count + 1, sizeof(*log->cuts));
    log->cuts[log->cut_count++] = log->pending.size;
    log->began_at_s = 0;
}

int audit_log_append(struct audit_log *log, struct bytes body, bool *ret_is_new_file,
                     struct error *err)
{
    int64_t now_s = clock_now_s();
    if (log->pending.size + body.size > LOG_PENDING_MAX_BYTES) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "adding an audit record: %zu bytes wait to be written already",
                         log->pending.size);
    }
    TRY(audit_record_append(&log->link, body, &log->pending, err));
    if (log->began_at_s == 0) {
        log->began_at_s = now_s;
    }
    *ret_is_new_file = is_time_for_new_file(log, now_s);
    if (*ret_is_new_file) {
        add_cut(log);
    }
    return 0;
}

/* Writing */

static void forget_written(struct audit_log *log, size_t size)
{
    buffer_consume(&log->pending, size);
    for (size_t i = 0; i < log->cut_count; i++) {
        log->cuts[i] -= size;
    }
    log->size += size;
}

/* As much as the system takes; *ret_errno 0: all of it. */
static size_t write_some(int file, struct bytes bytes, int *ret_errno)
{
    size_t done = 0;
    *ret_errno = 0;
    while (done < bytes.size && *ret_errno == 0) {
        ssize_t count = write(file, bytes.data + done, bytes.size - done);
        if (count > 0) {
            done += (size_t)count;
        } else if (count == 0 || errno != EINTR) {
            *ret_errno = count == 0 ? ENOSPC : errno;
        }
    }
    return done;
}

static size_t whole_records(struct bytes bytes)
{
    const uint8_t *newline = bytes.size ? memrchr(bytes.data, '\n', bytes.size) : NULL;
    return newline ? (size_t)(newline - bytes.data) + 1 : 0;
}

/* Makes the file end where the last synced record does. Where even that fails, the file is left as
 * it is and another one begun. */
static void take_back(struct audit_log *log, uint64_t size)
{
    if (ftruncate(log->file, (off_t)size) < 0) {
        log_close_file(log);
    }
}

/* Writes bytes at the front of pending. What was not synced is taken back, so that no record is in
 * the log twice. */
static int write_front(struct audit_log *log, size_t size, struct error *err)
{
    int reason = 0;
    size_t done = write_some(log->file, (struct bytes){log->pending.data, size}, &reason);
    if (reason != 0) {
        done = whole_records((struct bytes){log->pending.data, done});
        take_back(log, log->size + done);
    }
    if (log->file >= 0 && fdatasync(log->file) < 0) {
        /* What the kernel held may be lost now and a second try would not say so. */
        reason = errno;
        done = 0;
        take_back(log, log->size);
    }
    if (log->file >= 0) {
        /* Only what lies where people look for it counts. */
        TRY(log_check_place(log, log->size + done, err));
        forget_written(log, done);
    }
    return reason ? error_set_errno(err, reason, "writing the audit log %s", log->folder_name) : 0;
}

static int ensure_file(struct audit_log *log, struct error *err)
{
    if (log->file >= 0) {
        return 0;
    }
    if (log->folder < 0) {
        TRY(log_open_folder(log, err));
        if (log->key.size > 0 && audit_log_add_key(log, buffer_bytes(&log->key), err) < 0) {
            log_close_folder(log);
            return -1;
        }
    }
    return log_begin_file(log, err);
}

static void drop_first_cut(struct audit_log *log)
{
    log_close_file(log);
    log->cut_count--;
    memmove(log->cuts, log->cuts + 1, log->cut_count * sizeof(*log->cuts));
}

int audit_log_sync(struct audit_log *log, struct error *err)
{
    TRY(log->file >= 0 ? log_check_place(log, log->size, err) : ensure_file(log, err));
    while (log->pending.size > 0) {
        if (log->cut_count > 0 && log->cuts[0] == 0) {
            drop_first_cut(log);
        }
        TRY(ensure_file(log, err));
        TRY(write_front(log, log->cut_count > 0 ? log->cuts[0] : log->pending.size, err));
    }
    return 0;
}

/* Beside the records */

int audit_log_set_head(struct audit_log *log, const struct audit_head *head, struct error *err)
{
    struct timespec now;
    _cleanup_(buffer_clear) struct buffer contents = {0};
    _cleanup_(free_cleanup) char *path = file_join(log->folder_name, "head.json");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    buffer_append_text(&contents, "{");
    audit_head_body(head, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, &contents);
    buffer_append_text(&contents, "}\n");
    return file_write_atomic(path, buffer_bytes(&contents), 0600, err);
}

int audit_log_add_key(struct audit_log *log, struct bytes public_key, struct error *err)
{
    _cleanup_(free_cleanup) char *folder = file_join(log->folder_name, "keys");
    if (public_key.data != log->key.data) {
        buffer_reset(&log->key);
        buffer_append(&log->key, public_key.data, public_key.size);
    }
    return audit_keys_write(folder, public_key, err);
}
