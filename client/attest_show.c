/* signet attest show */
#include <jansson.h>
#include <stdio.h>

#include "client/attest_report.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* What follows from the state, for people. */
static const char *effect_of(const Admin__GetAttestationResponse *state)
{
    if (state->use_denied) {
        return "nothing is issued, no key may be used";
    }
    if (state->issuing_denied) {
        return "nothing is issued; what is out may be used until it ends";
    }
    return state->attested ? "" : "rules with requires_attested deny; nothing else";
}

static void print_time(const char *label, int64_t seconds, bool is_to_come)
{
    _cleanup_(free_cleanup) char *time = output_time(seconds);
    int64_t distance_s = is_to_come ? seconds - clock_now_s() : clock_now_s() - seconds;
    _cleanup_(free_cleanup) char *span = output_span(MAX(distance_s, 0));
    if (seconds == 0) {
        output_field(label, "never");
    } else if (is_to_come) {
        output_field(label, "%s (in %s)", time, span);
    } else {
        output_field(label, "%s (%s ago)", time, span);
    }
}

static void print_state(const Admin__GetAttestationResponse *state)
{
    output_title("the node is %s", state->attested ? "attested" : "NOT ATTESTED");
    output_field("reason", "%s", state->reason);
    output_field("", "%s", state->text);
    output_field("effect", "%s", effect_of(state));
    output_field("on failure", "%s", state->on_failure);
    print_time("attested", state->attested_at, false);
    print_time("checked", state->checked_at, false);
    print_time("next", state->next_at, true);
    output_field("baseline", "%s", state->baseline);
    output_field("ek", "%s%s%s%s", state->ek_fingerprint, state->ek_kind[0] ? " (" : "",
                 state->ek_kind, state->ek_kind[0] ? ")" : "");
    output_field("ak", "%s", state->ak_fingerprint);
}

static json_t *time_json(int64_t seconds)
{
    _cleanup_(free_cleanup) char *text = output_time_json(seconds);
    return seconds > 0 ? json_string(text) : json_null();
}

static void print_json(const Admin__GetAttestationResponse *state,
                       const struct attest_report *report)
{
    json_t *object = json_pack(
        "{s:b, s:b, s:s, s:b, s:b, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:s}", "configured",
        (int)state->configured, "attested", (int)state->attested, "on_failure", state->on_failure,
        "issuing_denied", (int)state->issuing_denied, "use_denied", (int)state->use_denied,
        "reason", state->reason, "text", state->text, "attested_at", time_json(state->attested_at),
        "checked_at", time_json(state->checked_at), "next_at", time_json(state->next_at),
        "baseline", state->baseline, "ek_fingerprint", state->ek_fingerprint, "ek_kind",
        state->ek_kind, "ak_fingerprint", state->ak_fingerprint);
    attest_report_json(report, object);
    output_json(object, false);
}

static int judge_state(const Admin__GetAttestationResponse *state, struct error *err)
{
    if (!state->configured) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the node does not attest itself: its configuration has no node { } "
                         "block; see signetd.conf(5)");
    }
    if (!state->attested) {
        return error_set(err, ERROR_FAILED_PRECONDITION, "the node is not attested: %s: %s",
                         state->reason, state->text);
    }
    return 0;
}

static int show(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(attest_report_clear) struct attest_report report = {0};
    Admin__GetAttestationRequest request = ADMIN__GET_ATTESTATION_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.now = arguments->is_now;
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetAttestation", &request.base,
                        &admin__get_attestation_response__descriptor, &message, err));
    const Admin__GetAttestationResponse *state = (const Admin__GetAttestationResponse *)message;
    attest_report_of_agent(state, &report);
    if (arguments->output == OUTPUT_JSON) {
        print_json(state, &report);
    } else if (state->configured) {
        print_state(state);
        attest_report_print(&report, arguments->has_pcrs);
    }
    int result = judge_state(state, err);
    protobuf_c_message_free_unpacked(message, NULL);
    return result;
}

static const struct command_option show_options[] = {
    {"now", NULL, "attest first, and do not wait for the next time", option_set_flag,
     offsetof(struct arguments, is_now), false},
    {"pcrs", NULL, "also the registers as they were quoted", option_set_flag,
     offsetof(struct arguments, has_pcrs), false},
};

const struct command command_attest_show = {
    .name = "attest show",
    .summary = "whether this node is what was agreed on, claim by claim",
    .about = "Exit status 1 when it is not attested.",
    .example = "signet attest show --now",
    .options = show_options,
    .option_count = ARRAY_SIZE(show_options),
    .run = show,
};
