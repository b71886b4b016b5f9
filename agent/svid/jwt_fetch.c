#include <sodium.h>
#include <string.h>

#include "agent/svid/state.h"
#include "lib/base/memory.h"

/* What a caller may ask for; the standard names no limits. */
enum { AUDIENCES_MAX = 64, AUDIENCE_MAX_BYTES = 2048 };

/* One token of a fetch. */
struct part {
    struct jwt_wait wait;
    struct fetch *fetch;
    struct entry *entry;
    uint32_t ttl_limit_s;
    char *token;
    int64_t expires_at_s;
};

struct fetch {
    struct manager *manager;
    void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                 const struct error *failure);
    void *user;
    struct part *parts;
    size_t count, missing;
    bool has_failed;
    struct error failure;
};

static void free_fetch(struct fetch *fetch)
{
    for (size_t i = 0; i < fetch->count; i++) {
        if (fetch->parts[i].token) {
            sodium_memzero(fetch->parts[i].token, strlen(fetch->parts[i].token));
        }
        free(fetch->parts[i].token);
        entry_unref(fetch->parts[i].entry);
    }
    free(fetch->parts);
    free(fetch);
}

static void finish(struct fetch *fetch)
{
    if (fetch->has_failed) {
        fetch->done(fetch->user, NULL, 0, &fetch->failure);
    } else {
        struct jwt_svid *svids = memory_new_array(fetch->count, sizeof(*svids));
        for (size_t i = 0; i < fetch->count; i++) {
            const struct part *part = &fetch->parts[i];
            svids[i] = (struct jwt_svid){part->entry->spiffe_id, part->token, part->entry->hint,
                                         part->expires_at_s};
        }
        fetch->done(fetch->user, svids, fetch->count, NULL);
        free(svids);
    }
    free_fetch(fetch);
}

static void on_token(struct jwt_wait *wait, const char *token, int64_t expires_at_s,
                     const struct error *failure)
{
    struct part *part = container_of(wait, struct part, wait);
    struct fetch *fetch = part->fetch;
    struct manager *manager = fetch->manager;
    if (failure && !fetch->has_failed) {
        fetch->has_failed = true;
        fetch->failure = *failure;
    }
    part->token = memory_copy_text(token);
    part->expires_at_s = expires_at_s;
    if (--fetch->missing == 0) {
        manager_enter(manager);
        finish(fetch);
        manager_leave(manager);
    }
}

/* The identities chosen, of those of the caller. */
static struct fetch *new_fetch(const struct group *group, jwt_choice *choose, void *user)
{
    struct fetch *fetch = NEW(struct fetch);
    fetch->parts = memory_new_array(group->count, sizeof(*fetch->parts));
    for (size_t i = 0; i < group->count; i++) {
        struct entry *entry = group->identities[i]->entry;
        uint32_t ttl_limit_s = 0;
        if (choose(user, entry, &ttl_limit_s)) {
            fetch->parts[fetch->count++] = (struct part){
                .wait.done = on_token,
                .fetch = fetch,
                .entry = entry_ref(entry),
                .ttl_limit_s = ttl_limit_s,
            };
        }
    }
    fetch->missing = fetch->count;
    return fetch;
}

/* Sorted, without repetitions; empty ones do not count. */
static int copy_audience(const struct text_list *audience, struct text_list *ret_audience,
                         struct error *err)
{
    for (size_t i = 0; i < audience->count; i++) {
        size_t size = strlen(audience->items[i]);
        if (i >= AUDIENCES_MAX || size > AUDIENCE_MAX_BYTES) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "at most %d audiences of at most %d bytes may be asked for",
                             AUDIENCES_MAX, AUDIENCE_MAX_BYTES);
        }
        if (size > 0) {
            text_list_add(ret_audience, audience->items[i]);
        }
    }
    if (ret_audience->count == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "audience must be specified");
    }
    text_list_sort_unique(ret_audience);
    return 0;
}

static int start(struct manager *manager, const struct text_list *selectors, jwt_choice *choose,
                 void *user, struct fetch **ret_fetch, struct error *err)
{
    if (manager->is_stopping) {
        return error_set(err, ERROR_CANCELLED, "the agent stops");
    }
    if (!manager->bundle) {
        return error_set(err, ERROR_UNAVAILABLE, "the issuer has not reported yet");
    }
    struct fetch *fetch = new_fetch(profile_get(manager, selectors)->group, choose, user);
    if (fetch->count == 0) {
        free_fetch(fetch);
        return error_set(err, ERROR_PERMISSION_DENIED, "no identity issued");
    }
    fetch->manager = manager;
    *ret_fetch = fetch;
    return 0;
}

void manager_each_match(struct manager *manager, const struct text_list *selectors,
                        void (*each)(void *user, struct entry *entry), void *user)
{
    manager_enter(manager);
    const struct group *group = profile_get(manager, selectors)->group;
    for (size_t i = 0; i < group->count; i++) {
        each(user, group->identities[i]->entry);
    }
    manager_leave(manager);
}

void manager_jwt_fetch(struct manager *manager, const struct text_list *selectors,
                       const struct text_list *audience, jwt_choice *choose,
                       void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                                    const struct error *failure),
                       void *user)
{
    struct error err;
    struct fetch *fetch = NULL;
    _cleanup_(text_list_clear) struct text_list sorted = {0};
    if (copy_audience(audience, &sorted, &err) < 0 ||
        start(manager, selectors, choose, user, &fetch, &err) < 0) {
        done(user, NULL, 0, &err);
        return;
    }
    fetch->done = done;
    fetch->user = user;
    manager_enter(manager);
    /* The last answer ends the fetch, perhaps here: count and parts are taken first. */
    struct part *parts = fetch->parts;
    for (size_t i = 0, count = fetch->count; i < count; i++) {
        jwt_cache_get(manager->jwts, parts[i].entry, &sorted, parts[i].ttl_limit_s, &parts[i].wait);
    }
    manager_leave(manager);
}
