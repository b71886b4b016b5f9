/* The boot logs of real machines in event_logs/ (its README says where they are from). */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/event_log.h"
#include "lib/base/memory.h"

enum { LOG_FILE_MAX_BYTES = 1 << 20 };

struct log_file {
    char *path;
    struct buffer bytes;
    struct event_log log;
};

/* folder/name beside this file; the caller frees it. */
static inline char *log_file_path(const char *folder, const char *name)
{
    const char *end = strrchr(__FILE__, '/');
    return text_format("%.*s/%s/%s", (int)(end - __FILE__), __FILE__, folder, name);
}

static inline void log_file_read(const char *folder, const char *name, struct log_file *ret_file)
{
    struct error err;
    *ret_file = (struct log_file){.path = log_file_path(folder, name)};
    if (buffer_read_file(ret_file->path, LOG_FILE_MAX_BYTES, &ret_file->bytes, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void log_file_open(const char *name, struct log_file *ret_file)
{
    struct error err;
    log_file_read("event_logs", name, ret_file);
    if (event_log_parse(buffer_bytes(&ret_file->bytes), &ret_file->log, &err) < 0) {
        fail_msg("%s: %s", name, err.text);
    }
}

static inline void log_file_close(struct log_file *file)
{
    event_log_clear(&file->log);
    buffer_clear(&file->bytes);
    free(file->path);
    *file = (struct log_file){0};
}

/* The names of the logs in event_logs, all that end in .bin. */
static inline void log_file_names(struct text_list *ret_names)
{
    _cleanup_(free_cleanup) char *path = log_file_path("event_logs", ".");
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *item = readdir(folder); item; item = readdir(folder)) {
        const char *dot = strrchr(item->d_name, '.');
        if (dot && strcmp(dot, ".bin") == 0) {
            text_list_add(ret_names, item->d_name);
        }
    }
    (void)closedir(folder);
    text_list_sort_unique(ret_names);
    assert_true(ret_names->count > 10);
}

/* The lines of a text file in event_logs/. */
static inline void log_file_lines(const char *name, struct text_list *ret_lines)
{
    struct log_file file;
    log_file_read("event_logs", name, &file);
    buffer_append_u8(&file.bytes, 0);
    char *rest = (char *)file.bytes.data;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        if (line[0]) {
            text_list_add(ret_lines, line);
        }
    }
    log_file_close(&file);
}

/* The bytes that hexadecimal digits stand for. */
static inline void append_hex(struct buffer *to, const char *hex)
{
    for (; hex[0] && hex[1]; hex += 2) {
        const char digits[] = {hex[0], hex[1], 0};
        buffer_append_u8(to, (uint8_t)strtoul(digits, NULL, 16));
    }
}

/* What tpm2_eventlog(1) prints of the file; false: it is not installed, or printed nothing. */
static inline bool log_file_by_tpm2_tools(const struct log_file *file, struct buffer *ret_text)
{
    _cleanup_(free_cleanup) char *command =
        text_format("exec tpm2_eventlog '%s' 2>/dev/null", file->path);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): a path of the tests' own */
    assert_non_null(pipe);
    char chunk[4096];
    for (size_t size; (size = fread(chunk, 1, sizeof(chunk), pipe)) > 0;) {
        buffer_append(ret_text, chunk, size);
    }
    buffer_append_u8(ret_text, 0);
    return pclose(pipe) == 0 && ret_text->size > 1;
}
