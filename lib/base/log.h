/* The log on standard error: one line an event, "level message key=value ...". Every thread; a line
 * is one write. */
#pragma once

#include "lib/base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* Lines below level are dropped. The only mutable global of the process. */
void log_set_level(enum log_level level);
/* "debug", "info", "warning" or "error". */
int log_parse_level(const char *text, enum log_level *ret_level, struct error *err);
/* A secret never goes here. Control characters are replaced. Under systemd the line carries its
 * <priority>. */
void log_line(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
