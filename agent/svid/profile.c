#include "agent/svid/profile.h"

#include <string.h>

#include "agent/svid/state.h"
#include "agent/svid/subscription.h"
#include "lib/base/memory.h"

void profiles_open(struct profiles *profiles)
{
    TAILQ_INIT(&profiles->dirty);
    TAILQ_INIT(&profiles->idle);
}

struct matches {
    struct identity **items;
    size_t count, capacity;
};

static void note_match(struct index_item *item, void *user)
{
    struct matches *matches = user;
    struct identity *identity = container_of(item, struct identity, item);
    if (identity_is_denied(identity)) {
        identity_log_denied(identity);
        return;
    }
    if (matches->count == matches->capacity) {
        matches->capacity = MAX(matches->capacity * 2, (size_t)4);
        matches->items = memory_resize_array((void *)matches->items, matches->capacity,
                                             sizeof(struct identity *));
    }
    matches->items[matches->count++] = identity;
}

/* Whom to tell of what is denied. */
struct denials {
    void (*each)(void *user, const struct entry *entry, const struct error *reason);
    void *user;
};

static void tell_denied(struct index_item *item, void *user)
{
    const struct denials *denials = user;
    const struct identity *identity = container_of(item, struct identity, item);
    struct error reason;
    if (identity_is_denied(identity)) {
        identity_denial(identity, &reason);
        denials->each(denials->user, identity->entry, &reason);
    }
}

void manager_each_denied(struct manager *manager, const struct text_list *selectors,
                         void (*each)(void *user, const struct entry *entry,
                                      const struct error *reason),
                         void *user)
{
    struct denials denials = {each, user};
    index_match(&manager->index, selectors, tell_denied, &denials);
}

static int compare_ids(const void *a, const void *b)
{
    const struct identity *left = *(struct identity *const *)a;
    const struct identity *right = *(struct identity *const *)b;
    return strcmp(left->entry->id, right->entry->id);
}

/* Equal hints together, the one that keeps it first. */
static int compare_hints(const void *a, const void *b)
{
    const struct entry *left = (*(struct identity *const *)a)->entry;
    const struct entry *right = (*(struct identity *const *)b)->entry;
    int order = strcmp(left->hint, right->hint);
    if (order == 0) {
        order =
            (left->created_at_s > right->created_at_s) - (left->created_at_s < right->created_at_s);
    }
    return order ? order : strcmp(left->id, right->id);
}

/* SPIFFE Workload API 5.2.1: a hint is unique among the identities of a response. */
static void hide_repeated_hints(struct matches *matches)
{
    size_t kept = 0;
    if (matches->count < 2) {
        return;
    }
    qsort((void *)matches->items, matches->count, sizeof(struct identity *), compare_hints);
    for (size_t i = 0; i < matches->count; i++) {
        const char *hint = matches->items[i]->entry->hint;
        if (kept == 0 || *hint == '\0' ||
            strcmp(hint, matches->items[kept - 1]->entry->hint) != 0) {
            matches->items[kept++] = matches->items[i];
        }
    }
    matches->count = kept;
    qsort((void *)matches->items, matches->count, sizeof(struct identity *), compare_ids);
}

static struct group *find_group(struct profile *profile)
{
    struct manager *manager = profile->manager;
    struct matches matches = {0};
    index_match(&manager->index, &profile->selectors, note_match, &matches);
    hide_repeated_hints(&matches);
    matches.items =
        memory_resize_array((void *)matches.items, matches.count + 1, sizeof(struct identity *));
    matches.items[matches.count] = NULL;
    return group_get(manager, matches.items, matches.count);
}

static void clean_profile(struct profile *profile)
{
    if (profile->is_dirty) {
        profile->is_dirty = false;
        TAILQ_REMOVE(&profile->manager->profiles.dirty, profile, queue);
    }
}

/* Finds what applies now; those who subscribed are told where it differs. */
static void match_again(struct profile *profile)
{
    clean_profile(profile);
    struct group *group = find_group(profile);
    if (group != profile->group) {
        group_leave(profile->group, profile);
        group_join(group, profile);
        subscriptions_profile_changed(profile);
    }
}

static void free_profile(struct profile *profile)
{
    struct profiles *profiles = &profile->manager->profiles;
    clean_profile(profile);
    if (profile->subscription_count == 0) {
        TAILQ_REMOVE(&profiles->idle, profile, idle);
        profiles->idle_count--;
    }
    group_leave(profile->group, profile);
    index_watch_remove(&profile->manager->index, &profile->watch);
    HASH_DEL(profiles->by_selectors, profile);
    text_list_clear(&profile->selectors);
    free(profile->key);
    free(profile);
}

