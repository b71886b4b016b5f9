#include "audit/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/head.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define FIRST_PART "audit-"
#define LAST_PART ".jsonl"

enum {
    DIGITS_MIN = 6,
    DIGITS_MAX = 10,
    HEAD_FILE_MAX_BYTES = 4096,
};

static void close_folder(DIR *folder)
{
    (void)closedir(folder);
}
DEFINE_CLEANUP(DIR, folder, close_folder);

void audit_file_name(uint32_t number, char ret_name[AUDIT_FILE_NAME_BYTES])
{
    (void)snprintf(ret_name, AUDIT_FILE_NAME_BYTES, FIRST_PART "%06" PRIu32 LAST_PART, number);
}

bool audit_file_number(const char *name, uint32_t *ret_number)
{
    char expected[AUDIT_FILE_NAME_BYTES];
    char digits[DIGITS_MAX + 1] = "";
    uint64_t number = 0;
    if (strncmp(name, FIRST_PART, strlen(FIRST_PART)) != 0) {
        return false;
    }
    size_t size = strspn(name + strlen(FIRST_PART), "0123456789");
    if (size < DIGITS_MIN || size > DIGITS_MAX) {
        return false;
    }
    memcpy(digits, name + strlen(FIRST_PART), size);
    if (text_parse_u64(digits, 0, UINT32_MAX, &number, NULL) < 0) {
        return false;
    }
    /* One name for each number. */
    audit_file_name((uint32_t)number, expected);
    *ret_number = (uint32_t)number;
    return strcmp(name, expected) == 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void audit_files_clear(struct audit_files *files)
{
    free(files->numbers);
    *files = (struct audit_files){0};
}

static int add_number(struct audit_files *files, uint32_t number, size_t *capacity,
                      const char *folder_name, struct error *err)
{
    if (files->count == AUDIT_FILES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "listing the audit log %s: it has more than %d files", folder_name,
                         AUDIT_FILES_MAX);
    }
    if (files->count == *capacity) {
        *capacity = MAX((size_t)64, *capacity * 2);
        files->numbers = memory_resize_array(files->numbers, *capacity, sizeof(*files->numbers));
    }
    files->numbers[files->count++] = number;
    return 0;
}

int audit_files_list(int folder, const char *folder_name, struct audit_files *ret_files,
                     struct error *err)
{
    _cleanup_(audit_files_clear) struct audit_files files = {0};
    size_t capacity = 0;
    /* A descriptor of its own: reading moves the place in it. */
    _cleanup_(file_close_cleanup) int descriptor =
        openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(folder_cleanup) DIR *stream = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (!stream) {
        return error_set_errno(err, errno, "listing the audit log %s", folder_name);
    }
    (void)file_take(&descriptor);
    errno = 0;
    for (struct dirent *item = readdir(stream); item; item = readdir(stream)) {
        uint32_t number = 0;
        if (audit_file_number(item->d_name, &number)) {
            TRY(add_number(&files, number, &capacity, folder_name, err));
        }
        errno = 0;
    }
    if (errno != 0) {
        return error_set_errno(err, errno, "listing the audit log %s", folder_name);
    }
    if (files.count > 0) {
        qsort(files.numbers, files.count, sizeof(*files.numbers), compare_numbers);
    }
    *ret_files = files;
    files = (struct audit_files){0};
    return 0;
}

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a folder";
    case S_IFIFO:
        return "a pipe";
    case S_IFLNK:
        return "a symbolic link";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

int audit_file_open(int folder, const char *folder_name, const char *name, int flags,
                    int *ret_descriptor, struct error *err)
{
    struct stat status;
    /* Looked at before it is opened: to open a device may do something. */
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening %s/%s: it is %s, not a file; somebody has put it there",
                         folder_name, name, kind_name(status.st_mode));
    }
    _cleanup_(file_close_cleanup) int descriptor =
        openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "opening %s/%s", folder_name, name);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening %s/%s: it is %s, not a file; somebody has put it there",
                         folder_name, name, kind_name(status.st_mode));
    }
    *ret_descriptor = file_take(&descriptor);
    return 0;
}

int audit_files_head(int folder, const char *folder_name, struct audit_head *ret_head,
                     struct error *err)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    _cleanup_(file_close_cleanup) int descriptor = -1;
    bool is_head = false;
    TRY(audit_file_open(folder, folder_name, "head.json", O_RDONLY, &descriptor, err));
    if (buffer_read_descriptor(descriptor, "head.json", HEAD_FILE_MAX_BYTES, &contents, err) < 0) {
        return error_prepend(err, "reading the newest head of %s", folder_name);
    }
    struct bytes text = buffer_bytes(&contents);
    if (text.size < 3 || text.data[0] != '{' || text.data[text.size - 2] != '}' ||
        text.data[text.size - 1] != '\n' ||
        audit_head_parse((struct bytes){text.data + 1, text.size - 3}, &is_head, ret_head, NULL) <
            0 ||
        !is_head) {
        return error_set(err, ERROR_DATA_LOSS,
                         "reading %s/head.json: it is not a head as signet writes it", folder_name);
    }
    return 0;
}
