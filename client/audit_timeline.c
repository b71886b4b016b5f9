/* signet audit timeline */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/audit_pick.h"
#include "client/audit_source.h"
#include "client/audit_story.h"
#include "client/subcommands.h"

struct timeline {
    const struct audit_pick *pick;
    bool is_json;
    uint64_t count;
};

static void print_text(const struct audit_record_text *record)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    json_t *document = json_loadb((const char *)record->line.data, record->line.size, 0, NULL);
    if (!document) {
        (void)fprintf(stderr, "signet audit timeline: a record of %s is not JSON\n", record->time);
        return;
    }
    audit_story(document, &text);
    (void)fwrite(text.data, 1, text.size, stdout);
    json_decref(document);
}

static void print_one(void *user, const struct audit_record_text *record)
{
    struct timeline *timeline = user;
    if (!audit_pick_has(timeline->pick, record)) {
        return;
    }
    timeline->count++;
    if (!timeline->is_json) {
        print_text(record);
        return;
    }
    (void)fputs(timeline->count > 1 ? ",\n" : "\n", stdout);
    (void)fwrite(record->line.data, 1, record->line.size, stdout);
}

static int print_timeline(const struct audit_pick *pick, const struct arguments *arguments,
                          const char *path, const struct audit_range *range, struct error *err)
{
    struct timeline timeline = {.pick = pick, .is_json = arguments->output == OUTPUT_JSON};
    uint64_t skipped = 0;
    /* As they come: a log may be larger than the memory. */
    (void)fputs(timeline.is_json ? "{\"events\": [" : "", stdout);
    TRY(audit_scan(path, range, print_one, &timeline, &skipped, err));
    if (timeline.is_json) {
        (void)fputs(timeline.count ? "\n]}\n" : "]}\n", stdout);
    } else if (timeline.count == 0) {
        (void)puts("nothing of that is in the audit log");
    }
    if (skipped > 0) {
        (void)fprintf(stderr,
                      "signet audit timeline: %" PRIu64
                      " lines are no records and were left out; see signet audit verify\n",
                      skipped);
    }
    return 0;
}

static int run_timeline(const struct arguments *arguments, struct error *err)
{
    _cleanup_(audit_source_clear) struct audit_source source = {0};
    _cleanup_(audit_pick_clear) struct audit_pick pick = {
        .pattern = arguments->spiffe_id, .pid = arguments->pid, .serial = arguments->serial};
    struct audit_range range;
    TRY(audit_range_parse(arguments, &range, err));
    TRY(audit_source_find(arguments, &source, err));
    TRY(audit_pick_prepare(&pick, source.path, &range, err));
    return print_timeline(&pick, arguments, source.path, &range, err);
}

static const struct command_option timeline_options[] = {
    {"spiffe-id", "PATTERN", "of these identities; * stands for anything", option_set_text,
     offsetof(struct arguments, spiffe_id), false},
    {"pid", "PID", "of this process, and of who used the same keys", option_set_pid,
     offsetof(struct arguments, pid), false},
    {"serial", "SERIAL", "of this certificate or token, its key, and who used it", option_set_text,
     offsetof(struct arguments, serial), false},
    {"since", "TIME", "such as \"2026-11-21 10:00\", or 2h for two hours ago", option_set_text,
     offsetof(struct arguments, since), false},
    {"until", "TIME", "as --since", option_set_text, offsetof(struct arguments, until), false},
};

const struct command command_audit_timeline = {
    .name = "audit timeline",
    .operand = "PATH",
    .summary = "what happened around an identity, in order",
    .about = "PATH is the folder of an audit log or one of its files; without it the agent is "
             "asked for\n"
             "its own. Where several of --spiffe-id, --pid and --serial are given, all must be "
             "true of a\n"
             "record; with --pid and --serial also what others did with the same key, or the same\n"
             "process did otherwise, is told. Times are local.",
    .example = "signet audit timeline --spiffe-id 'spiffe://example.org/payments/*' --since 2h",
    .options = timeline_options,
    .option_count = ARRAY_SIZE(timeline_options),
    .run = run_timeline,
};
