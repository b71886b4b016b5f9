/* signet entry list, add, remove */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

static void print_list_field(const char *label, char *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        output_field(i ? "" : label, "%s", items[i]);
    }
}

static void print_ttl(const char *label, uint32_t ttl_s)
{
    if (ttl_s > 0) {
        _cleanup_(free_cleanup) char *span = output_span(ttl_s);
        output_field(label, "%s", span);
    }
}

static void print_entry(const Admin__Entry *entry)
{
    _cleanup_(free_cleanup) char *created = output_time(entry->created_at);
    output_title("%s", entry->spiffe_id);
    output_field("id", "%s", entry->id);
    print_list_field("selectors", entry->selectors, entry->n_selectors);
    print_list_field("dns names", entry->dns_names, entry->n_dns_names);
    print_ttl("x509 ttl", entry->x509_svid_ttl);
    print_ttl("jwt ttl", entry->jwt_svid_ttl);
    output_field("hint", "%s", entry->hint);
    output_field("from", "%s", entry->configured ? "configuration" : "signet entry add");
    output_field("created", "%s", created);
}

static json_t *texts_json(char *const *items, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(items[i]));
    }
    return list;
}

static json_t *entry_json(const Admin__Entry *entry)
{
    _cleanup_(free_cleanup) char *created = output_time_json(entry->created_at);
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:I, s:I, s:s, s:b, s:s}", "id", entry->id, "spiffe_id",
        entry->spiffe_id, "selectors", texts_json(entry->selectors, entry->n_selectors),
        "dns_names", texts_json(entry->dns_names, entry->n_dns_names), "x509_svid_ttl_s",
        (json_int_t)entry->x509_svid_ttl, "jwt_svid_ttl_s", (json_int_t)entry->jwt_svid_ttl, "hint",
        entry->hint, "configured", (int)entry->configured, "created_at", created);
}

/* One entry that was added or removed. */
static void show_change(const struct arguments *arguments, const char *what,
                        const Admin__Entry *entry)
{
    if (arguments->output == OUTPUT_JSON) {
        output_json(entry_json(entry), false);
        return;
    }
    (void)printf("%s\n", what);
    print_entry(entry);
}

/* entry list */

/* Prints or appends a page and tells where the next one begins. */
static char *take_page(const Admin__ListEntriesResponse *page, size_t *count, json_t *document)
{
    for (size_t i = 0; i < page->n_entries; i++) {
        if (document) {
            json_array_append_new(document, entry_json(page->entries[i]));
            continue;
        }
        if ((*count)++ > 0) {
            (void)putchar('\n');
        }
        print_entry(page->entries[i]);
    }
    return memory_copy_text(page->next_page_token);
}

static int list_pages(struct rpc_client *client, json_t *document, struct error *err)
{
    _cleanup_(free_cleanup) char *token = memory_copy_text("");
    size_t count = 0;
    do {
        Admin__ListEntriesRequest request = ADMIN__LIST_ENTRIES_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        request.page_token = token;
        TRY(rpc_client_call(client, "/signet.admin.v1.Admin/ListEntries", &request.base,
                            &admin__list_entries_response__descriptor, &response, err));
        free(token);
        token = take_page((const Admin__ListEntriesResponse *)response, &count, document);
        protobuf_c_message_free_unpacked(response, NULL);
    } while (token[0]);
    if (!document && count == 0) {
        (void)puts("no entries");
    }
    return 0;
}

static int list_entries(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    TRY(sockets_connect_admin(arguments, &client, err));
    if (arguments->output == OUTPUT_TEXT) {
        return list_pages(client, NULL, err);
    }
    json_t *document = json_array();
    if (list_pages(client, document, err) < 0) {
        json_decref(document);
        return -1;
    }
    output_json(json_pack("{s:o}", "entries", document), false);
    return 0;
}

/* entry add */

