/* signet attest baseline record, announce, list, remove */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/attest_pcrs.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"

enum { DEFAULT_TTL_S = 24 * 3600 };

/* "4,8,9"; the caller frees it. */
static char *open_text(const Admin__Baseline *baseline)
{
    char *text = memory_copy_text("");
    for (size_t i = 0; i < baseline->n_open; i++) {
        _cleanup_(free_cleanup) char *before = text;
        text = text_format("%s%s%u", before, i ? "," : "", baseline->open[i]);
    }
    return text;
}

static json_t *time_json(int64_t seconds)
{
    _cleanup_(free_cleanup) char *text = output_time_json(seconds);
    return seconds > 0 ? json_string(text) : json_null();
}

static json_t *baseline_json(const Admin__Baseline *baseline)
{
    json_t *pcrs = json_array();
    json_t *open = json_array();
    for (size_t i = 0; i < baseline->n_pcrs; i++) {
        const Admin__Pcr *pcr = baseline->pcrs[i];
        _cleanup_(free_cleanup) char *value =
            text_hex((struct bytes){pcr->value.data, pcr->value.len});
        json_array_append_new(pcrs, json_pack("{s:s, s:i, s:s}", "bank", pcr->bank, "index",
                                              (int)pcr->index, "value", value));
    }
    for (size_t i = 0; i < baseline->n_open; i++) {
        json_array_append_new(open, json_integer(baseline->open[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", baseline->name, "kind",
                     baseline->kind, "pcrs", pcrs, "open", open, "made_at",
                     time_json(baseline->made_at), "ends_at", time_json(baseline->ends_at));
}

static void print_baseline(const Admin__Baseline *baseline)
{
    _cleanup_(free_cleanup) char *made = output_time(baseline->made_at);
    _cleanup_(free_cleanup) char *ends = output_time(baseline->ends_at);
    _cleanup_(free_cleanup) char *open = open_text(baseline);
    output_title("%s, %s", baseline->name, baseline->kind);
    output_field("made", "%s", baseline->made_at > 0 ? made : "");
    output_field("until", "%s", baseline->ends_at > 0 ? ends : "");
    output_field("open", "%s", open);
    for (size_t i = 0; i < baseline->n_pcrs; i++) {
        const Admin__Pcr *pcr = baseline->pcrs[i];
        _cleanup_(free_cleanup) char *value =
            text_hex((struct bytes){pcr->value.data, pcr->value.len});
        output_field(i ? "" : "pcrs", "%s:%u=%s", pcr->bank, pcr->index, value);
    }
}

static void tell(const struct arguments *arguments, const Admin__Baseline *baseline)
{
    if (arguments->output == OUTPUT_JSON) {
        output_json(baseline_json(baseline), false);
    } else {
        print_baseline(baseline);
    }
}

/* record */

static int record(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__RecordBaselineRequest request = ADMIN__RECORD_BASELINE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.name = arguments->name;
    if (arguments->pcrs) {
        request.pcrs = arguments->pcrs;
    }
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/RecordBaseline", &request.base,
                        &admin__record_baseline_response__descriptor, &message, err));
    tell(arguments, ((const Admin__RecordBaselineResponse *)message)->baseline);
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

/* announce */

static int call_announce(const struct arguments *arguments, struct rpc_client *client,
                         const struct attest_pcrs *pcrs, struct error *err)
{
    uint32_t open[PCR_COUNT];
    Admin__AnnounceBaselineRequest request = ADMIN__ANNOUNCE_BASELINE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.name = arguments->name;
    request.pcrs = pcrs->items;
    request.n_pcrs = pcrs->count;
    request.open = open;
    for (uint32_t i = 0; i < PCR_COUNT; i++) {
        if (arguments->open_mask & (UINT32_C(1) << i)) {
            open[request.n_open++] = i;
        }
    }
    request.ttl = arguments->ttl_ms ? (uint32_t)(arguments->ttl_ms / 1000) : DEFAULT_TTL_S;
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/AnnounceBaseline", &request.base,
                        &admin__announce_baseline_response__descriptor, &message, err));
    tell(arguments, ((const Admin__AnnounceBaselineResponse *)message)->baseline);
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

static int announce(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(attest_pcrs_clear) struct attest_pcrs pcrs = {0};
    if (arguments->pcr_values.count == 0 && arguments->open_mask == 0 && !arguments->event_log) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "what the next boot may show is needed: --pcr, --open or --event-log");
    }
    if (arguments->pcrs && !arguments->event_log) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--pcrs says which values to take from the log of --event-log, which is "
                         "not given");
    }
    TRY(attest_pcrs_check(&arguments->pcr_values, arguments->pcrs, arguments->open_mask, err));
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    TRY(attest_pcrs_collect(arguments, client, &pcrs, err));
    return call_announce(arguments, client, &pcrs, err);
}

/* list */

