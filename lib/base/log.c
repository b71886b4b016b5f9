#include "lib/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/text.h"

static _Atomic int lowest_level = LOG_LEVEL_INFO;

static const struct {
    const char *name;
    int priority; /* of syslog */
} levels[] = {{"debug", 7}, {"info", 6}, {"warning", 4}, {"error", 3}};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&lowest_level, (int)level, memory_order_relaxed);
}

int log_parse_level(const char *text, enum log_level *ret_level, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "\"%s\" is not a log level; use debug, info, warning or error", text);
}

static size_t write_prefix(char *line, size_t size, enum log_level level)
{
    if (getenv("JOURNAL_STREAM")) {
        return (size_t)snprintf(line, size, "<%d>", levels[level].priority);
    }
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return used + (size_t)snprintf(line + used, size - used, ".%03ldZ %s ", now.tv_nsec / 1000000,
                                   levels[level].name);
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed)) {
        return;
    }
    char line[1024];
    size_t prefix = write_prefix(line, sizeof(line), level);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, arguments);
    va_end(arguments);
    text_make_printable(line);
    size_t size = strlen(line);
    line[size] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, size + 1);
    (void)ignored;
}
