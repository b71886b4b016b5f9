/* The part of the admin API that lists and changes entries. */
#include "agent/api/admin.h"

#include <string.h>

#include "agent/api/context.h"
#include "agent/api/recorded.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

enum { PAGE_DEFAULT = 500, PAGE_MAX = 1000 };

static void fill_entry(Admin__Entry *message, const struct entry *entry)
{
    admin__entry__init(message);
    message->id = entry->id;
    message->spiffe_id = entry->spiffe_id;
    message->selectors = entry->selectors.items;
    message->n_selectors = entry->selectors.count;
    message->x509_svid_ttl = entry->x509_svid_ttl_s;
    message->jwt_svid_ttl = entry->jwt_svid_ttl_s;
    message->dns_names = entry->dns_names.items;
    message->n_dns_names = entry->dns_names.count;
    message->hint = entry->hint;
    message->created_at = entry->created_at_s;
    message->configured = entry->is_configured;
}

struct page {
    const char *after;
    size_t limit;
    struct entry *entries[PAGE_MAX];
    size_t count;
    bool has_more;
};

static void page_add(void *user, struct entry *entry)
{
    struct page *page = user;
    if (strcmp(entry->id, page->after) <= 0) {
        return;
    }
    if (page->count == page->limit) {
        page->has_more = true;
        return;
    }
    page->entries[page->count++] = entry;
}

void admin_list_entries(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Admin__ListEntriesRequest *wanted = (const Admin__ListEntriesRequest *)request;
    _cleanup_(free_cleanup) struct page *page = NEW(struct page);
    page->after = wanted->page_token;
    page->limit = wanted->page_size ? MIN(wanted->page_size, (uint32_t)PAGE_MAX) : PAGE_DEFAULT;
    manager_each_entry(api->config.manager, page_add, page);

    _cleanup_(free_cleanup) Admin__Entry *messages =
        memory_new_array(page->count, sizeof(*messages));
    _cleanup_(free_cleanup) Admin__Entry **pointers =
        memory_new_array(page->count, sizeof(Admin__Entry *));
    for (size_t i = 0; i < page->count; i++) {
        pointers[i] = &messages[i];
        fill_entry(pointers[i], page->entries[i]);
    }
    Admin__ListEntriesResponse response = ADMIN__LIST_ENTRIES_RESPONSE__INIT;
    response.entries = pointers;
    response.n_entries = page->count;
    if (page->has_more) {
        response.next_page_token = page->entries[page->count - 1]->id;
    }
    rpc_call_reply(call, &response.base);
}

/* A change of an entry that the issuer works on. */
struct change {
    struct api *api;
    struct account *account;
    struct rpc_call *call;        /* NULL once it has ended */
    struct audit_process process; /* who wants it */
};

static void change_closed(struct rpc_call *call, void *state)
{
    (void)call;
    ((struct change *)state)->call = NULL;
}

static struct change *change_begin(struct api *api, struct rpc_call *call)
{
    const struct caller *caller = rpc_call_peer(call);
    struct error error;
    if (account_work_begin(&api->accounts, caller->account, &error) < 0) {
        rpc_call_finish(call, &error);
        return NULL;
    }
    struct change *change = NEW(struct change);
    *change = (struct change){
        .api = api, .account = caller->account, .call = call, .process = recorded_process(caller)};
    rpc_call_on_closed(call, change_closed, change);
    return change;
}

/* done_text: what has happened, for an answer without a record. */
static void change_end(struct change *change, const struct error *failure,
                       const ProtobufCMessage *response, const char *done_text)
{
    struct api *api = change->api;
    struct account *account = change->account;
    if (change->call && failure) {
        rpc_call_finish(take_ptr(change->call), failure);
    } else if (change->call) {
        recorded_reply(api->config.audit, take_ptr(change->call), response, done_text);
    }
    free(change);
    account_work_end(&api->accounts, account);
}

static void record(const struct change *change, enum audit_action action, const struct entry *entry)
{
    _cleanup_(buffer_clear) struct buffer detail = {0};
    buffer_append_text(&detail, "selectors");
    for (size_t i = 0; i < entry->selectors.count; i++) {
        buffer_append_text(&detail, " ");
        buffer_append_text(&detail, entry->selectors.items[i]);
    }
    buffer_append_u8(&detail, 0);
    const struct audit_event event = {
        .action = action,
        .spiffe_id = entry->spiffe_id,
        .process = &change->process,
        .asked = action == AUDIT_ENTRY_SET ? "AddEntry" : "RemoveEntry",
        .decider = AUDIT_DECIDER_ADMIN,
        .decider_id = entry->id,
        .detail = (const char *)detail.data,
    };
    recorded_write(change->api->config.audit, &event);
}

