/* Lies in the event log and in the list of measured files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/attest/judge_scene.h"

static void log_none(struct scene *scene)
{
    buffer_reset(&scene->evidence.event_log);
}

static void log_of_other_boot(struct scene *scene)
{
    struct software_boot boot;
    software_boot_new(&boot, false);
    buffer_reset(&scene->evidence.event_log);
    buffer_append(&scene->evidence.event_log, boot.event_log.data, boot.event_log.size);
    software_boot_clear(&boot);
}

static void log_last_event_gone(struct scene *scene)
{
    scene->evidence.event_log.size -= 4 + 4 + 4 + 2 + 20 + 2 + 32 + 4;
}

static void log_cut(struct scene *scene)
{
    scene->evidence.event_log.size--;
}

static void log_twice(struct scene *scene)
{
    const struct buffer *own = &scene->a.boot.event_log;
    buffer_append(&scene->evidence.event_log, own->data, own->size);
}

/* The last event's size says more than is there, or than fits. */
static void log_lying_length(struct scene *scene)
{
    struct buffer *log = &scene->evidence.event_log;
    memset(log->data + log->size - 4, 0xff, 4);
}

static void log_lying_count(struct scene *scene)
{
    struct buffer *log = &scene->evidence.event_log;
    log->data[log->size - (4 + 32 + 2 + 20 + 2 + 4)] = 0xff;
}

static void log_header_only(struct scene *scene)
{
    buffer_reset(&scene->evidence.event_log);
    software_log_header(&scene->evidence.event_log);
}

static void rewrite_types(struct scene *scene, uint8_t type)
{
    struct event_log log;
    struct bytes bytes = buffer_bytes(&scene->evidence.event_log);
    assert_int_equal(event_log_parse(bytes, &log, NULL), 0);
    for (size_t i = 0; i < log.count; i++) {
        if (log.events[i].digest_count == ARRAY_SIZE(software_banks)) {
            /* digests with their tags, their count, the type and the size are before the data */
            size_t at = (size_t)(log.events[i].data.data - bytes.data) - 4 - 34 - 22 - 4 - 4;
            memset(scene->evidence.event_log.data + at, 0, 4);
            scene->evidence.event_log.data[at] = type;
        }
    }
    event_log_clear(&log);
}

/* Such events were not extended, says the log. */
static void log_types_no_action(struct scene *scene)
{
    rewrite_types(scene, 3);
}

/* Secure Boot is off, and the data beside the digest says on. */
static void log_data_lies(struct scene *scene)
{
    struct event_log log;
    software_boot_clear(&scene->a.boot);
    software_boot_new(&scene->a.boot, false);
    scene_make(scene, &scene->a, &scene->evidence);
    struct bytes bytes = buffer_bytes(&scene->evidence.event_log);
    assert_int_equal(event_log_parse(bytes, &log, NULL), 0);
    for (size_t i = 0; i < log.count; i++) {
        if (log.events[i].type == 0x80000001) {
            size_t last =
                (size_t)(log.events[i].data.data - bytes.data) + log.events[i].data.size - 1;
            scene->evidence.event_log.data[last] = 1;
        }
    }
    event_log_clear(&log);
    scene->policy.baselines.items[0] = scene_baseline("golden", &scene->a);
}

static void fact_not_so(struct scene *scene)
{
    text_list_add(&scene->policy.facts, "secure_boot=off");
}

static void ima_none(struct scene *scene)
{
    buffer_reset(&scene->evidence.ima_list);
}

static void ima_last_gone(struct scene *scene)
{
    software_measured_file(&scene->a.boot, "/usr/bin/evil");
    scene_set_quote(scene, &scene->a, &scene->evidence);
}

static void ima_first_gone(struct scene *scene)
{
    struct ima_list list;
    struct buffer *bytes = &scene->evidence.ima_list;
    assert_int_equal(ima_parse(buffer_bytes(bytes), &list, NULL), 0);
    size_t end = (size_t)(list.entries[0].template_data.data - bytes->data) +
                 list.entries[0].template_data.size;
    buffer_consume(bytes, end);
    ima_clear(&list);
}

static void ima_data_changed(struct scene *scene)
{
    struct buffer *bytes = &scene->evidence.ima_list;
    bytes->data[bytes->size - 2] ^= 1;
}

static void ima_cut(struct scene *scene)
{
    scene->evidence.ima_list.size--;
}

static const struct lie lies[] = {
    LIE(log_none, EVENT_LOG, MISSING),
    LIE(log_of_other_boot, EVENT_LOG, EVENT_LOG_REPLAY),
    LIE(log_last_event_gone, EVENT_LOG, EVENT_LOG_REPLAY),
    LIE(log_cut, EVENT_LOG, MALFORMED),
    LIE(log_twice, EVENT_LOG, EVENT_LOG_REPLAY),
    LIE(log_lying_length, EVENT_LOG, MALFORMED),
    LIE(log_lying_count, EVENT_LOG, MALFORMED),
    LIE(log_header_only, EVENT_LOG, EVENT_LOG_REPLAY),
    LIE(log_types_no_action, EVENT_LOG, EVENT_LOG_REPLAY),
    LIE(log_data_lies, FACTS, FACT),
    LIE(fact_not_so, FACTS, FACT),
    LIE(ima_none, IMA, MISSING),
    LIE(ima_last_gone, IMA, IMA_REPLAY),
    LIE(ima_first_gone, IMA, IMA_REPLAY),
    LIE(ima_data_changed, IMA, IMA_REPLAY),
    LIE(ima_cut, IMA, MALFORMED),
};

static void test_lies(void **state)
{
    (void)state;
    scene_check_lies(lies, ARRAY_SIZE(lies));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
