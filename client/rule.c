/* signet rule test */
#include <jansson.h>
#include <stdio.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static void print_steps(const Admin__TestRuleResponse *response)
{
    static const char *const headings[] = {"ALLOWED", "BY", "WHY"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    for (size_t i = 0; i < response->n_steps; i++) {
        const Admin__TestStep *step = response->steps[i];
        output_table_add(&table, step->allows ? "yes" : "no");
        output_table_add(&table, step->what);
        output_table_add(&table, step->text);
    }
    output_table_print(&table);
    (void)printf("\n%s\n", response->allowed ? "allowed" : "denied");
}

static void print_steps_json(const Admin__TestRuleResponse *response)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < response->n_steps; i++) {
        const Admin__TestStep *step = response->steps[i];
        json_array_append_new(steps, json_pack("{s:s, s:b, s:s}", "by", step->what, "allows",
                                               (int)step->allows, "why", step->text));
    }
    output_json(json_pack("{s:b, s:s, s:s, s:s, s:s, s:o}", "allowed", (int)response->allowed,
                          "rule", response->rule, "protection", response->protection, "keystore",
                          response->keystore, "key_type", response->key_type, "steps", steps),
                false);
}

static int refuse(const Admin__TestRuleResponse *response, struct error *err)
{
    for (size_t i = 0; i < response->n_steps; i++) {
        if (!response->steps[i]->allows) {
            return error_set(err, ERROR_PERMISSION_DENIED, "denied (%s): %s",
                             response->steps[i]->what, response->steps[i]->text);
        }
    }
    return error_set(err, ERROR_PERMISSION_DENIED, "denied");
}

static int test_rule(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__TestRuleRequest request = ADMIN__TEST_RULE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.spiffe_id = arguments->spiffe_id;
    request.pid = (uint32_t)arguments->pid;
    request.audience = arguments->audience.items;
    request.n_audience = arguments->audience.count;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/TestRule", &request.base,
                        &admin__test_rule_response__descriptor, &message, err));
    const Admin__TestRuleResponse *response = (const Admin__TestRuleResponse *)message;
    if (arguments->output == OUTPUT_JSON) {
        print_steps_json(response);
    } else {
        print_steps(response);
    }
    int result = response->allowed ? 0 : refuse(response, err);
    protobuf_c_message_free_unpacked(message, NULL);
    return result;
}

static const struct command_option options[] = {
    {"spiffe-id", "ID", "the identity in question", option_set_text,
     offsetof(struct arguments, spiffe_id), true},
    {"pid", "N", "in the hands of this process", option_set_pid, offsetof(struct arguments, pid),
     false},
    {"audience", "NAME", "of a JWT-SVID; may be repeated", option_set_comma_list,
     offsetof(struct arguments, audience), false},
};

const struct command command_rule_test = {
    .name = "rule test",
    .summary = "what would be decided for an identity, and why",
    .about =
        "Entries, locks, rules and the outside policy are asked as for a workload; nothing is\n"
        "issued, and nothing taken from what a rule limits by rate. Exit status 3: denied.",
    .example = "signet rule test --spiffe-id spiffe://example.org/web --pid 4242",
    .options = options,
    .option_count = ARRAY_SIZE(options),
    .run = test_rule,
};
