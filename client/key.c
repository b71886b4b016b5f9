/* signet key list */
#include <jansson.h>
#include <stdio.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static void print_keys(const Admin__ListKeysResponse *response)
{
    static const char *const headings[] = {"SPIFFE ID", "PROTECTION", "KEYSTORE", "TYPE",
                                           "AGE",       "EXPIRES",    "USES",     "KEY ID"};
    struct output_table table = {.headings = headings, .columns = ARRAY_SIZE(headings)};
    if (response->n_keys == 0) {
        (void)puts("no keys in use");
        return;
    }
    for (size_t i = 0; i < response->n_keys; i++) {
        const Admin__Key *key = response->keys[i];
        int64_t age_s = clock_now_s() - key->created_at;
        _cleanup_(free_cleanup) char *age = output_span(MAX(age_s, 0));
        _cleanup_(free_cleanup) char *left = output_time_left(key->expires_at);
        _cleanup_(free_cleanup) char *uses = text_format("%llu", (unsigned long long)key->uses);
        const char *const cells[] = {
            key->spiffe_id,
            key->protection,
            key->keystore[0] ? key->keystore : "-",
            key->type[0] ? key->type : "-",
            age,
            left,
            uses,
            key->id,
        };
        for (size_t j = 0; j < ARRAY_SIZE(cells); j++) {
            output_table_add(&table, cells[j]);
        }
    }
    output_table_print(&table);
}

static void print_keys_json(const Admin__ListKeysResponse *response)
{
    json_t *items = json_array();
    for (size_t i = 0; i < response->n_keys; i++) {
        const Admin__Key *key = response->keys[i];
        _cleanup_(free_cleanup) char *created = output_time_json(key->created_at);
        _cleanup_(free_cleanup) char *expires = output_time_json(key->expires_at);
        json_array_append_new(
            items, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "id", key->id,
                             "spiffe_id", key->spiffe_id, "protection", key->protection, "keystore",
                             key->keystore, "type", key->type, "uses", (json_int_t)key->uses,
                             "created_at", created, "expires_at", expires, "serial", key->serial));
    }
    output_json(json_pack("{s:o}", "keys", items), false);
}

static int list_keys(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__ListKeysRequest request = ADMIN__LIST_KEYS_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/ListKeys", &request.base,
                        &admin__list_keys_response__descriptor, &response, err));
    if (arguments->output == OUTPUT_JSON) {
        print_keys_json((const Admin__ListKeysResponse *)response);
    } else {
        print_keys((const Admin__ListKeysResponse *)response);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

const struct command command_key_list = {
    .name = "key list",
    .summary = "keys in use: where they lie, their age and uses",
    .example = "signet key list",
    .run = list_keys,
};
