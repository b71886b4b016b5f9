/* The text format of Prometheus, version 0.0.4. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/metrics/metrics.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

/* Up to here every whole number is a double of its own. */
static const double WHOLE_MAX = 9007199254740992.0;

/* escaped: the characters that the format wants a backslash before, besides backslash and newline.
 */
static void append_escaped(struct buffer *text, const char *value, const char *escaped)
{
    for (; *value; value++) {
        if (*value == '\n') {
            buffer_append_text(text, "\\n");
            continue;
        }
        if (*value == '\\' || strchr(escaped, *value)) {
            buffer_append_u8(text, '\\');
        }
        buffer_append_u8(text, (uint8_t)*value);
    }
}

static void append_value(struct buffer *text, double value)
{
    char number[32];
    if (isnan(value)) {
        (void)snprintf(number, sizeof(number), "NaN");
    } else if (isinf(value)) {
        (void)snprintf(number, sizeof(number), value > 0 ? "+Inf" : "-Inf");
    } else if (fabs(value) <= WHOLE_MAX && floor(value) == value) {
        (void)snprintf(number, sizeof(number), "%.0f", value);
    } else {
        (void)snprintf(number, sizeof(number), "%.12g", value);
    }
    buffer_append_text(text, number);
}

static void append_label(struct buffer *text, const char *name, const char *value, bool is_first)
{
    buffer_append_text(text, is_first ? "{" : ",");
    buffer_append_text(text, name);
    buffer_append_text(text, "=\"");
    if (text_is_utf8(bytes_of_text(value))) {
        append_escaped(text, value, "\"");
    } else {
        _cleanup_(free_cleanup) char *printable = memory_copy_text(value);
        text_make_printable(printable);
        append_escaped(text, printable, "\"");
    }
    buffer_append_text(text, "\"");
}

/* bound: of a bucket, "le"; NULL: none. */
static void append_sample(struct buffer *text, const char *name, const char *suffix,
                          const char *const *labels, const char *bound, double value)
{
    bool is_first = true;
    buffer_append_text(text, name);
    buffer_append_text(text, suffix);
    for (; labels && labels[0]; labels += 2) {
        append_label(text, labels[0], labels[1], is_first);
        is_first = false;
    }
    if (bound) {
        append_label(text, "le", bound, is_first);
        is_first = false;
    }
    buffer_append_text(text, is_first ? " " : "} ");
    append_value(text, value);
    buffer_append_u8(text, '\n');
}

void metric_family(struct buffer *text, const char *name, enum metric_type type, const char *help)
{
    buffer_append_text(text, "# HELP ");
    buffer_append_text(text, name);
    buffer_append_u8(text, ' ');
    append_escaped(text, help, "");
    buffer_append_text(text, "\n# TYPE ");
    buffer_append_text(text, name);
    buffer_append_u8(text, ' ');
    buffer_append_text(text, type_names[type]);
    buffer_append_u8(text, '\n');
}

void metric_sample(struct buffer *text, const char *name, const char *suffix,
                   const char *const *labels, double value)
{
    append_sample(text, name, suffix, labels, NULL, value);
}

/* Others may add meanwhile: each count is read once, so that the buckets grow and agree with the
 * count. */
void metric_times(struct buffer *text, const char *name, const char *const *labels,
                  const struct times *times)
{
    static const double us_per_s = 1e6;
    uint64_t sum_us = atomic_load_explicit(&times->sum_us, memory_order_relaxed);
    uint64_t count = 0;
    for (unsigned i = 0; i <= TIMES_BUCKETS; i++) {
        char bound[32] = "+Inf";
        count += atomic_load_explicit(&times->counts[i], memory_order_relaxed);
        if (i < TIMES_BUCKETS) {
            (void)snprintf(bound, sizeof(bound), "%g", times_bounds_us[i] / us_per_s);
        }
        append_sample(text, name, "_bucket", labels, bound, (double)count);
    }
    append_sample(text, name, "_sum", labels, NULL, (double)sum_us / us_per_s);
    append_sample(text, name, "_count", labels, NULL, (double)count);
}
