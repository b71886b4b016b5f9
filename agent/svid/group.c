#include "agent/svid/group.h"

#include <string.h>

#include "agent/svid/state.h"
#include "agent/svid/subscription.h"
#include "agent/svid/timing.h"
#include "lib/base/memory.h"

void groups_open(struct groups *groups)
{
    TAILQ_INIT(&groups->changed);
    TAILQ_INIT(&groups->dirty);
    TAILQ_INIT(&groups->idle);
    SLIST_INIT(&groups->graves);
}

static void queue_group(struct group *group)
{
    group->is_stale = true;
    if (!group->is_queued) {
        group->is_queued = true;
        TAILQ_INSERT_TAIL(&group->manager->groups.changed, group, queue);
    }
}

static void drop_set(struct group *group)
{
    if (group->set) {
        identity_set_unref(take_ptr(group->set));
    }
}

static void free_group(struct group *group)
{
    struct groups *groups = &group->manager->groups;
    if (group->is_queued) {
        TAILQ_REMOVE(&groups->changed, group, queue);
    }
    for (size_t i = 0; i < group->count; i++) {
        LIST_REMOVE(&group->memberships[i], of_identity);
    }
    HASH_DEL(groups->by_identities, group);
    drop_set(group);
    free(group->memberships);
    free(group->identities);
    free(group);
}

/* identities is taken. */
static struct group *get_group(struct manager *manager, struct identity **identities, size_t count)
{
    struct groups *groups = &manager->groups;
    struct group *group = NULL;
    /* An item of its own for "nobody", as a key may not be empty. */
    size_t key_size = (count + 1) * sizeof(struct identity *);
    HASH_FIND(hh, groups->by_identities, identities, key_size, group);
    if (group) {
        free((void *)identities);
        return group;
    }
    group = NEW(struct group);
    group->manager = manager;
    group->identities = identities;
    group->count = count;
    group->is_stale = true;
    group->memberships = memory_new_array(count, sizeof(*group->memberships));
    LIST_INIT(&group->profiles);
    HASH_ADD_KEYPTR(hh, groups->by_identities, group->identities, key_size, group);
    for (size_t i = 0; i < count; i++) {
        group->memberships[i] = (struct membership){.identity = identities[i], .group = group};
        LIST_INSERT_HEAD(&identities[i]->memberships, &group->memberships[i], of_identity);
    }
    return group;
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
        matches->items =
            memory_resize_array((void *)matches->items, matches->capacity, sizeof(*matches->items));
    }
    matches->items[matches->count++] = identity;
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
    qsort((void *)matches->items, matches->count, sizeof(*matches->items), compare_hints);
    for (size_t i = 0; i < matches->count; i++) {
        const char *hint = matches->items[i]->entry->hint;
        if (kept == 0 || *hint == '\0' ||
            strcmp(hint, matches->items[kept - 1]->entry->hint) != 0) {
            matches->items[kept++] = matches->items[i];
        }
    }
    matches->count = kept;
    qsort((void *)matches->items, matches->count, sizeof(*matches->items), compare_ids);
}

static struct group *find_group(struct profile *profile)
{
    struct manager *manager = profile->manager;
    struct matches matches = {0};
    index_match(&manager->index, &profile->selectors, note_match, &matches);
    hide_repeated_hints(&matches);
    matches.items =
        memory_resize_array((void *)matches.items, matches.count + 1, sizeof(*matches.items));
    matches.items[matches.count] = NULL;
    return get_group(manager, matches.items, matches.count);
}

static void leave_group(struct profile *profile)
{
    struct group *group = profile->group;
    LIST_REMOVE(profile, of_group);
    group->subscription_count -= profile->subscription_count;
    if (LIST_EMPTY(&group->profiles)) {
        free_group(group);
    }
}

static void join_group(struct profile *profile, struct group *group)
{
    profile->group = group;
    LIST_INSERT_HEAD(&group->profiles, profile, of_group);
    group->subscription_count += profile->subscription_count;
    for (size_t i = 0; i < group->count && profile->subscription_count > 0; i++) {
        identity_use(group->identities[i]);
    }
}

static void clean_profile(struct profile *profile)
{
    if (profile->is_dirty) {
        profile->is_dirty = false;
        TAILQ_REMOVE(&profile->manager->groups.dirty, profile, queue);
    }
}

/* Finds what applies now; those who subscribed are told where it differs. */
static void match_again(struct profile *profile)
{
    clean_profile(profile);
    struct group *group = find_group(profile);
    if (group != profile->group) {
        leave_group(profile);
        join_group(profile, group);
        subscriptions_profile_changed(profile);
    }
}

static void free_profile(struct profile *profile)
{
    struct groups *groups = &profile->manager->groups;
    clean_profile(profile);
    if (profile->subscription_count == 0) {
        TAILQ_REMOVE(&groups->idle, profile, idle);
        groups->idle_count--;
    }
    leave_group(profile);
    index_watch_remove(&profile->manager->index, &profile->watch);
    HASH_DEL(groups->by_selectors, profile);
    text_list_clear(&profile->selectors);
    free(profile->key);
    free(profile);
}