static void add_row(struct output_table *table, const Admin__Baseline *baseline)
{
    _cleanup_(free_cleanup) char *made = output_time(baseline->made_at);
    _cleanup_(free_cleanup) char *ends = output_time(baseline->ends_at);
    _cleanup_(free_cleanup) char *open = open_text(baseline);
    _cleanup_(free_cleanup) char *pcrs = attest_pcrs_names(baseline->pcrs, baseline->n_pcrs);
    const char *const cells[] = {baseline->name,
                                 baseline->kind,
                                 pcrs[0] ? pcrs : "-",
                                 open[0] ? open : "-",
                                 baseline->made_at > 0 ? made : "-",
                                 baseline->ends_at > 0 ? ends : "removed"};
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
        output_table_add(table, cells[i]);
    }
}

static void print_baselines(const Admin__ListBaselinesResponse *response)
{
    static const char *const headings[] = {"NAME", "KIND", "PCRS", "OPEN", "MADE", "UNTIL"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    if (response->n_baselines == 0) {
        (void)puts("there are no baselines: no values of PCRs are accepted yet");
        return;
    }
    for (size_t i = 0; i < response->n_baselines; i++) {
        add_row(&table, response->baselines[i]);
    }
    output_table_print(&table);
}

static int list(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__ListBaselinesRequest request = ADMIN__LIST_BASELINES_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/ListBaselines", &request.base,
                        &admin__list_baselines_response__descriptor, &message, err));
    const Admin__ListBaselinesResponse *response = (const Admin__ListBaselinesResponse *)message;
    if (arguments->output == OUTPUT_JSON) {
        json_t *items = json_array();
        for (size_t i = 0; i < response->n_baselines; i++) {
            json_array_append_new(items, baseline_json(response->baselines[i]));
        }
        output_json(json_pack("{s:o}", "baselines", items), false);
    } else {
        print_baselines(response);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

/* remove */

static int remove_baseline(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__RemoveBaselineRequest request = ADMIN__REMOVE_BASELINE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.name = arguments->name;
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/RemoveBaseline", &request.base,
                        &admin__remove_baseline_response__descriptor, &message, err));
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:s}", "removed", arguments->name), false);
    } else {
        (void)printf("removed %s\n", arguments->name);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

#define NAME_OPTION                                                                                \
    {                                                                                              \
        "name", "NAME", "of the baseline: letters, digits, '.', '_' and '-'", option_set_text,     \
            offsetof(struct arguments, name), true                                                 \
    }

static const struct command_option record_options[] = {
    NAME_OPTION,
    {"pcrs", "SELECTION", "such as sha256:0,2,4,7; without it, as the node block has it",
     option_set_text, offsetof(struct arguments, pcrs), false},
};

const struct command command_baseline_record = {
    .name = "attest baseline record",
    .summary = "accept the PCR values of now from now on",
    .about = "Do this on a host that you know to be as it should be.",
    .example = "signet attest baseline record --name 2026-11",
    .options = record_options,
    .option_count = ARRAY_SIZE(record_options),
    .run = record,
};

static const struct command_option announce_options[] = {
    NAME_OPTION,
    {"pcr", "BANK:N=HEX", "a value that the next boot will show; may be repeated", option_set_list,
     offsetof(struct arguments, pcr_values), false},
    {"open", "N[,N]", "registers of which the next boot may show any value", attest_pcrs_set_open,
     offsetof(struct arguments, open_mask), false},
    {"event-log", "FILE", "take the values that this boot event log leads to", option_set_text,
     offsetof(struct arguments, event_log), false},
    {"pcrs", "SELECTION", "of --event-log; without it, those that the agent quotes",
     option_set_text, offsetof(struct arguments, pcrs), false},
    {"ttl", "TIME", "void when no boot has shown it by then (1d)", option_set_seconds,
     offsetof(struct arguments, ttl_ms), false},
};

const struct command command_baseline_announce = {
    .name = "attest baseline announce",
    .summary = "say before an update what the next boot will show",
    .about = "Registers that are not named are as in the baseline that holds now. Values of an\n"
             "open register are written down at the first boot that shows them.",
    .example = "signet attest baseline announce --name kernel-6.2 --open 4,8,9",
    .options = announce_options,
    .option_count = ARRAY_SIZE(announce_options),
    .run = announce,
};

const struct command command_baseline_list = {
    .name = "attest baseline list",
    .summary = "accepted PCR values: configured, recorded, announced",
    .example = "signet attest baseline list",
    .run = list,
};

static const struct command_option remove_options[] = {NAME_OPTION};

const struct command command_baseline_remove = {
    .name = "attest baseline remove",
    .summary = "do not accept these values any more",
    .about = "Those of the configuration are removed there.",
    .example = "signet attest baseline remove --name 2026-10",
    .options = remove_options,
    .option_count = ARRAY_SIZE(remove_options),
    .run = remove_baseline,
};
