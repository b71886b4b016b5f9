/* signet svid fetch x509 */
#include <stdio.h>

#include "client/identity.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "client/svid_write.h"
#include "lib/base/memory.h"

enum { DEFAULT_TIMEOUT_MS = 5000 };

static int fetch_first(const struct arguments *arguments, const struct identity_source *source,
                       ProtobufCMessage **ret_response, struct error *err)
{
    uint64_t timeout_ms = arguments->timeout_ms ? arguments->timeout_ms : DEFAULT_TIMEOUT_MS;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    TRY(sockets_connect_workload(arguments, timeout_ms, &client, err));
    TRY(rpc_client_stream(client, source->method, source->request, err));
    int got = rpc_client_next(client, source->response, ret_response, err);
    if (got == 0) {
        return error_set(err, ERROR_UNAVAILABLE, "%s: the agent ended the stream without an answer",
                         source->method);
    }
    return got < 0 ? -1 : 0;
}

/* Having no identity of one kind is no failure where there is one of the other. */
static int fetch_all(const struct arguments *arguments,
                     ProtobufCMessage *ret_responses[IDENTITY_SOURCES], struct identity_list *list,
                     struct error *err)
{
    struct error failures[IDENTITY_SOURCES];
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        const struct identity_source *source = &identity_sources[i];
        if (fetch_first(arguments, source, &ret_responses[i], &failures[i]) == 0) {
            source->append(ret_responses[i], list);
        } else if (!identity_is_none(&failures[i])) {
            *err = failures[i];
            return -1;
        }
    }
    if (list->count == 0) {
        *err = failures[0];
        return -1;
    }
    return 0;
}

static int print_fetched(const struct arguments *arguments, const struct identity_list *list,
                         struct error *err)
{
    json_t *items = NULL;
    if (arguments->folder) {
        TRY(svid_write(arguments->folder, list, err));
    }
    if (arguments->output == OUTPUT_TEXT) {
        TRY(identity_list_print(list, err));
        if (arguments->folder) {
            (void)printf("\nwritten to %s\n", arguments->folder);
        }
        return 0;
    }
    TRY(identity_list_json(list, &items, err));
    output_json(json_pack("{s:o}", "svids", items), false);
    return 0;
}

static int fetch_x509(const struct arguments *arguments, struct error *err)
{
    ProtobufCMessage *responses[IDENTITY_SOURCES] = {NULL};
    _cleanup_(identity_list_clear) struct identity_list list = {0};
    int result = fetch_all(arguments, responses, &list, err);
    if (result == 0) {
        result = print_fetched(arguments, &list, err);
    }
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        identity_response_free(responses[i]);
    }
    return result;
}

static const struct command_option fetch_options[] = {
    {"write", "DIR", "also write svid.N.pem, bundle.N.pem and svid.N.key or svid.N.uri",
     option_set_text, offsetof(struct arguments, folder), false},
    {"timeout", "TIME", "how long to wait for the agent (5s)", option_set_duration,
     offsetof(struct arguments, timeout_ms), false},
};

const struct command command_svid_fetch_x509 = {
    .name = "svid fetch x509",
    .summary = "this process's X.509-SVIDs",
    .about =
        "Shows identities whose key is delivered to this process, and those whose key stays in\n"
        "hardware with the PKCS#11 URI to use it by.",
    .example = "signet svid fetch x509 --write /run/myapp",
    .options = fetch_options,
    .option_count = ARRAY_SIZE(fetch_options),
    .run = fetch_x509,
};
