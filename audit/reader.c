#include "audit/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/files.h"
#include "audit/keys.h"
#include "audit/reader_state.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum {
    CHUNK_BYTES = 256 << 10, /* holds any line that is not too long */
};

void audit_reader_close(struct audit_reader *reader)
{
    file_close_cleanup(&reader->descriptor);
    file_close_cleanup(&reader->folder);
    audit_files_clear(&reader->files);
    free(reader->folder_name);
    free(reader->key_folder);
    free(reader->chunk);
    free(reader);
}

static int open_folder(struct audit_reader *reader, struct error *err)
{
    reader->folder = open(reader->folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (reader->folder < 0) {
        return error_set_errno(err, errno, "opening the audit log %s", reader->folder_name);
    }
    return 0;
}

static int open_log(struct audit_reader *reader, const char *path, struct error *err)
{
    reader->folder_name = memory_copy_text(path);
    TRY(open_folder(reader, err));
    TRY(audit_files_list(reader->folder, path, &reader->files, err));
    bool has_head = faccessat(reader->folder, "head.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (reader->files.count == 0 && !has_head) {
        return error_set(err, ERROR_NOT_FOUND,
                         "opening the audit log %s: the folder has no file audit-NNNNNN.jsonl",
                         path);
    }
    reader->is_folder = true;
    return 0;
}

static int open_single(struct audit_reader *reader, const char *path, struct error *err)
{
    _cleanup_(free_cleanup) char *folder = memory_copy_text(path);
    _cleanup_(free_cleanup) char *name = memory_copy_text(path);
    const char *base = basename(name);
    reader->folder_name = memory_copy_text(dirname(folder));
    if (strlen(base) >= sizeof(reader->name)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "opening %s: its name is longer than any of an audit log", path);
    }
    TRY(open_folder(reader, err));
    TRY(audit_file_open(reader->folder, reader->folder_name, base, O_RDONLY, &reader->descriptor,
                        err));
    memcpy(reader->name, base, strlen(base) + 1);
    return 0;
}

int audit_reader_open(const char *path, struct audit_reader **ret_reader, struct error *err)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NEW(struct audit_reader);
    struct stat status;
    reader->folder = -1;
    reader->descriptor = -1;
    reader->chunk = memory_new(CHUNK_BYTES);
    if (stat(path, &status) < 0) {
        return error_set_errno(err, errno, "opening the audit log %s", path);
    }
    TRY(S_ISDIR(status.st_mode) ? open_log(reader, path, err) : open_single(reader, path, err));
    *ret_reader = take_ptr(reader);
    return 0;
}

/* Goes to the next file of the folder; *ret_has_file false where there is none. */
static int open_next(struct audit_reader *reader, bool *ret_has_file, struct error *err)
{
    struct error reason;
    *ret_has_file = reader->descriptor >= 0;
    while (!*ret_has_file && reader->next_file < reader->files.count) {
        audit_file_name(reader->files.numbers[reader->next_file++], reader->name);
        if (audit_file_open(reader->folder, reader->folder_name, reader->name, O_RDONLY,
                            &reader->descriptor, &reason) == 0) {
            *ret_has_file = true;
        } else if (reason.code != ERROR_NOT_FOUND) {
            /* Not found: the agent has removed its oldest file since the folder was read. If it was
             * not the oldest, the chain tells. */
            if (err) {
                *err = reason;
            }
            return -1;
        }
    }
    return 0;
}

static void end_file(struct audit_reader *reader)
{
    file_close_cleanup(&reader->descriptor);
    reader->descriptor = -1;
    reader->begin = reader->end = 0;
    reader->line = reader->offset = 0;
    reader->is_at_end = false;
}

/* Moves what is left to the front and reads on behind it. */
static int fill(struct audit_reader *reader, struct error *err)
{
    size_t kept = reader->end - reader->begin;
    memmove(reader->chunk, reader->chunk + reader->begin, kept);
    reader->begin = 0;
    reader->end = kept;
    ssize_t count;
    do {
        count = read(reader->descriptor, reader->chunk + reader->end, CHUNK_BYTES - reader->end);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return error_set_errno(err, errno, "reading %s/%s", reader->folder_name, reader->name);
    }
    reader->end += (size_t)count;
    reader->is_at_end = count == 0;
    return 0;
}

