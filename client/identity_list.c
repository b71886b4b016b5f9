/* signet identity list */
#include "client/identity_list.h"

#include <jansson.h>
#include <stdio.h>

#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { DAY_S = 86400, MEAN_DAYS = 7 };

bool identity_is_unused(const Admin__Identity *identity, int64_t unused_s, int64_t now_s)
{
    int64_t since_s = now_s - unused_s;
    return identity->has_entry && identity->known_since <= since_s &&
           identity->last_used <= since_s && identity->last_fetched <= since_s;
}

uint64_t identity_uses_a_day_tenths(const Admin__Identity *identity, int64_t now_s)
{
    uint64_t uses = 0;
    int64_t known_days = now_s / DAY_S - identity->known_since / DAY_S + 1;
    int64_t days = MIN(MAX(known_days, 1), MEAN_DAYS);
    for (size_t i = 0; i < MIN(identity->n_used_days, (size_t)days); i++) {
        uses += identity->used_days[i];
    }
    return uses * 10 / (uint64_t)days;
}

static char *ago(int64_t at_s, int64_t now_s)
{
    if (at_s == 0) {
        return memory_copy_text("never");
    }
    _cleanup_(free_cleanup) char *span = output_span(MAX(now_s - at_s, 0));
    return text_format("%s ago", span);
}

static void add_row(struct output_table *table, const Admin__Identity *identity, int64_t now_s)
{
    uint64_t tenths = identity_uses_a_day_tenths(identity, now_s);
    _cleanup_(free_cleanup) char *holders = text_format("%u", identity->holders);
    _cleanup_(free_cleanup) char *issued = ago(identity->last_issued, now_s);
    _cleanup_(free_cleanup) char *fetched = ago(identity->last_fetched, now_s);
    _cleanup_(free_cleanup) char *used = ago(identity->last_used, now_s);
    _cleanup_(free_cleanup) char *uses =
        text_format("%llu.%llu", (unsigned long long)tenths / 10, (unsigned long long)tenths % 10);
    const char *key = identity->protection[0] ? identity->protection : "-";
    const char *const cells[] = {identity->spiffe_id,
                                 identity->has_entry ? key : "no entry",
                                 holders,
                                 issued,
                                 fetched,
                                 used,
                                 uses,
                                 identity->lock[0] ? identity->lock : "-"};
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
        output_table_add(table, cells[i]);
    }
}

static json_t *time_json(int64_t at_s)
{
    _cleanup_(free_cleanup) char *text = output_time_json(at_s);
    return at_s > 0 ? json_string(text) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *identity_json(const Admin__Identity *identity, int64_t now_s)
{
    json_t *days = json_array();
    for (size_t i = 0; i < identity->n_used_days; i++) {
        json_array_append_new(days, json_integer((json_int_t)identity->used_days[i]));
    }
    return json_pack(
        "{s:s, s:b, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:o, s:o}",
        "spiffe_id", identity->spiffe_id, "has_entry", (int)identity->has_entry, "protection",
        text_or_null(identity->protection), "holders", (json_int_t)identity->holders, "known_since",
        time_json(identity->known_since), "last_issued", time_json(identity->last_issued),
        "last_fetched", time_json(identity->last_fetched), "last_used",
        time_json(identity->last_used), "last_denied", time_json(identity->last_denied), "issued",
        (json_int_t)identity->issued, "fetched", (json_int_t)identity->fetched, "used",
        (json_int_t)identity->used, "denied", (json_int_t)identity->denied, "uses_a_day",
        (double)identity_uses_a_day_tenths(identity, now_s) / 10, "used_days", days, "lock",
        text_or_null(identity->lock));
}

struct list {
    const struct arguments *arguments;
    int64_t now_s;
    struct output_table table;
    json_t *items;
};

/* Takes what is wanted of a page and tells where the next one begins. */
static char *take_page(struct list *list, const Admin__ListIdentitiesResponse *page)
{
    int64_t unused_s = (int64_t)(list->arguments->unused_ms / 1000);
    for (size_t i = 0; i < page->n_identities; i++) {
        const Admin__Identity *identity = page->identities[i];
        if (unused_s > 0 && !identity_is_unused(identity, unused_s, list->now_s)) {
            continue;
        }
        if (list->items) {
            json_array_append_new(list->items, identity_json(identity, list->now_s));
        } else {
            add_row(&list->table, identity, list->now_s);
        }
    }
    return memory_copy_text(page->next_page_token);
}

static int take_pages(struct list *list, struct rpc_client *client, struct error *err)
{
    _cleanup_(free_cleanup) char *token = memory_copy_text("");
    do {
        Admin__ListIdentitiesRequest request = ADMIN__LIST_IDENTITIES_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        request.page_token = token;
        TRY(rpc_client_call(client, "/signet.admin.v1.Admin/ListIdentities", &request.base,
                            &admin__list_identities_response__descriptor, &response, err));
        free(token);
        token = take_page(list, (const Admin__ListIdentitiesResponse *)response);
        protobuf_c_message_free_unpacked(response, NULL);
    } while (token[0]);
    return 0;
}

static void print_list(struct list *list)
{
    if (list->items) {
        output_json(json_pack("{s:o}", "identities", json_incref(list->items)), false);
    } else if (list->table.cell_count == 0) {
        (void)puts(list->arguments->unused_ms > 0 ? "every identity is in use, or not known for "
                                                    "that long"
                                                  : "no identities");
    } else {
        output_table_print(&list->table);
    }
}

static int list_identities(const struct arguments *arguments, struct error *err)
{
    static const char *const headings[] = {"SPIFFE ID",    "KEY",       "HOLDERS",    "LAST ISSUED",
                                           "LAST FETCHED", "LAST USED", "USES A DAY", "LOCK"};
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    struct list list = {
        .arguments = arguments,
        .now_s = clock_now_s(),
        .table = {.headings = headings, .columns = ARRAY_SIZE(headings)},
        .items = arguments->output == OUTPUT_JSON ? json_array() : NULL,
    };
    int result = sockets_connect_admin(arguments, &client, err);
    if (result == 0) {
        result = take_pages(&list, client, err);
    }
    if (result == 0) {
        print_list(&list);
    }
    json_decref(list.items);
    return result;
}

static int set_unused(void *field, const char *text, struct error *err)
{
    TRY(option_set_duration(field, text, err));
    if (*(uint64_t *)field < 1000) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%s\" is less than a second", text);
    }
    return 0;
}

static const struct command_option options[] = {
    {"unused", "TIME", "only those that nobody used or fetched for so long, such as 30d",
     set_unused, offsetof(struct arguments, unused_ms), false},
};

const struct command command_identity_list = {
    .name = "identity list",
    .summary = "the identities of this host and what they are used for",
    .about =
        "With --unused, those that an entry gives, that are known for that long, and that could\n"
        "be taken away. Uses are signatures; a day is the mean of the last seven.",
    .example = "signet identity list --unused 30d",
    .options = options,
    .option_count = ARRAY_SIZE(options),
    .run = list_identities,
};
