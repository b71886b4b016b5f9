/* signet health */
#include <jansson.h>
#include <stdio.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static void print_health(const Admin__GetHealthResponse *response)
{
    static const char *const headings[] = {"PART", "STATE", "DETAIL"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    output_title("signetd %s is %s", response->version, response->ready ? "ready" : "NOT READY");
    (void)putchar('\n');
    for (size_t i = 0; i < response->n_parts; i++) {
        output_table_add(&table, response->parts[i]->name);
        output_table_add(&table, response->parts[i]->ready ? "ready" : "NOT READY");
        output_table_add(&table, response->parts[i]->detail);
    }
    output_table_print(&table);
}

static void print_health_json(const Admin__GetHealthResponse *response)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < response->n_parts; i++) {
        const Admin__Part *part = response->parts[i];
        json_array_append_new(parts, json_pack("{s:s, s:b, s:s}", "name", part->name, "ready",
                                               (int)part->ready, "detail", part->detail));
    }
    output_json(json_pack("{s:b, s:s, s:o}", "ready", (int)response->ready, "version",
                          response->version, "parts", parts),
                false);
}

/* The first part that is not ready, for the error. */
static const Admin__Part *first_unready(const Admin__GetHealthResponse *response)
{
    for (size_t i = 0; i < response->n_parts; i++) {
        if (!response->parts[i]->ready) {
            return response->parts[i];
        }
    }
    return NULL;
}

static int judge(const Admin__GetHealthResponse *response, struct error *err)
{
    const Admin__Part *part = first_unready(response);
    if (response->ready) {
        return 0;
    }
    return error_set(err, ERROR_UNAVAILABLE, "the agent is not ready: %s: %s",
                     part ? part->name : "agent", part ? part->detail : "no reason given");
}

static int show_health(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__GetHealthRequest request = ADMIN__GET_HEALTH_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/GetHealth", &request.base,
                        &admin__get_health_response__descriptor, &response, err));
    const Admin__GetHealthResponse *health = (const Admin__GetHealthResponse *)response;
    if (arguments->output == OUTPUT_JSON) {
        print_health_json(health);
    } else {
        print_health(health);
    }
    int result = judge(health, err);
    protobuf_c_message_free_unpacked(response, NULL);
    return result;
}

const struct command command_health = {
    .name = "health",
    .summary = "whether the agent is live and ready, part by part",
    .about = "Exit status 1 when it does not answer or is not ready.",
    .example = "signet health",
    .run = show_health,
};