/* Finds the end of the line that begins at reader->begin, reading on as far as a line may be long.
 * NULL: there is none so far. */
static int find_newline(struct audit_reader *reader, const uint8_t **ret_newline, struct error *err)
{
    size_t searched = 0;
    for (;;) {
        size_t available = reader->end - reader->begin;
        const uint8_t *start = reader->chunk + reader->begin;
        *ret_newline = memchr(start + searched, '\n', available - searched);
        if (*ret_newline || reader->is_at_end || available > AUDIT_RECORD_MAX_BYTES) {
            return 0;
        }
        searched = available;
        TRY(fill(reader, err));
    }
}

/* Skips what remains of a line that is too long. */
static int skip_line(struct audit_reader *reader, struct audit_line *line, struct error *err)
{
    for (;;) {
        const uint8_t *start = reader->chunk + reader->begin;
        const uint8_t *newline = memchr(start, '\n', reader->end - reader->begin);
        size_t skipped = newline ? (size_t)(newline - start) + 1 : reader->end - reader->begin;
        reader->begin += skipped;
        reader->offset += skipped;
        if (newline) {
            return 0;
        }
        if (reader->is_at_end) {
            line->is_torn = true;
            return 0;
        }
        TRY(fill(reader, err));
    }
}

static int take_line(struct audit_reader *reader, const uint8_t *newline, struct audit_line *line,
                     struct error *err)
{
    const uint8_t *start = reader->chunk + reader->begin;
    size_t available = reader->end - reader->begin;
    size_t size = newline ? (size_t)(newline - start) : available;
    *line = (struct audit_line){.text = {start, size},
                                .file = reader->name,
                                .line = ++reader->line,
                                .offset = reader->offset,
                                .is_first_of_file = reader->line == 1,
                                .is_torn = !newline && reader->is_at_end};
    if (size > AUDIT_RECORD_MAX_BYTES) {
        /* The chunk is needed to read on: the beginning is kept apart. */
        memcpy(reader->beginning, start, sizeof(reader->beginning));
        line->text = (struct bytes){reader->beginning, sizeof(reader->beginning)};
        line->is_too_long = true;
        return skip_line(reader, line, err);
    }
    reader->begin += size + (newline ? 1 : 0);
    reader->offset += size + (newline ? 1 : 0);
    return 0;
}

int audit_reader_next(struct audit_reader *reader, bool *ret_has_line, struct audit_line *ret_line,
                      struct error *err)
{
    const uint8_t *newline = NULL;
    bool has_file = false;
    *ret_has_line = false;
    for (;;) {
        TRY(open_next(reader, &has_file, err));
        if (!has_file) {
            return 0;
        }
        TRY(find_newline(reader, &newline, err));
        if (newline || reader->end > reader->begin) {
            *ret_has_line = true;
            return take_line(reader, newline, ret_line, err);
        }
        end_file(reader);
    }
}

void audit_reader_set_keys(struct audit_reader *reader, const char *folder)
{
    free(reader->key_folder);
    reader->key_folder = memory_copy_text(folder);
}

int audit_reader_key(struct audit_reader *reader, const char *key_id, struct buffer *ret_key,
                     struct error *err)
{
    _cleanup_(free_cleanup) char *own = file_join(reader->folder_name, "keys");
    return audit_keys_read(reader->key_folder ? reader->key_folder : own, key_id, ret_key, err);
}

int audit_reader_newest_head(struct audit_reader *reader, struct audit_head *ret_head,
                             struct error *err)
{
    if (!reader->is_folder) {
        return error_set(err, ERROR_NOT_FOUND, "one file of a log has no newest head");
    }
    return audit_files_head(reader->folder, reader->folder_name, ret_head, err);
}
