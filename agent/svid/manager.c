#include "agent/svid/manager.h"

#include <string.h>

#include "agent/svid/entries.h"
#include "agent/svid/record.h"
#include "agent/svid/renewal.h"
#include "agent/svid/state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

void manager_enter(struct manager *manager)
{
    manager->depth++;
}

void manager_leave(struct manager *manager)
{
    while (manager->depth == 1 && (groups_settle(manager) || !TAILQ_EMPTY(&manager->notices))) {
        subscriptions_tell(manager);
    }
    manager->depth--;
}

/* Something that manager_stop may wait for has come to its end. */
static void note_end(void *user)
{
    struct manager *manager = user;
    if (manager->is_stopping) {
        timer_set(&manager->timers, &manager->end, timer_heap_now_ms(&manager->timers));
    }
}

static void on_bundle_changed(void *user, struct bundle *bundle)
{
    struct manager *manager = user;
    manager_enter(manager);
    struct bundle *before = manager->bundle;
    manager->bundle = bundle_ref(bundle);
    if (before) {
        bundle_unref(before);
    }
    groups_bundle_changed(manager);
    manager_leave(manager);
}

/* The wall clock was set: every time that was reckoned by it is reckoned again. */
static void on_clock_jumped(void *user)
{
    struct manager *manager = user;
    manager_enter(manager);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        if (identity->svid || identity->timer.position > 0) {
            identity_drop_unusable(identity);
            renewal_touch(identity);
        }
    }
    manager_leave(manager);
}

static void on_mail(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct manager *manager = poll->data;
    manager_enter(manager);
    mailbox_deliver(manager->mailbox);
    manager_leave(manager);
    note_end(manager);
}

static void free_rules(struct rules *rules)
{
    if (rules) {
        rules_clear(rules);
        free(rules);
    }
}

static void copy_config(struct manager *manager, const struct manager_config *config)
{
    manager->issuer = config->issuer;
    manager->keystores = memory_new_array(config->keystore_count, sizeof(*manager->keystores));
    manager->keystore_count = config->keystore_count;
    for (size_t i = 0; i < config->keystore_count; i++) {
        manager->keystores[i] = (struct manager_keystore){
            memory_copy_text(config->keystores[i].name), config->keystores[i].keystore};
    }
    manager->rules = config->rules ? config->rules : NEW(struct rules);
    manager->listener =
        (struct issuer_listener){manager, entries_set, entries_removed, on_bundle_changed};
}

static void free_manager(struct manager *manager)
{
    mailbox_free(manager->mailbox);
    for (size_t i = 0; i < manager->keystore_count; i++) {
        free((void *)manager->keystores[i].name);
    }
    free(manager->keystores);
    free_rules(manager->rules);
    if (manager->bundle) {
        bundle_unref(manager->bundle);
    }
    free(manager->logged_reason);
    free(manager);
}

static void on_part_closed(struct manager *manager)
{
    if (--manager->open_parts == 0) {
        void (*stopped)(void *user) = manager->stopped;
        void *user = manager->stopped_user;
        free_manager(manager);
        stopped(user);
    }
}

static void on_timers_closed(void *user)
{
    on_part_closed(user);
}

static void on_poll_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

/* Once nothing is in hand any more, at the issuer or in a keystore. */
static void end_if_done(struct timer *timer)
{
    struct manager *manager = container_of(timer, struct manager, end);
    if (issuances_count(&manager->issuances) > 0 || jwt_cache_issuing_count(manager->jwts) > 0 ||
        key_pool_job_count(manager->pool) > 0) {
        return;
    }
    jwt_cache_free(manager->jwts);
    key_pool_free(manager->pool);
    manager->open_parts = 2;
    timer_heap_close(&manager->timers, on_timers_closed);
    uv_close((uv_handle_t *)&manager->mailbox_poll, on_poll_closed);
}

static int watch_mailbox(struct manager *manager, struct error *err)
{
    int result =
        uv_poll_init(manager->loop, &manager->mailbox_poll, mailbox_descriptor(manager->mailbox));
    if (result < 0) {
        return error_set(err, ERROR_INTERNAL, "watching the keystores' mailbox: %s",
                         uv_strerror(result));
    }
    manager->mailbox_poll.data = manager;
    (void)uv_poll_start(&manager->mailbox_poll, UV_READABLE, on_mail);
    return 0;
}

static void free_half(void *user)
{
    struct manager *manager = user;
    mailbox_free(manager->mailbox);
    free(manager);
}

