#include "agent/metrics/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

static const char *end(struct buffer *text)
{
    buffer_append_u8(text, 0);
    return (const char *)text->data;
}

static void samples(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    metric_family(&text, "a_total", METRIC_COUNTER, "What \\ is\ncounted \"here\".");
    metric_sample(&text, "a_total", "", NULL, 18);
    metric_sample(&text, "a_total", "", (const char *const[]){"x", "1", "y", "q\"\\\nq", NULL}, 0);
    metric_sample(&text, "a_total", "", (const char *const[]){"x", "\xff\x01", NULL}, 0.25);
    metric_family(&text, "b", METRIC_GAUGE, "b");
    metric_sample(&text, "b", "", NULL, -1);
    metric_sample(&text, "b", "", NULL, 1795280400);
    metric_sample(&text, "b", "", NULL, 1e300);
    metric_sample(&text, "b", "", NULL, INFINITY);
    metric_sample(&text, "b", "", NULL, -INFINITY);
    metric_sample(&text, "b", "", NULL, NAN);
    assert_string_equal(end(&text), "# HELP a_total What \\\\ is\\ncounted \"here\".\n"
                                    "# TYPE a_total counter\n"
                                    "a_total 18\n"
                                    "a_total{x=\"1\",y=\"q\\\"\\\\\\nq\"} 0\n"
                                    "a_total{x=\"??\"} 0.25\n"
                                    "# HELP b b\n"
                                    "# TYPE b gauge\n"
                                    "b -1\n"
                                    "b 1795280400\n"
                                    "b 1e+300\n"
                                    "b +Inf\n"
                                    "b -Inf\n"
                                    "b NaN\n");
}

static void histograms(void **state)
{
    (void)state;
    struct times times = {0};
    times_add(&times, 0);
    times_add(&times, 100);
    times_add(&times, 101);
    times_add(&times, 10000000);
    times_add(&times, 10000001);
    times_add_since(&times, UINT64_MAX); /* a clock that went back counts as nothing */
    _cleanup_(buffer_clear) struct buffer text = {0};
    metric_times(&text, "t", (const char *const[]){"k", "tpm", NULL}, &times);
    const char *got = end(&text);
    static const char *const lines[] = {
        "t_bucket{k=\"tpm\",le=\"0.0001\"} 3\n",
        "t_bucket{k=\"tpm\",le=\"0.00025\"} 4\n",
        "t_bucket{k=\"tpm\",le=\"5\"} 4\n",
        "t_bucket{k=\"tpm\",le=\"10\"} 5\n",
        "t_bucket{k=\"tpm\",le=\"+Inf\"} 6\n",
        "t_sum{k=\"tpm\"} 20.000202\n",
        "t_count{k=\"tpm\"} 6\n",
    };
    const char *place = got;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        place = strstr(place, lines[i]);
        if (!place) {
            fail_msg("no %s in %s", lines[i], got);
        }
    }
    for (unsigned i = 1; i < TIMES_BUCKETS; i++) {
        assert_true(times_bounds_us[i - 1] < times_bounds_us[i]);
    }
    buffer_reset(&text);
    metric_times(&text, "t", NULL, &times);
    assert_non_null(strstr(end(&text), "t_bucket{le=\"0.0001\"} 3\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples), cmocka_unit_test(histograms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
