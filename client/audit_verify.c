/* signet audit verify */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "audit/verify.h"
#include "client/audit_source.h"
#include "client/output.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"

/* Where findings go as they come. */
struct report {
    bool is_json;
    json_t *findings; /* of JSON */
    uint64_t told;    /* without remarks */
};

static void print_finding(const struct audit_finding *finding)
{
    _cleanup_(free_cleanup) char *record =
        finding->sequence ? text_format(" record %" PRIu64, finding->sequence) : NULL;
    /* Where no file is left there is no place either. */
    _cleanup_(free_cleanup) char *place =
        finding->file[0] ? text_format(" %s line %" PRIu64, finding->file, finding->line) : NULL;
    _cleanup_(free_cleanup) char *text =
        text_format("%s:%s%s: %s: %s", finding->is_remark ? "remark" : "BROKEN", place ? place : "",
                    record ? record : "", audit_finding_name(finding->kind), finding->text);
    text_make_printable(text);
    (void)puts(text);
}

static json_t *finding_json(const struct audit_finding *finding)
{
    _cleanup_(free_cleanup) char *text = memory_copy_text(finding->text);
    text_make_printable(text);
    return json_pack("{s:s, s:b, s:s, s:I, s:I, s:s}", "kind", audit_finding_name(finding->kind),
                     "remark", (int)finding->is_remark, "file", finding->file, "line",
                     (json_int_t)finding->line, "sequence", (json_int_t)finding->sequence, "text",
                     text);
}

static void found(void *user, const struct audit_finding *finding)
{
    struct report *report = user;
    report->told += finding->is_remark ? 0 : 1;
    if (report->is_json) {
        json_array_append_new(report->findings, finding_json(finding));
    } else {
        print_finding(finding);
    }
}

/* "SEQUENCE:HASH", as --head takes it; empty: none. The caller frees it. */
static char *link_text(const struct audit_link *link)
{
    _cleanup_(free_cleanup) char *hash = text_hex((struct bytes){link->hash, AUDIT_HASH_BYTES});
    return link->sequence ? text_format("%" PRIu64 ":%s", link->sequence, hash)
                          : memory_copy_text("");
}

static void print_verdict(const struct audit_source *source, const struct audit_verdict *verdict,
                          uint64_t told)
{
    _cleanup_(free_cleanup) char *last = link_text(&verdict->last);
    output_title("%s is %s", source->path, verdict->is_whole ? "whole" : "BROKEN");
    output_field("records", "%" PRIu64 " in %" PRIu64 " files, %" PRIu64 " signed heads",
                 verdict->records, verdict->files, verdict->heads);
    if (verdict->records > 0) {
        output_field("from", "%s, record %" PRIu64, verdict->first_time, verdict->first.sequence);
        output_field("to", "%s, record %" PRIu64, verdict->last_time, verdict->last.sequence);
    }
    if (verdict->key_id[0]) {
        output_field("signed", "up to record %" PRIu64 " by the key %s",
                     verdict->signed_last.sequence, verdict->key_id);
    } else {
        output_field("signed", "nothing");
    }
    output_field("last", "%s", last);
    if (told < verdict->findings) {
        output_field("broken", "in %" PRIu64 " places, of which the first %" PRIu64 " are shown",
                     verdict->findings, told);
    }
    if (source->is_live && source->live.sequence > 0) {
        output_field("agent", "compared with its record %" PRIu64, source->live.sequence);
    }
    if (source->is_live && source->failure[0]) {
        output_field("agent", "cannot write now: %s", source->failure);
    }
}

static void print_verdict_json(const struct audit_source *source,
                               const struct audit_verdict *verdict, json_t *findings)
{
    _cleanup_(free_cleanup) char *first = link_text(&verdict->first);
    _cleanup_(free_cleanup) char *last = link_text(&verdict->last);
    _cleanup_(free_cleanup) char *signed_last = link_text(&verdict->signed_last);
    _cleanup_(free_cleanup) char *live = link_text(&source->live);
    output_json(json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, "
                          "s:o}",
                          "path", source->path, "whole", (int)verdict->is_whole, "records",
                          (json_int_t)verdict->records, "files", (json_int_t)verdict->files,
                          "heads", (json_int_t)verdict->heads, "broken",
                          (json_int_t)verdict->findings, "first", first, "first_time",
                          verdict->first_time, "last", last, "last_time", verdict->last_time,
                          "signed", signed_last, "key_id", verdict->key_id, "agent", live,
                          "agent_failure", source->failure, "findings", findings),
                false);
}

static int verify(const struct arguments *arguments, const struct audit_source *source,
                  struct report *report, struct audit_verdict *ret_verdict, struct error *err)
{
    _cleanup_(audit_reader_cleanup) struct audit_reader *reader = NULL;
    struct audit_link known[2];
    size_t known_count = 0;
    if (source->live.sequence > 0) {
        known[known_count++] = source->live;
    }
    if (arguments->head) {
        if (audit_link_parse(arguments->head, &known[known_count++], err) < 0) {
            return error_prepend(err, "--head");
        }
    }
    TRY(audit_reader_open(source->path, &reader, err));
    if (arguments->keys) {
        audit_reader_set_keys(reader, arguments->keys);
    }
    TRY(audit_verify_against(reader, known, known_count, found, report, ret_verdict, err));
    if (ret_verdict->records == 0 && ret_verdict->is_whole) {
        return error_set(err, ERROR_NOT_FOUND,
                         "verifying %s: it has no records; either it is no audit log, or all of "
                         "them were removed",
                         source->path);
    }
    return 0;
}

static int run_verify(const struct arguments *arguments, struct error *err)
{
    _cleanup_(audit_source_clear) struct audit_source source = {0};
    struct report report = {.is_json = arguments->output == OUTPUT_JSON};
    struct audit_verdict verdict;
    TRY(audit_source_find(arguments, &source, err));
    report.findings = json_array();
    if (verify(arguments, &source, &report, &verdict, err) < 0) {
        json_decref(report.findings);
        return -1;
    }
    if (report.is_json) {
        print_verdict_json(&source, &verdict, report.findings);
    } else {
        json_decref(report.findings);
        print_verdict(&source, &verdict, report.told);
    }
    return verdict.is_whole
               ? 0
               : error_set(err, ERROR_DATA_LOSS,
                           "%s is broken in %" PRIu64 " place%s: what it tells there cannot be "
                           "relied on",
                           source.path, verdict.findings, verdict.findings == 1 ? "" : "s");
}

static const struct command_option verify_options[] = {
    {"keys", "DIR", "trust the public keys in this folder, not those of the log", option_set_text,
     offsetof(struct arguments, keys), false},
    {"head", "SEQUENCE:HASH", "a record that the log must have, kept elsewhere", option_set_text,
     offsetof(struct arguments, head), false},
};

const struct command command_audit_verify = {
    .name = "audit verify",
    .operand = "PATH",
    .summary = "whether the audit log is whole",
    .about =
        "Finds records that were cut out, changed, moved, put in or rolled back, and says where.\n"
        "PATH is the folder of a log or one of its files; without it the agent is asked for its\n"
        "own, which is then also compared with what the agent has. No agent is needed with PATH.\n"
        "Keep what is printed as \"last\" elsewhere: --head later finds a log that was rolled "
        "back\n"
        "with all of the folder. Exit status 1: the log is broken, or cannot be read.",
    .example = "signet audit verify /var/lib/signet/audit --keys /root/signet-audit-keys",
    .options = verify_options,
    .option_count = ARRAY_SIZE(verify_options),
    .run = run_verify,
};
