#include "agent/svid/entries.h"

#include <string.h>

#include "agent/svid/state.h"

static struct identity *find_identity(struct manager *manager, const char *entry_id)
{
    struct identity *identity = NULL;
    HASH_FIND_STR(manager->identities, entry_id, identity);
    return identity;
}

static void add_entry(struct manager *manager, struct entry *entry)
{
    struct identity *identity = identity_new(manager, entry);
    HASH_ADD_KEYPTR(hh, manager->identities, identity->entry->id, strlen(identity->entry->id),
                    identity);
    index_add(&manager->index, &identity->item, &identity->entry->selectors);
    profiles_entry_changed(manager, &entry->selectors, NULL);
}

/* Whether callers may see a difference, or see it themselves differently. */
static bool is_same_to_callers(const struct entry *a, const struct entry *b)
{
    return strcmp(a->spiffe_id, b->spiffe_id) == 0 && strcmp(a->hint, b->hint) == 0 &&
           a->created_at_s == b->created_at_s && a->x509_svid_ttl_s == b->x509_svid_ttl_s &&
           a->jwt_svid_ttl_s == b->jwt_svid_ttl_s &&
           text_list_is_equal(&a->selectors, &b->selectors) &&
           text_list_is_equal(&a->dns_names, &b->dns_names);
}

static void change_entry(struct manager *manager, struct identity *identity, struct entry *entry)
{
    _cleanup_(entry_unref_cleanup) struct entry *before = entry_ref(identity->entry);
    if (strcmp(before->spiffe_id, entry->spiffe_id) != 0) {
        jwt_cache_forget(manager->jwts, entry->id);
    }
    /* The hash and the index point into the entry, so they are told of the new one. */
    HASH_DEL(manager->identities, identity);
    index_remove(&manager->index, &identity->item);
    if (is_same_to_callers(before, entry)) {
        entry_unref(identity->entry);
        identity->entry = entry_ref(entry);
    } else {
        profiles_entry_changed(manager, &entry->selectors, identity);
        identity_change_entry(identity, entry);
    }
    index_add(&manager->index, &identity->item, &identity->entry->selectors);
    HASH_ADD_KEYPTR(hh, manager->identities, identity->entry->id, strlen(identity->entry->id),
                    identity);
}

void entries_set(void *user, struct entry *entry)
{
    struct manager *manager = user;
    struct identity *identity = find_identity(manager, entry->id);
    manager_enter(manager);
    if (manager->watcher.entry_set) {
        manager->watcher.entry_set(manager->watcher.user, entry);
    }
    if (identity) {
        change_entry(manager, identity, entry);
    } else {
        add_entry(manager, entry);
    }
    manager_leave(manager);
}

void entries_removed(void *user, const char *entry_id)
{
    struct manager *manager = user;
    struct identity *identity = find_identity(manager, entry_id);
    if (!identity) {
        return;
    }
    manager_enter(manager);
    profiles_entry_changed(manager, &identity->entry->selectors, identity);
    jwt_cache_forget(manager->jwts, entry_id);
    index_remove(&manager->index, &identity->item);
    HASH_DEL(manager->identities, identity);
    identity_remove(identity);
    groups_bury(identity);
    manager_leave(manager);
}