static void entry_added(void *user, const struct entry *added, const struct error *failure)
{
    struct change *change = user;
    Admin__Entry entry;
    Admin__AddEntryResponse response = ADMIN__ADD_ENTRY_RESPONSE__INIT;
    if (!failure) {
        record(change, AUDIT_ENTRY_SET, added);
        fill_entry(&entry, added);
        response.entry = &entry;
    }
    change_end(change, failure, &response.base, "the entry is added");
}

static void entry_removed(void *user, const struct entry *removed, const struct error *failure)
{
    struct change *change = user;
    Admin__Entry entry;
    Admin__RemoveEntryResponse response = ADMIN__REMOVE_ENTRY_RESPONSE__INIT;
    if (!failure) {
        record(change, AUDIT_ENTRY_REMOVED, removed);
        fill_entry(&entry, removed);
        response.entry = &entry;
    }
    change_end(change, failure, &response.base, "the entry is removed, its identity has ended");
}

static struct entry *entry_of(const Admin__Entry *message)
{
    struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->id = memory_copy_text("");
    entry->spiffe_id = memory_copy_text(message->spiffe_id);
    entry->hint = memory_copy_text(message->hint);
    entry->x509_svid_ttl_s = message->x509_svid_ttl;
    entry->jwt_svid_ttl_s = message->jwt_svid_ttl;
    for (size_t i = 0; i < message->n_selectors; i++) {
        text_list_add(&entry->selectors, message->selectors[i]);
    }
    for (size_t i = 0; i < message->n_dns_names; i++) {
        text_list_add(&entry->dns_names, message->dns_names[i]);
    }
    return entry;
}

static int check_new_entry(const struct api *api, const Admin__Entry *wanted, struct entry *entry,
                           struct error *err)
{
    if (wanted->id[0] || wanted->created_at || wanted->configured) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "adding an entry: id, created_at and configured are the agent's to set");
    }
    if (entry_check(entry, api->config.trust_domain, err) < 0) {
        return error_prepend(err, "adding an entry");
    }
    return 0;
}

void admin_add_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct issuer *issuer = api->config.issuer;
    const Admin__Entry *wanted = ((const Admin__AddEntryRequest *)request)->entry;
    if (!issuer->operations->entry_add) {
        api_refuse(call, ERROR_FAILED_PRECONDITION,
                   "adding an entry: the issuer \"%s\" does not manage entries here",
                   issuer->operations->name);
        return;
    }
    if (!wanted) {
        api_refuse(call, ERROR_INVALID_ARGUMENT, "adding an entry: no entry is given");
        return;
    }
    _cleanup_(entry_unref_cleanup) struct entry *entry = entry_of(wanted);
    struct error error;
    if (check_new_entry(api, wanted, entry, &error) < 0 ||
        recorded_may_grant(api->config.audit, "adding an entry", &error) < 0) {
        rpc_call_finish(call, &error);
        return;
    }
    struct change *change = change_begin(api, call);
    if (change) {
        issuer->operations->entry_add(issuer, take_ptr(entry), entry_added, change);
    }
}

void admin_remove_entry(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    struct issuer *issuer = api->config.issuer;
    const char *id = ((const Admin__RemoveEntryRequest *)request)->id;
    if (!issuer->operations->entry_remove) {
        api_refuse(call, ERROR_FAILED_PRECONDITION,
                   "removing an entry: the issuer \"%s\" does not manage entries here",
                   issuer->operations->name);
        return;
    }
    if (!id[0] || strlen(id) > ENTRY_ID_MAX_BYTES) {
        api_refuse(call, ERROR_INVALID_ARGUMENT,
                   "removing an entry: an id of 1 to %d bytes is needed", ENTRY_ID_MAX_BYTES);
        return;
    }
    struct change *change = change_begin(api, call);
    if (change) {
        issuer->operations->entry_remove(issuer, id, entry_removed, change);
    }
}
