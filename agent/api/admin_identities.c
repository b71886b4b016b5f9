/* The part of the admin API that lists the identities of this host and what became of them. */
#include "agent/api/admin.h"

#include <string.h>

#include <uthash.h>

#include "agent/access/access.h"
#include "agent/api/context.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"

enum { PAGE_DEFAULT = 500, PAGE_MAX = 1000 };

/* What entries and SVIDs say of a SPIFFE ID now. */
struct present {
    const char *spiffe_id;
    enum key_protection protection;
    bool has_entry, has_svid;
    uint32_t holders;
    UT_hash_handle hh;
};

struct listing {
    struct api *api;
    const char *after;
    size_t limit;
    struct present *present;
    Admin__Identity *items;
    char **locks; /* texts of the items */
    size_t count;
    bool has_more;
};

/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macros */
static struct present *present_of(struct listing *listing, const char *spiffe_id)
{
    struct present *present = NULL;
    HASH_FIND_STR(listing->present, spiffe_id, present);
    if (!present) {
        present = NEW(struct present);
        present->spiffe_id = spiffe_id;
        HASH_ADD_KEYPTR(hh, listing->present, spiffe_id, strlen(spiffe_id), present);
    }
    return present;
}

static void note_entry(void *user, struct entry *entry)
{
    present_of(user, entry->spiffe_id)->has_entry = true;
}

static void note_svid(void *user, struct svid_x509 *svid)
{
    struct present *present = present_of(user, svid->entry->spiffe_id);
    present->has_svid = true;
    present->protection = svid->protection;
}

static void note_held(void *user, const char *spiffe_id)
{
    present_of(user, spiffe_id)->holders++;
}

static char *lock_text(const struct api *api, const char *spiffe_id)
{
    const struct lock *lock = locks_find(policy_locks(api->config.policy), spiffe_id, NULL);
    return lock ? text_format("%s: %s", lock->id, lock->reason) : memory_copy_text("");
}

static void fill_identity(Admin__Identity *item, const struct usage_row *row)
{
    admin__identity__init(item);
    item->spiffe_id = (char *)row->spiffe_id;
    item->known_since = row->known_since_s;
    item->last_issued = row->last_issued_s;
    item->last_used = row->last_used_s;
    item->last_fetched = row->last_fetched_s;
    item->last_denied = row->last_denied_s;
    item->issued = row->issued;
    item->used = row->used;
    item->fetched = row->fetched;
    item->denied = row->denied;
    item->used_days = memory_new_array(USAGE_DAYS, sizeof(*item->used_days));
    memcpy(item->used_days, row->used_days, sizeof(row->used_days));
    item->n_used_days = USAGE_DAYS;
}

static void add_row(void *user, const struct usage_row *row)
{
    struct listing *listing = user;
    struct present *present = NULL;
    if (strcmp(row->spiffe_id, listing->after) <= 0 || listing->has_more) {
        return;
    }
    if (listing->count == listing->limit) {
        listing->has_more = true;
        return;
    }
    HASH_FIND_STR(listing->present, row->spiffe_id, present);
    Admin__Identity *item = &listing->items[listing->count];
    fill_identity(item, row);
    item->has_entry = present && present->has_entry;
    if (present && present->has_svid) {
        item->protection = (char *)key_protection_name(present->protection);
    }
    item->holders = present ? present->holders : 0;
    item->lock = listing->locks[listing->count++] = lock_text(listing->api, row->spiffe_id);
}

static void reply(struct rpc_call *call, const struct listing *listing)
{
    _cleanup_(free_cleanup) Admin__Identity **pointers =
        memory_new_array(listing->count, sizeof(Admin__Identity *));
    Admin__ListIdentitiesResponse response = ADMIN__LIST_IDENTITIES_RESPONSE__INIT;
    response.identities = pointers;
    response.n_identities = listing->count;
    for (size_t i = 0; i < listing->count; i++) {
        pointers[i] = &listing->items[i];
    }
    if (listing->has_more) {
        response.next_page_token = listing->items[listing->count - 1].spiffe_id;
    }
    rpc_call_reply(call, &response.base);
}

static void listing_clear(struct listing *listing)
{
    struct present *present, *next;
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->items[i].used_days);
        free(listing->locks[i]);
    }
    HASH_ITER (hh, listing->present, present, next) {
        /* NOLINTNEXTLINE(clang-analyzer-*): it cannot know that uthash takes each item out whole */
        HASH_DELETE(hh, listing->present, present);
        free(present);
    }
    free(listing->items);
    free(listing->locks);
}

void admin_list_identities(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
    struct api *api = user;
    const Admin__ListIdentitiesRequest *wanted = (const Admin__ListIdentitiesRequest *)request;
    _cleanup_(listing_clear) struct listing listing = {
        .api = api,
        .after = wanted->page_token,
        .limit = wanted->page_size ? MIN(wanted->page_size, (uint32_t)PAGE_MAX) : PAGE_DEFAULT,
        .items = memory_new_array(PAGE_MAX, sizeof(*listing.items)),
        .locks = memory_new_array(PAGE_MAX, sizeof(char *)),
    };
    manager_each_entry(api->config.manager, note_entry, &listing);
    manager_each_svid(api->config.manager, note_svid, &listing);
    access_each_held(api->config.access, note_held, &listing);
    usage_each(api->config.usage, clock_now_s(), add_row, &listing);
    reply(call, &listing);
}
