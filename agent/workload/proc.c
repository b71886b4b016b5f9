#include "agent/workload/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/workload/cgroup.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { STAT_MAX_BYTES = 4096, START_TIME_FIELD = 22 };

void proc_credentials_clear(struct proc_credentials *credentials)
{
    free(credentials->groups);
    *credentials = (struct proc_credentials){0};
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct reader *reader)
{
    while (!reader->is_bad && reader->rest.size > 0 && is_blank(reader->rest.data[0])) {
        (void)reader_u8(reader);
    }
}

/* The next decimal number, up to a blank or the end; anything else marks the reader bad. */
static uint64_t read_number(struct reader *reader, uint64_t maximum)
{
    uint64_t value = 0;
    size_t digits = 0;
    skip_blanks(reader);
    while (!reader->is_bad && reader->rest.size > 0 && !is_blank(reader->rest.data[0])) {
        uint8_t c = reader_u8(reader);
        reader->is_bad = c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
                         __builtin_add_overflow(value, (uint64_t)(c - '0'), &value) ||
                         value > maximum;
        digits++;
    }
    reader->is_bad = reader->is_bad || digits == 0;
    return reader->is_bad ? 0 : value;
}

/* "real effective saved filesystem", of which the second counts. */
static int parse_ids(struct reader line, uint32_t *ret_effective)
{
    uint32_t ids[4];
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        ids[i] = (uint32_t)read_number(&line, UINT32_MAX);
    }
    skip_blanks(&line);
    *ret_effective = ids[1];
    return reader_is_done(&line) ? 0 : -1;
}

static int parse_uid(struct reader line, struct proc_credentials *credentials, struct error *err)
{
    return parse_ids(line, &credentials->uid) < 0
               ? error_set(err, ERROR_UNAVAILABLE, "its line Uid is not four numbers")
               : 0;
}

static int parse_gid(struct reader line, struct proc_credentials *credentials, struct error *err)
{
    return parse_ids(line, &credentials->gid) < 0
               ? error_set(err, ERROR_UNAVAILABLE, "its line Gid is not four numbers")
               : 0;
}

static int parse_groups(struct reader line, struct proc_credentials *credentials, struct error *err)
{
    size_t capacity = 0;
    skip_blanks(&line);
    while (!line.is_bad && line.rest.size > 0) {
        if (credentials->group_count == PROC_GROUPS_MAX) {
            return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                             "the process has more than %d supplementary groups", PROC_GROUPS_MAX);
        }
        if (credentials->group_count == capacity) {
            capacity = MAX((size_t)16, capacity * 2);
            credentials->groups =
                memory_resize_array(credentials->groups, capacity, sizeof(*credentials->groups));
        }
        credentials->groups[credentials->group_count++] = (gid_t)read_number(&line, UINT32_MAX);
        skip_blanks(&line);
    }
    return line.is_bad ? error_set(err, ERROR_UNAVAILABLE, "its line Groups is not numbers") : 0;
}

static const struct {
    const char *name;
    int (*parse)(struct reader line, struct proc_credentials *credentials, struct error *err);
} status_lines[] = {{"Uid", parse_uid}, {"Gid", parse_gid}, {"Groups", parse_groups}};

int proc_parse_status(struct bytes text, struct proc_credentials *ret_credentials,
                      struct error *err)
{
    _cleanup_(proc_credentials_clear) struct proc_credentials credentials = {0};
    struct reader reader = reader_of(text);
    unsigned seen = 0;
    while (reader.rest.size > 0) {
        struct reader line = reader_of(reader_until(&reader, '\n'));
        struct bytes name = reader_until(&line, ':');
        for (unsigned i = 0; i < ARRAY_SIZE(status_lines); i++) {
            if (!bytes_is_equal(name, bytes_of_text(status_lines[i].name))) {
                continue;
            }
            if (seen & 1U << i) {
                return error_set(err, ERROR_UNAVAILABLE, "it has two lines %s",
                                 status_lines[i].name);
            }
            seen |= 1U << i;
            TRY(status_lines[i].parse(line, &credentials, err));
        }
    }
    if (seen != (1U << ARRAY_SIZE(status_lines)) - 1) {
        return error_set(err, ERROR_UNAVAILABLE, "it lacks one of the lines Uid, Gid and Groups");
    }
    *ret_credentials = credentials;
    credentials = (struct proc_credentials){0};
    return 0;
}

