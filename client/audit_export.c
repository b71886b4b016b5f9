/* signet audit export */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/audit_ocsf.h"
#include "client/audit_scan.h"
#include "client/audit_source.h"
#include "client/subcommands.h"

static void export_ecs(void *user, const struct audit_record_text *record)
{
    (void)user;
    (void)fwrite(record->line.data, 1, record->line.size, stdout);
    (void)putchar('\n');
}

static void export_ocsf(void *user, const struct audit_record_text *record)
{
    uint64_t *unreadable = user;
    json_t *document = json_loadb((const char *)record->line.data, record->line.size, 0, NULL);
    json_t *event = document ? audit_ocsf(document) : NULL;
    if (event) {
        (void)json_dumpf(event, stdout, JSON_COMPACT);
        (void)putchar('\n');
    }
    *unreadable += document ? 0 : 1;
    json_decref(event);
    json_decref(document);
}

static void (*const exporters[])(void *user, const struct audit_record_text *record) = {
    [AUDIT_FORMAT_ECS] = export_ecs,
    [AUDIT_FORMAT_OCSF] = export_ocsf,
};

static int set_format(void *field, const char *text, struct error *err)
{
    static const char *const names[] = {[AUDIT_FORMAT_ECS] = "ecs", [AUDIT_FORMAT_OCSF] = "ocsf"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *(enum audit_format *)field = (enum audit_format)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is not ecs or ocsf", text);
}

static int run_export(const struct arguments *arguments, struct error *err)
{
    _cleanup_(audit_source_clear) struct audit_source source = {0};
    struct audit_range range;
    uint64_t skipped = 0;
    uint64_t unreadable = 0;
    TRY(audit_range_parse(arguments, &range, err));
    TRY(audit_source_find(arguments, &source, err));
    TRY(audit_scan(source.path, &range, exporters[arguments->audit_format], &unreadable, &skipped,
                   err));
    if (skipped + unreadable > 0) {
        (void)fprintf(stderr,
                      "signet audit export: %" PRIu64
                      " lines are no records and were left out; see signet audit verify\n",
                      skipped + unreadable);
    }
    return 0;
}

static const struct command_option export_options[] = {
    {"format", "ecs|ocsf", "the records as they are (ECS), or as OCSF 1.3; ecs unless given",
     set_format, offsetof(struct arguments, audit_format), false},
    {"since", "TIME", "such as \"2026-11-21 10:00\", or 2h for two hours ago", option_set_text,
     offsetof(struct arguments, since), false},
    {"until", "TIME", "as --since", option_set_text, offsetof(struct arguments, until), false},
};

const struct command command_audit_export = {
    .name = "audit export",
    .operand = "PATH",
    .summary = "the audit log for another system, a JSON object a line",
    .about =
        "PATH is the folder of an audit log or one of its files; without it the agent is asked "
        "for\nits own. Signed heads are left out of OCSF, which has no class for them.",
    .example = "signet audit export --format ocsf --since 1h",
    .options = export_options,
    .option_count = ARRAY_SIZE(export_options),
    .run = run_export,
};
