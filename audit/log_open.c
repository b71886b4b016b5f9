/* The end of a log that an earlier process wrote: found by reading its newest file, and repaired
 * where that process died in the middle of a line. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/log_state.h"
#include "audit/reader_state.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum {
    TORN_KEPT_BYTES = 1 << 20,
    TAIL_BYTES = 4 * AUDIT_RECORD_MAX_BYTES, /* where the last record of a file is */
};

/* A number that no agent gets to: to go on from it would soon end. */
static const uint64_t SEQUENCE_MAX = UINT64_MAX / 2;

/* What reading found out. */
struct end {
    struct audit_found *found;
    struct audit_link first, last; /* of this file */
    bool has_record;
    bool is_head_seen, is_stop;
    uint64_t whole_bytes;     /* up to a torn line */
    struct audit_head newest; /* head.json */
    bool has_newest;
    char first_time[AUDIT_TIME_BYTES + 1];
};

static void note_damage(struct end *end, const char *format, ...) _printf_(2, 3);
/* The first is what counts. */
static void note_damage(struct end *end, const char *format, ...)
{
    va_list arguments;
    if (end->found->damage[0] != '\0') {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(end->found->damage, sizeof(end->found->damage), format, arguments);
    va_end(arguments);
}

static void meet_newest(struct end *end, const struct audit_link *link)
{
    if (end->has_newest && link->sequence == end->newest.link.sequence &&
        memcmp(link->hash, end->newest.link.hash, AUDIT_HASH_BYTES) != 0) {
        note_damage(end, "record %" PRIu64 " has another hash than in head.json", link->sequence);
    }
}

/* before: NULL where the record before is not known. */
static void take_record(struct end *end, const struct audit_line *line,
                        const struct audit_link *before)
{
    struct audit_link claimed;
    struct bytes body;
    struct audit_head head;
    struct error reason;
    uint8_t hash[AUDIT_HASH_BYTES];
    bool is_head = false;
    if (line->is_too_long || audit_record_parse(line->text, &claimed, &body, &reason) < 0 ||
        claimed.sequence > SEQUENCE_MAX) {
        note_damage(end, "line %" PRIu64 " of %s is no record", line->line, line->file);
        return;
    }
    if (before) {
        audit_record_hash(line->text, before->hash, hash);
        if (claimed.sequence != before->sequence + 1 ||
            memcmp(hash, claimed.hash, sizeof(hash)) != 0) {
            note_damage(end,
                        "record %" PRIu64 " (line %" PRIu64
                        " of %s) does not follow from the one before it, %" PRIu64,
                        claimed.sequence, line->line, line->file, before->sequence);
        }
    }
    if (!end->has_record) {
        end->first = claimed;
        (void)audit_record_time(body, end->first_time);
    }
    end->has_record = true;
    end->last = claimed;
    (void)audit_head_parse(body, &is_head, &head, NULL);
    end->is_head_seen = end->is_head_seen || is_head;
    end->is_stop = is_head && head.reason == AUDIT_HEAD_STOP;
    meet_newest(end, &claimed);
}

/* Of a large file only the end, from the next whole line on. */
static int skip_to_tail(struct audit_reader *reader, struct error *err)
{
    struct audit_line line;
    struct stat status;
    bool has_line = false;
    if (fstat(reader->descriptor, &status) < 0 || status.st_size <= TAIL_BYTES) {
        return 0;
    }
    if (lseek(reader->descriptor, status.st_size - TAIL_BYTES, SEEK_SET) < 0) {
        return error_set_errno(err, errno, "reading the end of %s", reader->name);
    }
    return audit_reader_next(reader, &has_line, &line, err);
}

/* Reads one file; before: the record that its first one follows, NULL: not known. */
static int read_file(const struct audit_log *log, uint32_t number, const struct audit_link *before,
                     bool is_tail_enough, struct end *end, struct error *err)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    _cleanup_(file_close_cleanup) int file = -1;
    char name[AUDIT_FILE_NAME_BYTES];
    struct audit_line line;
    bool has_line = true;
    audit_file_name(number, name);
    _cleanup_(free_cleanup) char *path = file_join(log->folder_name, name);
    end->has_record = false;
    end->is_stop = false;
    end->whole_bytes = 0;
    /* A reader would take a folder of that name for another log. */
    TRY(audit_file_open(log->folder, log->folder_name, name, O_RDONLY, &file, err));
    TRY(audit_reader_open(path, &reader, err));
    if (is_tail_enough) {
        TRY(skip_to_tail(reader, err));
    }
    for (;;) {
        TRY(audit_reader_next(reader, &has_line, &line, err));
        if (!has_line || line.is_torn) {
            break;
        }
        const struct audit_link *previous = end->has_record ? &end->last : before;
        take_record(end, &line, previous);
        end->whole_bytes = line.offset + line.text.size + 1;
    }
    if (has_line) {
        end->whole_bytes = line.offset;
    }
    return 0;
}