void groups_close(struct manager *manager)
{
    struct groups *groups = &manager->groups;
    (void)groups_settle(manager);
    while (!TAILQ_EMPTY(&groups->idle)) {
        free_profile(TAILQ_FIRST(&groups->idle));
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
    struct groups *groups = &profile->manager->groups;
    TAILQ_INSERT_TAIL(&groups->idle, profile, idle);
    if (++groups->idle_count > IDLE_PROFILES_MAX) {
        free_profile(TAILQ_FIRST(&groups->idle));
    }
}

struct profile *profile_get(struct manager *manager, const struct text_list *selectors)
{
    struct groups *groups = &manager->groups;
    struct profile *profile = NULL;
    _cleanup_(buffer_clear) struct buffer key = {0};
    append_key(&key, selectors);
    HASH_FIND(hh, groups->by_selectors, key.data, key.size, profile);
    if (profile) {
        if (profile->is_dirty) {
            match_again(profile);
        }
        if (profile->subscription_count == 0) { /* the last used goes last */
            TAILQ_REMOVE(&groups->idle, profile, idle);
            TAILQ_INSERT_TAIL(&groups->idle, profile, idle);
        }
        return profile;
    }
    profile = NEW(struct profile);
    profile->manager = manager;
    profile->key_size = key.size;
    profile->key = (char *)take_ptr(key.data);
    text_list_copy(&profile->selectors, selectors);
    TAILQ_INIT(&profile->subscriptions);
    HASH_ADD_KEYPTR(hh, groups->by_selectors, profile->key, profile->key_size, profile);
    index_watch_add(&manager->index, &profile->watch, &profile->selectors);
    join_group(profile, find_group(profile));
    make_idle(profile);
    return profile;
}

void profile_attach(struct profile *profile, struct subscription *subscription)
{
    struct groups *groups = &profile->manager->groups;
    if (profile->subscription_count++ == 0) {
        TAILQ_REMOVE(&groups->idle, profile, idle);
        groups->idle_count--;
    }
    profile->group->subscription_count++;
    subscription->profile = profile;
    TAILQ_INSERT_TAIL(&profile->subscriptions, subscription, of_profile);
    for (size_t i = 0; i < profile->group->count; i++) {
        identity_use(profile->group->identities[i]);
    }
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
        TAILQ_INSERT_TAIL(&profile->manager->groups.dirty, profile, queue);
    }
}

static void mark_watcher(struct index_watch *watch, void *user)
{
    (void)user;
    mark_dirty(container_of(watch, struct profile, watch));
}

void groups_entry_changed(struct manager *manager, const struct text_list *selectors,
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

void groups_identity_changed(struct identity *identity)
{
    struct membership *membership;
    LIST_FOREACH (membership, &identity->memberships, of_identity) {
        queue_group(membership->group);
    }
}

void groups_bundle_changed(struct manager *manager)
{
    for (struct group *group = manager->groups.by_identities; group; group = group->hh.next) {
        queue_group(group);
    }
}

void groups_rules_changed(struct manager *manager)
{
    struct profile *profile = manager->groups.by_selectors;
    for (; profile; profile = profile->hh.next) {
        mark_dirty(profile);
    }
}

void groups_bury(struct identity *identity)
{
    SLIST_INSERT_HEAD(&identity->manager->groups.graves, identity, grave);
}

bool groups_settle(struct manager *manager)
{
    struct groups *groups = &manager->groups;
    bool is_any = false;
    for (struct profile *profile; (profile = TAILQ_FIRST(&groups->dirty)) != NULL; is_any = true) {
        if (profile->subscription_count > 0) {
            match_again(profile);
        } else {
            free_profile(profile);
        }
    }
    for (struct group *group; (group = TAILQ_FIRST(&groups->changed)) != NULL; is_any = true) {
        TAILQ_REMOVE(&groups->changed, group, queue);
        group->is_queued = false;
        if (group->subscription_count == 0) {
            drop_set(group); /* no old key is held for callers that may never come */
        } else {
            struct profile *profile;
            LIST_FOREACH (profile, &group->profiles, of_group) {
                subscriptions_profile_changed(profile);
            }
        }
    }
    while (!SLIST_EMPTY(&groups->graves)) {
        struct identity *identity = SLIST_FIRST(&groups->graves);
        SLIST_REMOVE_HEAD(&groups->graves, grave);
        identity_free(identity);
    }
    return is_any;
}

/* All SVIDs that are there, in order; and whether that is all that will come for now. */
static void collect(struct group *group)
{
    struct svid_x509 **svids = memory_new_array(group->count, sizeof(struct svid_x509 *));
    size_t found = 0;
    group->is_settled = true;
    group->valid_until_s = INT64_MAX;
    for (size_t i = 0; i < group->count; i++) {
        const struct identity *identity = group->identities[i];
        if (identity->svid) {
            svids[found++] = identity->svid;
            group->valid_until_s =
                MIN(group->valid_until_s, identity->svid->expires_at_s - TIMING_EXPIRY_MARGIN_S);
        } else if (identity->failures == 0) {
            group->is_settled = false;
        }
    }
    if (found > 0 || group->count == 0) {
        group->set = identity_set_new(svids, found, group->manager->bundle);
    }
    free((void *)svids);
}

void group_refresh(struct group *group)
{
    if (!group->is_stale && timer_heap_now_s(&group->manager->timers) < group->valid_until_s) {
        return;
    }
    for (size_t i = 0; i < group->count; i++) {
        identity_drop_unusable(group->identities[i]);
    }
    drop_set(group);
    collect(group);
    group->is_stale = false;
}

bool group_is_still_right(const struct group *group, const struct identity_set *told)
{
    if (told->count > 0 && told->bundle != group->manager->bundle) {
        return false;
    }
    size_t found = 0;
    for (size_t i = 0; i < group->count && found < told->count; i++) {
        found += group->identities[i]->svid == told->svids[found];
    }
    return found == told->count;
}

void group_failure(const struct group *group, struct error *ret_failure)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct error *failure = group->identities[i]->failure;
        if (failure) {
            (void)error_set(ret_failure, ERROR_UNAVAILABLE, "%s", failure->text);
            return;
        }
    }
    (void)error_set(ret_failure, ERROR_UNAVAILABLE,
                    "the X.509-SVIDs of this process are being issued");
}
