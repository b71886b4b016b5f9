/* signet svid fetch jwt, signet svid validate */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/struct_json.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

enum { DEFAULT_TIMEOUT_MS = 5000, TOKEN_MAX_BYTES = 65536 };

static uint64_t timeout_of(const struct arguments *arguments)
{
    return arguments->timeout_ms ? arguments->timeout_ms : DEFAULT_TIMEOUT_MS;
}

/* svid fetch jwt */

static void print_tokens(const Workload__JWTSVIDResponse *response)
{
    for (size_t i = 0; i < response->n_svids; i++) {
        const Workload__JWTSVID *svid = response->svids[i];
        output_title("%s", svid->spiffe_id);
        output_field("hint", "%s", svid->hint);
        output_field("token", "%s", svid->svid);
    }
}

static void print_tokens_json(const Workload__JWTSVIDResponse *response)
{
    json_t *items = json_array();
    for (size_t i = 0; i < response->n_svids; i++) {
        const Workload__JWTSVID *svid = response->svids[i];
        json_array_append_new(items, json_pack("{s:s, s:s, s:s}", "spiffe_id", svid->spiffe_id,
                                               "token", svid->svid, "hint", svid->hint));
    }
    output_json(json_pack("{s:o}", "svids", items), false);
}

static int fetch_jwt(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Workload__JWTSVIDRequest request = WORKLOAD__JWTSVIDREQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.audience = arguments->audience.items;
    request.n_audience = arguments->audience.count;
    if (arguments->spiffe_id) {
        request.spiffe_id = arguments->spiffe_id;
    }
    TRY(sockets_connect_workload(arguments, timeout_of(arguments), &client, err));
    TRY(rpc_client_call(client, "/SpiffeWorkloadAPI/FetchJWTSVID", &request.base,
                        &workload__jwtsvidresponse__descriptor, &response, err));
    if (arguments->output == OUTPUT_JSON) {
        print_tokens_json((const Workload__JWTSVIDResponse *)response);
    } else {
        print_tokens((const Workload__JWTSVIDResponse *)response);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

/* svid validate */

static void trim_end(struct buffer *text)
{
    while (text->size > 0 && strchr("\r\n \t", text->data[text->size - 1])) {
        text->size--;
    }
    buffer_append_u8(text, 0);
}

/* The option itself, "-" for standard input, "@FILE" for a file: others can see what is on a
 * command line. */
static int read_token(const char *option, struct buffer *ret_token, struct error *err)
{
    if (strcmp(option, "-") == 0) {
        TRY(buffer_read_descriptor(fileno(stdin), "standard input", TOKEN_MAX_BYTES, ret_token,
                                   err));
    } else if (option[0] == '@') {
        TRY(buffer_read_file(option + 1, TOKEN_MAX_BYTES, ret_token, err));
    } else {
        buffer_append_text(ret_token, option);
    }
    trim_end(ret_token);
    return 0;
}

static int print_judgement(const Workload__ValidateJWTSVIDResponse *response,
                           enum output_format output, struct error *err)
{
    json_t *claims = NULL;
    TRY(struct_json(response->claims, &claims, err));
    if (output == OUTPUT_JSON) {
        output_json(json_pack("{s:b, s:s, s:o}", "valid", 1, "spiffe_id", response->spiffe_id,
                              "claims", claims),
                    false);
        return 0;
    }
    output_title("%s", response->spiffe_id);
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(claims, name, value)
    {
        _cleanup_(free_cleanup) char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        output_field(name, "%s", text ? text : "");
    }
    json_decref(claims);
    return 0;
}

static int validate(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    _cleanup_(buffer_clear) struct buffer token = {0};
    Workload__ValidateJWTSVIDRequest request = WORKLOAD__VALIDATE_JWTSVIDREQUEST__INIT;
    ProtobufCMessage *response = NULL;
    if (arguments->audience.count != 1) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "--audience: a token is validated for one audience, not for %zu",
                         arguments->audience.count);
    }
    TRY(read_token(arguments->token, &token, err));
    request.audience = arguments->audience.items[0];
    request.svid = (char *)token.data;
    TRY(sockets_connect_workload(arguments, timeout_of(arguments), &client, err));
    if (rpc_client_call(client, "/SpiffeWorkloadAPI/ValidateJWTSVID", &request.base,
                        &workload__validate_jwtsvidresponse__descriptor, &response, err) < 0) {
        /* What is wrong is the token, not the command line. */
        if (err->code == ERROR_INVALID_ARGUMENT) {
            err->code = ERROR_FAILED_PRECONDITION;
            (void)error_prepend(err, "the token is not valid");
        }
        return -1;
    }
    int result = print_judgement((const Workload__ValidateJWTSVIDResponse *)response,
                                 arguments->output, err);
    protobuf_c_message_free_unpacked(response, NULL);
    return result;
}

static const struct command_option fetch_options[] = {
    {"audience", "A[,B]", "who is to accept the token; may be repeated", option_set_comma_list,
     offsetof(struct arguments, audience), true},
    {"spiffe-id", "ID", "only for this identity of the process", option_set_text,
     offsetof(struct arguments, spiffe_id), false},
    {"timeout", "TIME", "how long to wait for the agent (5s)", option_set_duration,
     offsetof(struct arguments, timeout_ms), false},
};

const struct command command_svid_fetch_jwt = {
    .name = "svid fetch jwt",
    .summary = "this process's JWT-SVIDs for an audience",
    .example = "signet svid fetch jwt --audience spiffe://example.org/db",
    .options = fetch_options,
    .option_count = ARRAY_SIZE(fetch_options),
    .run = fetch_jwt,
};

static const struct command_option validate_options[] = {
    {"audience", "A", "the audience that the token must be for", option_set_list,
     offsetof(struct arguments, audience), true},
    {"token", "T", "the token; - reads it from standard input, @FILE from a file", option_set_text,
     offsetof(struct arguments, token), true},
    {"timeout", "TIME", "how long to wait for the agent (5s)", option_set_duration,
     offsetof(struct arguments, timeout_ms), false},
};

const struct command command_svid_validate = {
    .name = "svid validate",
    .summary = "judge a JWT-SVID and show its claims",
    .about = "Other users can see a token that stands on the command line; - and @FILE avoid that.",
    .example = "signet svid validate --audience spiffe://example.org/db --token @token.jwt",
    .options = validate_options,
    .option_count = ARRAY_SIZE(validate_options),
    .run = validate,
};