static int copy_torn(int from, uint64_t offset, uint64_t size, int to)
{
    uint8_t block[16384];
    uint64_t left = MIN(size, (uint64_t)TORN_KEPT_BYTES);
    while (left > 0) {
        ssize_t count = pread(from, block, MIN(left, (uint64_t)sizeof(block)), (off_t)offset);
        if (count <= 0 || write(to, block, (size_t)count) != count) {
            return -1;
        }
        offset += (uint64_t)count;
        left -= (uint64_t)count;
    }
    return fsync(to);
}

/* Cuts a line off that was never finished. What it was stays beside the files. */
static int repair_torn(const struct audit_log *log, int file, const struct end *end,
                       struct error *err)
{
    char name[AUDIT_FILE_NAME_BYTES];
    uint64_t torn = end->found->torn_bytes;
    (void)snprintf(name, sizeof(name), "torn-%06" PRIu32, log->number);
    _cleanup_(file_close_cleanup) int kept = -1;
    TRY(audit_file_open(log->folder, log->folder_name, name, O_WRONLY | O_CREAT | O_APPEND, &kept,
                        err));
    if (copy_torn(file, end->whole_bytes, torn, kept) < 0) {
        return error_set_errno(err, errno, "keeping what was torn off in %s/%s", log->folder_name,
                               name);
    }
    if (ftruncate(file, (off_t)end->whole_bytes) < 0 || fsync(file) < 0) {
        return error_set_errno(err, errno, "cutting an unfinished line off file %" PRIu32 " of %s",
                               log->number, log->folder_name);
    }
    return 0;
}

static int64_t seconds_of(const char *time)
{
    struct tm utc = {0};
    return strptime(time, "%Y-%m-%dT%H:%M:%S", &utc) ? timegm(&utc) : 0;
}

/* Opens the newest file to go on in it. */
static int open_newest(struct audit_log *log, const struct end *end, struct error *err)
{
    _cleanup_(file_close_cleanup) int file = -1;
    char name[AUDIT_FILE_NAME_BYTES];
    struct stat status;
    audit_file_name(log->number, name);
    TRY(audit_file_open(log->folder, log->folder_name, name, O_RDWR | O_APPEND, &file, err));
    if (fstat(file, &status) < 0) {
        return error_set_errno(err, errno, "looking at %s/%s", log->folder_name, name);
    }
    end->found->torn_bytes = (uint64_t)status.st_size - end->whole_bytes;
    if (end->found->torn_bytes > 0) {
        TRY(repair_torn(log, file, end, err));
    }
    if (end->found->damage[0] == '\0') {
        log->size = end->whole_bytes;
        log->began_at_s = seconds_of(end->first_time);
        log->file = file_take(&file);
    }
    return 0;
}

static void read_newest_head(const struct audit_log *log, struct end *end)
{
    struct error reason;
    end->has_newest = audit_files_head(log->folder, log->folder_name, &end->newest, &reason) == 0;
    if (!end->has_newest && reason.code != ERROR_NOT_FOUND) {
        note_damage(end, "%s", reason.text);
    }
}

/* A log that was cut back goes on behind the head that was known, so that the gap stays to be seen.
 */
static void compare_newest_head(struct audit_log *log, struct end *end)
{
    if (end->has_newest && end->newest.link.sequence > log->link.sequence) {
        note_damage(end,
                    "the log ends with record %" PRIu64 ", but head.json has record %" PRIu64
                    ": it was cut back",
                    log->link.sequence, end->newest.link.sequence);
        log->link = end->newest.link;
    }
    if (!end->has_newest && end->is_head_seen && log->number > 1) {
        note_damage(end, "head.json is missing");
    }
}

/* The last record before the newest file, and whether it is a stop. */
static int find_before(const struct audit_log *log, const struct audit_files *files,
                       struct end *ret_end, struct error *err)
{
    for (size_t i = files->count - 1; i > 0 && !ret_end->has_record; i--) {
        TRY(read_file(log, files->numbers[i - 1], NULL, true, ret_end, err));
    }
    return 0;
}

static int read_files(struct audit_log *log, const struct audit_files *files, struct end *end,
                      struct error *err)
{
    /* What is wrong with older files is for a verification to tell, not for each start. */
    struct audit_found ignored = {0};
    struct end older = {.found = &ignored};
    TRY(find_before(log, files, &older, err));
    bool has_before = older.has_record || files->numbers[0] == 1;
    log->number = files->numbers[files->count - 1];
    TRY(read_file(log, log->number, has_before ? &older.last : NULL, false, end, err));
    end->is_head_seen = end->is_head_seen || older.is_head_seen;
    log->link = end->has_record ? end->last : older.last;
    end->found->is_in_order = end->has_record ? end->is_stop : older.is_stop;
    return 0;
}

int log_find_end(struct audit_log *log, struct audit_found *ret_found, struct error *err)
{
    _cleanup_(audit_files_clear) struct audit_files files = {0};
    struct end end = {.found = ret_found};
    TRY(audit_files_list(log->folder, log->folder_name, &files, err));
    read_newest_head(log, &end);
    ret_found->is_new = files.count == 0 && !end.has_newest && ret_found->damage[0] == '\0';
    if (files.count > 0) {
        TRY(read_files(log, &files, &end, err));
    }
    compare_newest_head(log, &end);
    return files.count > 0 ? open_newest(log, &end, err) : 0;
}