void profiles_close(struct manager *manager)
{
    struct profiles *profiles = &manager->profiles;
    (void)profiles_settle(manager);
    while (!TAILQ_EMPTY(&profiles->idle)) {
        free_profile(TAILQ_FIRST(&profiles->idle));
    }
}

static void append_key(struct buffer *key, const struct text_list *selectors)
{
    for (size_t i = 0; i < selectors->count; i++) {
        buffer_append(key, selectors->items[i], strlen(selectors->items[i]) + 1);
    }
    buffer_append_u8(key, 0); /* no selectors are a key too */
}

static void make_idle(struct profile *profile)
{
    struct profiles *profiles = &profile->manager->profiles;
    TAILQ_INSERT_TAIL(&profiles->idle, profile, idle);
    if (++profiles->idle_count > IDLE_PROFILES_MAX) {
        free_profile(TAILQ_FIRST(&profiles->idle));
    }
}

/* key is taken. */
static struct profile *new_profile(struct manager *manager, const struct text_list *selectors,
                                   struct buffer *key)
{
    struct profile *profile = NEW(struct profile);
    profile->manager = manager;
    profile->key_size = key->size;
    profile->key = (char *)take_ptr(key->data);
    text_list_copy(&profile->selectors, selectors);
    TAILQ_INIT(&profile->subscriptions);
    HASH_ADD_KEYPTR(hh, manager->profiles.by_selectors, profile->key, profile->key_size, profile);
    return profile;
}

struct profile *profile_get(struct manager *manager, const struct text_list *selectors)
{
    struct profiles *profiles = &manager->profiles;
    struct profile *profile = NULL;
    _cleanup_(buffer_clear) struct buffer key = {0};
    append_key(&key, selectors);
    HASH_FIND(hh, profiles->by_selectors, key.data, key.size, profile);
    if (!profile) {
        profile = new_profile(manager, selectors, &key);
        index_watch_add(&manager->index, &profile->watch, &profile->selectors);
        group_join(find_group(profile), profile);
        make_idle(profile);
        return profile;
    }
    if (profile->is_dirty) {
        match_again(profile);
    }
    if (profile->subscription_count == 0) { /* the last used goes last */
        TAILQ_REMOVE(&profiles->idle, profile, idle);
        TAILQ_INSERT_TAIL(&profiles->idle, profile, idle);
    }
    return profile;
}

void profile_attach(struct profile *profile, struct subscription *subscription)
{
    struct profiles *profiles = &profile->manager->profiles;
    if (profile->subscription_count++ == 0) {
        TAILQ_REMOVE(&profiles->idle, profile, idle);
        profiles->idle_count--;
    }
    profile->group->subscription_count++;
    subscription->profile = profile;
    TAILQ_INSERT_TAIL(&profile->subscriptions, subscription, of_profile);
    group_use(profile->group);
}

void profile_detach(struct profile *profile, struct subscription *subscription)
{
    for (size_t i = 0; i < profile->group->count; i++) {
        struct identity *identity = profile->group->identities[i];
        identity->used_ms = timer_heap_now_ms(&profile->manager->timers);
    }
    TAILQ_REMOVE(&profile->subscriptions, subscription, of_profile);
    profile->group->subscription_count--;
    if (--profile->subscription_count == 0) {
        make_idle(profile);
    }
}

static void mark_dirty(struct profile *profile)
{
    if (!profile->is_dirty) {
        profile->is_dirty = true;
        TAILQ_INSERT_TAIL(&profile->manager->profiles.dirty, profile, queue);
    }
}

static void mark_watcher(struct index_watch *watch, void *user)
{
    (void)user;
    mark_dirty(container_of(watch, struct profile, watch));
}

void profiles_entry_changed(struct manager *manager, const struct text_list *selectors,
                            const struct identity *identity)
{
    index_watchers(&manager->index, selectors, mark_watcher, NULL);
    struct membership *membership = identity ? LIST_FIRST(&identity->memberships) : NULL;
    for (; membership; membership = LIST_NEXT(membership, of_identity)) {
        struct profile *profile;
        LIST_FOREACH (profile, &membership->group->profiles, of_group) {
            mark_dirty(profile);
        }
    }
}

void profiles_rules_changed(struct manager *manager)
{
    struct profile *profile = manager->profiles.by_selectors;
    for (; profile; profile = profile->hh.next) {
        mark_dirty(profile);
    }
}

bool profiles_settle(struct manager *manager)
{
    struct profiles *profiles = &manager->profiles;
    bool is_any = false;
    for (struct profile *profile; (profile = TAILQ_FIRST(&profiles->dirty)) != NULL;) {
        is_any = true;
        if (profile->subscription_count > 0) {
            match_again(profile);
        } else {
            free_profile(profile);
        }
    }
    return is_any;
}
