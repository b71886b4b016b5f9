/* signet reload */
#include <jansson.h>
#include <stdio.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "proto/admin.pb-c.h"

static void print_reloaded(const Admin__ReloadResponse *response)
{
    output_title("configuration reloaded");
    output_field("entries", "%u", response->entries);
    output_field("rules", "%u", response->rules);
    output_field("needs restart", "%s", response->restart_keys);
}

static int reload(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__ReloadRequest request = ADMIN__RELOAD_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    TRY(sockets_connect_admin_patiently(arguments, &client, err));
    if (rpc_client_call(client, "/signet.admin.v1.Admin/Reload", &request.base,
                        &admin__reload_response__descriptor, &message, err) < 0) {
        /* What is wrong is the configuration, not the command line. */
        err->code = err->code == ERROR_INVALID_ARGUMENT ? ERROR_FAILED_PRECONDITION : err->code;
        return error_prepend(err, "nothing has changed");
    }
    const Admin__ReloadResponse *response = (const Admin__ReloadResponse *)message;
    if (arguments->output == OUTPUT_JSON) {
        output_json(json_pack("{s:I, s:I, s:s}", "entries", (json_int_t)response->entries, "rules",
                              (json_int_t)response->rules, "needs_restart", response->restart_keys),
                    false);
    } else {
        print_reloaded(response);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

const struct command command_reload = {
    .name = "reload",
    .summary = "have the agent read its configuration again, all or nothing",
    .about =
        "Entries, rules and the log level take effect at once; other keys need a restart, and\n"
        "are named.",
    .example = "signet reload",
    .run = reload,
};