static int ttl_of(uint64_t ttl_ms, const char *name, uint32_t *ret_ttl_s, struct error *err)
{
    if (ttl_ms % 1000 != 0 || ttl_ms / 1000 > UINT32_MAX) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "--%s: whole seconds are expected", name);
    }
    *ret_ttl_s = (uint32_t)(ttl_ms / 1000);
    return 0;
}

static int add_entry(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__Entry entry = ADMIN__ENTRY__INIT;
    Admin__AddEntryRequest request = ADMIN__ADD_ENTRY_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.entry = &entry;
    entry.spiffe_id = arguments->spiffe_id;
    entry.selectors = arguments->selectors.items;
    entry.n_selectors = arguments->selectors.count;
    entry.dns_names = arguments->dns_names.items;
    entry.n_dns_names = arguments->dns_names.count;
    if (arguments->hint) {
        entry.hint = arguments->hint;
    }
    TRY(ttl_of(arguments->x509_svid_ttl_ms, "x509-svid-ttl", &entry.x509_svid_ttl, err));
    TRY(ttl_of(arguments->jwt_svid_ttl_ms, "jwt-svid-ttl", &entry.jwt_svid_ttl, err));
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/AddEntry", &request.base,
                        &admin__add_entry_response__descriptor, &response, err));
    show_change(arguments, "added", ((const Admin__AddEntryResponse *)response)->entry);
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

/* entry remove */

static int remove_entry(const struct arguments *arguments, struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    Admin__RemoveEntryRequest request = ADMIN__REMOVE_ENTRY_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.id = arguments->id;
    TRY(sockets_connect_admin(arguments, &client, err));
    TRY(rpc_client_call(client, "/signet.admin.v1.Admin/RemoveEntry", &request.base,
                        &admin__remove_entry_response__descriptor, &response, err));
    show_change(arguments, "removed", ((const Admin__RemoveEntryResponse *)response)->entry);
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

const struct command command_entry_list = {
    .name = "entry list",
    .summary = "which selectors get which SPIFFE ID",
    .example = "signet entry list --output json",
    .run = list_entries,
};

static const struct command_option add_options[] = {
    {"spiffe-id", "ID", "the SPIFFE ID that is given", option_set_text,
     offsetof(struct arguments, spiffe_id), true},
    {"selector", "TYPE:VALUE", "what the process must be; repeat for more, all must hold",
     option_set_list, offsetof(struct arguments, selectors), true},
    {"x509-svid-ttl", "TIME", "life of an X.509-SVID, such as 1h", option_set_duration,
     offsetof(struct arguments, x509_svid_ttl_ms), false},
    {"jwt-svid-ttl", "TIME", "life of a JWT-SVID, such as 5m", option_set_duration,
     offsetof(struct arguments, jwt_svid_ttl_ms), false},
    {"dns", "NAME", "a DNS name in the certificate; may be repeated", option_set_list,
     offsetof(struct arguments, dns_names), false},
    {"hint", "TEXT", "tells the workload which of its identities this is", option_set_text,
     offsetof(struct arguments, hint), false},
};

const struct command command_entry_add = {
    .name = "entry add",
    .summary = "give a SPIFFE ID to processes with the selectors",
    .about =
        "Selectors: unix:uid, user, gid, group, supplementary_gid, supplementary_group, path and\n"
        "sha256, each with a value.",
    .example =
        "signet entry add --spiffe-id spiffe://example.org/web --selector unix:user:www-data",
    .options = add_options,
    .option_count = ARRAY_SIZE(add_options),
    .run = add_entry,
};

static const struct command_option remove_options[] = {
    {"id", "ID", "of the entry, as entry list shows it", option_set_text,
     offsetof(struct arguments, id), true},
};

const struct command command_entry_remove = {
    .name = "entry remove",
    .summary = "take an entry back; its identity ends at once",
    .example = "signet entry remove --id 6f1c",
    .options = remove_options,
    .option_count = ARRAY_SIZE(remove_options),
    .run = remove_entry,
};