int manager_new_with_clock(uv_loop_t *loop, const struct manager_config *config,
                           const struct timer_clock *clock, struct manager **ret_manager,
                           struct error *err)
{
    struct mailbox *mailbox;
    TRY(mailbox_new(&mailbox, err));
    struct manager *manager = NEW(struct manager);
    manager->loop = loop;
    manager->mailbox = mailbox;
    manager->end.fire = end_if_done;
    TAILQ_INIT(&manager->notices);
    profiles_open(&manager->profiles);
    groups_open(&manager->groups);
    if (timer_heap_open(&manager->timers, loop, clock, on_clock_jumped, manager, err) < 0) {
        free_half(manager);
        return -1;
    }
    if (watch_mailbox(manager, err) < 0) {
        timer_heap_close(&manager->timers, free_half);
        return -1;
    }
    copy_config(manager, config);
    manager->pool = key_pool_new(&manager->timers, mailbox, config->key_pool_size);
    manager->jwts = jwt_cache_new(&manager->timers, config->issuer, note_end, manager);
    issuances_open(&manager->issuances, &manager->timers, config->issuer,
                   config->delivered_max_ttl_s);
    manager->issuances.ended = note_end;
    manager->issuances.user = manager;
    *ret_manager = manager;
    return 0;
}

int manager_new(uv_loop_t *loop, const struct manager_config *config, struct manager **ret_manager,
                struct error *err)
{
    return manager_new_with_clock(loop, config, &timer_clock_system, ret_manager, err);
}

int manager_start(struct manager *manager, struct error *err)
{
    manager_enter(manager);
    int result = manager->issuer->operations->start(manager->issuer, &manager->listener, err);
    manager_leave(manager);
    return result;
}

void manager_set_rules(struct manager *manager, struct rules *rules)
{
    struct rules *before = manager->rules;
    bool is_any = false;
    manager_enter(manager);
    manager->rules = rules;
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        if (identity_apply_rules(identity)) {
            is_any = true;
            if (identity_is_denied(identity)) {
                jwt_cache_forget(manager->jwts, identity->entry->id);
            }
        }
    }
    if (is_any) {
        profiles_rules_changed(manager);
    }
    free_rules(before);
    manager_leave(manager);
}

void manager_set_watcher(struct manager *manager, const struct manager_watcher *watcher)
{
    manager->watcher = watcher ? *watcher : (struct manager_watcher){0};
}

void manager_try_again(struct manager *manager)
{
    manager_enter(manager);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        if (identity->failures > 0) {
            identity_forgive(identity);
        }
    }
    manager_leave(manager);
}

void manager_keystore_changed(struct manager *manager, struct keystore *keystore)
{
    struct keystore_status status;
    keystore_status(keystore, &status);
    manager_enter(manager);
    key_pool_keystore_changed(manager->pool, keystore);
    for (struct identity *identity = manager->identities; identity; identity = identity->hh.next) {
        identity_keystore_changed(identity, keystore, status.state == KEYSTORE_STATE_READY);
    }
    manager_leave(manager);
}

void manager_restore(struct manager *manager, struct bytes records)
{
    struct reader reader = reader_of(records);
    struct error err;
    size_t restored = 0;
    manager_enter(manager);
    while (!reader_is_done(&reader)) {
        struct svid_record record = {0};
        if (record_read(&reader, manager->keystores, manager->keystore_count, &record, &err) == 0) {
            struct identity *identity = NULL;
            HASH_FIND_STR(manager->identities, record.entry_id, identity);
            if (identity && strcmp(identity->entry->spiffe_id, record.spiffe_id) == 0) {
                renewal_restore(identity, take_ptr(record.svid));
                restored++;
            }
            svid_record_clear(&record);
            continue;
        }
        log_warning("an SVID of before the restart is not continued: %s", err.text);
        if (err.code != ERROR_NOT_FOUND) {
            break;
        }
    }
    manager_leave(manager);
    if (restored > 0) {
        log_info("X.509-SVIDs of before the restart serve on count=%zu", restored);
    }
}

void manager_stop(struct manager *manager, void (*stopped)(void *user), void *user)
{
    manager_enter(manager);
    manager->stopped = stopped;
    manager->stopped_user = user;
    manager->is_stopping = true;
    profiles_close(manager);
    struct identity *identity;
    struct identity *next;
    HASH_ITER (hh, manager->identities, identity, next) {
        index_remove(&manager->index, &identity->item);
        HASH_DEL(manager->identities, identity);
        identity_free(identity);
    }
    jwt_cache_stop(manager->jwts);
    key_pool_stop(manager->pool);
    manager_leave(manager);
    note_end(manager);
}