int proc_parse_start_time(struct bytes text, uint64_t *ret_ticks, struct error *err)
{
    struct reader reader = reader_of(text);
    /* The name of the program, field 2, stands in parentheses and may hold any character, so only
     * the last closing one ends it. */
    while (reader.rest.size > 0 && memchr(reader.rest.data, ')', reader.rest.size)) {
        (void)reader_until(&reader, ')');
    }
    skip_blanks(&reader);
    for (unsigned field = 3; field < START_TIME_FIELD; field++) {
        (void)reader_until(&reader, ' ');
    }
    struct reader number = reader_of(reader_until(&reader, ' '));
    uint64_t ticks = read_number(&number, UINT64_MAX);
    if (reader.is_bad || !reader_is_done(&number)) {
        return error_set(err, ERROR_UNAVAILABLE, "it has no start time");
    }
    *ret_ticks = ticks;
    return 0;
}

/* ESRCH and ENOENT both mean that the process is gone. */
static int read_file(int proc, const char *name, size_t limit_bytes, struct buffer *ret_text,
                     struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor = openat(proc, name, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "opening %s of the process", name);
    }
    return buffer_read_descriptor(descriptor, name, limit_bytes, ret_text, err);
}

int proc_read_credentials(int proc, struct proc_credentials *ret_credentials, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(read_file(proc, "status", PROC_STATUS_MAX_BYTES, &text, err));
    if (proc_parse_status(buffer_bytes(&text), ret_credentials, err) < 0) {
        return error_prepend(err, "reading status of the process");
    }
    return 0;
}

int proc_read_cgroup(int proc, struct buffer *ret_text, struct error *err)
{
    return read_file(proc, "cgroup", CGROUP_TEXT_MAX_BYTES, ret_text, err);
}

int proc_read_start_time(int proc, uint64_t *ret_ticks, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    TRY(read_file(proc, "stat", STAT_MAX_BYTES, &text, err));
    if (proc_parse_start_time(buffer_bytes(&text), ret_ticks, err) < 0) {
        return error_prepend(err, "reading stat of the process");
    }
    return 0;
}

int proc_own_user_namespace(struct proc_namespace *ret_namespace, struct error *err)
{
    struct stat status;
    if (stat("/proc/self/ns/user", &status) < 0) {
        return error_set_errno(err, errno, "looking at /proc/self/ns/user (is /proc mounted?)");
    }
    *ret_namespace = (struct proc_namespace){status.st_dev, status.st_ino};
    return 0;
}

static bool is_at_home(int proc, const struct proc_namespace *home)
{
    struct stat status;
    return fstatat(proc, "ns/user", &status, 0) == 0 && status.st_dev == home->device &&
           status.st_ino == home->inode;
}

/* The kernel appends this to the name of a file that has lost the name. A file may also really be
 * called so; either way nothing is claimed about it. */
static bool has_lost_its_name(const char *path)
{
    static const char mark[] = " (deleted)";
    size_t size = strlen(path);
    return size >= sizeof(mark) - 1 && strcmp(path + size - (sizeof(mark) - 1), mark) == 0;
}

static void read_path(int proc, char path[PROC_PATH_MAX_BYTES])
{
    ssize_t size = readlinkat(proc, "exe", path, PROC_PATH_MAX_BYTES);
    bool is_whole = size > 0 && size < PROC_PATH_MAX_BYTES;
    path[is_whole ? size : 0] = '\0';
    if (path[0] != '/' || has_lost_its_name(path)) {
        path[0] = '\0';
    }
}

void proc_read_program(int proc, const struct proc_namespace *home,
                       struct proc_program *ret_program)
{
    uint32_t links = 0;
    ret_program->path[0] = '\0';
    ret_program->is_known = file_identity_read(proc, "exe", &ret_program->file, &links) == 0;
    if (!ret_program->is_known) {
        ret_program->file = (struct file_identity){0};
    } else if (links > 0 && is_at_home(proc, home)) {
        read_path(proc, ret_program->path);
    }
}

bool proc_program_is_running(int proc, const struct proc_program *program)
{
    uint32_t links;
    struct file_identity file;
    bool is_known = file_identity_read(proc, "exe", &file, &links) == 0;
    return is_known == program->is_known &&
           (!is_known || file_identity_is_equal(&file, &program->file));
}
