#include "agent/access/access.h"

#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

uint64_t access_tag(const struct svid_x509 *svid)
{
    uint64_t tag;
    memcpy(&tag, svid->key_id, sizeof(tag));
    return tag;
}

/* What is issued. */

static int say_answer(const struct entry *entry, const struct policy_answer *answer,
                      struct error *err)
{
    return answer->is_allowed ? 0
                              : error_set(err, ERROR_PERMISSION_DENIED, "%s: %s", entry->spiffe_id,
                                          answer->reason);
}

static int may_still_issue(void *user, const struct entry *entry, struct error *err)
{
    const struct access *access = user;
    struct policy_answer answer;
    policy_decide_identity(access->config.policy, entry->spiffe_id, clock_now_s(), &answer);
    return say_answer(entry, &answer, err);
}

static int may_issue(void *user, const struct entry *entry, struct error *err)
{
    struct access *access = user;
    struct policy_answer answer;
    struct policy *policy = access->config.policy;
    if (access->config.audit && !audit_is_usable(access->config.audit)) {
        return error_set(err, ERROR_UNAVAILABLE,
                         "nothing is issued while the audit log cannot be written");
    }
    policy_decide_identity(policy, entry->spiffe_id, clock_now_s(), &answer);
    if (answer.is_allowed) {
        policy_decide_svid(policy, entry->spiffe_id, &answer);
    }
    return say_answer(entry, &answer, err);
}

/* A record that is on its way to the disk, for which SVIDs wait. */
struct issuance_record {
    struct audit_wait wait;
    struct access *access;
    LIST_ENTRY(issuance_record) link;
};

static void drop_record(struct issuance_record *record)
{
    LIST_REMOVE(record, link);
    free(record);
}

static void recorded(struct audit_wait *wait, const struct error *failure)
{
    struct issuance_record *record = container_of(wait, struct issuance_record, wait);
    /* Whoever is offered the SVID commits again, and hears of it. */
    record->access->has_doubtful_record |= failure != NULL;
    drop_record(record);
}

static void forget_records(struct access *access)
{
    for (struct issuance_record *record; (record = LIST_FIRST(&access->unrecorded)) != NULL;) {
        audit_wait_cancel(&record->wait);
        /* NOLINTNEXTLINE(clang-analyzer-*): it cannot know that each is taken out of the list */
        drop_record(record);
    }
}

static void issued(void *user, const struct svid_x509 *svid, const struct svid_x509 *replaced)
{
    struct access *access = user;
    char fingerprint[65];
    _cleanup_(free_cleanup) char *key_id = text_hex((struct bytes){svid->key_id, KEY_ID_BYTES});
    record_fingerprint(svid, fingerprint);
    const struct audit_credential credential = {
        .kind = "x509-svid",
        .serial = svid->serial,
        .fingerprint = fingerprint,
        .key_id = key_id,
        .protection = key_protection_name(svid->protection),
        .expires_at_s = svid->expires_at_s,
    };
    const struct audit_event event = {
        .action = replaced ? AUDIT_RENEWED : AUDIT_ISSUED,
        .spiffe_id = svid->entry->spiffe_id,
        .decider = AUDIT_DECIDER_ENTRY,
        .decider_id = svid->entry->id,
        .credential = &credential,
    };
    record_event(access, &event);
    if (access->config.audit) {
        struct issuance_record *record = NEW(struct issuance_record);
        *record = (struct issuance_record){.wait.done = recorded, .access = access};
        LIST_INSERT_HEAD(&access->unrecorded, record, link);
        audit_commit(access->config.audit, &record->wait);
    }
}

static void entry_set(void *user, const struct entry *entry)
{
    const struct access *access = user;
    if (access->config.usage) {
        usage_known(access->config.usage, entry->spiffe_id);
    }
}

/* Changes. */

static void decide_all(struct access *access, int64_t due_s)
{
    struct access_watch_list queue = TAILQ_HEAD_INITIALIZER(queue);
    struct access_watch *watch;
    TAILQ_FOREACH (watch, &access->watches, link) {
        if (watch->until_s <= due_s) {
            watch_enqueue(watch, &queue);
        }
    }
    while ((watch = watch_dequeue(&queue)) != NULL) {
        watch_decide(watch);
    }
}

void access_policy_changed(struct access *access, struct access_effect *ret_effect)
{
    struct subject *subject;
    struct subject *next;
    struct access_effect effect = {0};
    HASH_ITER (hh, access->subjects.by_process, subject, next) {
        subject->is_affected = false;
    }
    access->effect = &effect;
    decide_all(access, INT64_MAX);
    access->effect = NULL;
    manager_try_again(access->config.manager);
    access_beat(access);
    if (ret_effect) {
        *ret_effect = effect;
    }
}

static void lock_ended(void *user, const struct lock *lock)
{
    struct access *access = user;
    const struct audit_event event = {
        .action = AUDIT_UNLOCKED,
        .spiffe_id = lock->kind == LOCK_SPIFFE_ID ? lock->what : NULL,
        .decider = AUDIT_DECIDER_LOCK,
        .decider_id = lock->id,
        .reason = "its time is over",
        .detail = lock->what,
    };
    record_event(access, &event);
    log_info("a lock has ended id=%s kind=%s what=\"%s\"", lock->id, lock_kind_name(lock->kind),
             lock->what);
    access->has_lock_ended = true;
}

/* Returns whether one will end. */
static bool expire_locks(struct access *access, int64_t now_s)
{
    struct locks *locks = policy_locks(access->config.policy);
    access->has_lock_ended = false;
    int64_t next_s = locks_expire(locks, now_s, lock_ended, access);
    if (access->has_lock_ended) {
        access_policy_changed(access, NULL);
    }
    return next_s != 0;
}

/* Whether time alone may change what a watch is offered. */
static bool has_timed_watch(const struct access *access)
{
    const struct access_watch *watch;
    TAILQ_FOREACH (watch, &access->watches, link) {
        if (watch->until_s != INT64_MAX) {
            return true;
        }
    }
    return false;
}

/* Who could not be offered anything, as it could not be recorded, is when it can. Returns whether
 * somebody still waits for that. */
static bool offer_uncommitted(struct access *access)
{
    if (access->has_uncommitted && audit_is_usable(access->config.audit)) {
        access->has_uncommitted = false;
        decide_all(access, INT64_MAX);
    }
    return access->has_uncommitted;
}

static void on_gathering(uv_timer_t *timer)
{
    struct access *access = timer->data;
    if (!tallies_gather(access)) {
        (void)uv_timer_stop(&access->gathering);
    }
}

/* Returns whether any is gathered. */
static bool start_gathering(struct access *access)
{
    access->tallies_due = access->tallies_listed;
    if (access->tallies_due > 0) {
        (void)uv_timer_start(&access->gathering, on_gathering, 0, TALLIES_PAUSE_MS);
    }
    return access->tallies_due > 0;
}

static void on_beat(uv_timer_t *timer)
{
    struct access *access = timer->data;
    int64_t now_s = clock_now_s();
    bool is_back = now_s < access->beat_s; /* the clock was set back: all times are reckoned anew */
    access->beat_s = now_s;
    bool is_needed = expire_locks(access, now_s);
    decide_all(access, is_back ? INT64_MAX - 1 : now_s);
    is_needed = offer_uncommitted(access) || is_needed;
    is_needed = start_gathering(access) || is_needed;
    is_needed = denials_gather(access) || is_needed;
    is_needed = crowds_gather(access) || is_needed;
    is_needed = subjects_sweep(access, now_s) || is_needed;
    is_needed = recheck_some(access, now_s) || is_needed;
    if (!is_needed && !has_timed_watch(access)) {
        access->is_beating = false;
        (void)uv_timer_stop(&access->beat);
    }
}

void access_beat(struct access *access)
{
    if (!access->is_beating && !access->stopped) {
        access->is_beating = true;
        access->beat_s = clock_now_s();
        (void)uv_timer_start(&access->beat, on_beat, ACCESS_BEAT_MS, ACCESS_BEAT_MS);
    }
}

/* What others see. */

void access_each_held(struct access *access, void (*each)(void *user, const char *spiffe_id),
                      void *user)
{
    struct subject *subject;
    struct subject *next;
    HASH_ITER (hh, access->subjects.by_process, subject, next) {
        const struct holding *holding;
        LIST_FOREACH (holding, &subject->holdings, link) {
            if (holding->is_held && !TAILQ_EMPTY(&subject->watches)) {
                each(user, holding->spiffe_id);
            }
        }
    }
}

struct holders {
    const char *spiffe_id;
    size_t count;
};

static void count_holder(void *user, const char *spiffe_id)
{
    struct holders *holders = user;
    holders->count += strcmp(spiffe_id, holders->spiffe_id) == 0;
}

size_t access_holders(struct access *access, const char *spiffe_id)
{
    struct holders holders = {.spiffe_id = spiffe_id};
    access_each_held(access, count_holder, &holders);
    return holders.count;
}

void access_status(struct access *access, struct access_status *ret_status)
{
    *ret_status = access->status;
    ret_status->processes = HASH_COUNT(access->subjects.by_process) - access->subjects.idle_count;
}

/* Life. */

static void on_mail(uv_poll_t *poll, int status, int events)
{
    const struct access *access = poll->data;
    (void)status;
    (void)events;
    mailbox_deliver(access->mailbox);
}

int access_new(uv_loop_t *loop, const struct access_config *config, struct access **ret_access,
               struct error *err)
{
    struct mailbox *mailbox = NULL;
    TRY(mailbox_new(&mailbox, err));
    struct access *access = NEW(struct access);
    access->config = *config;
    access->mailbox = mailbox;
    TAILQ_INIT(&access->subjects.idle);
    TAILQ_INIT(&access->watches);
    TAILQ_INIT(&access->tallies);
    TAILQ_INIT(&access->denials);
    LIST_INIT(&access->unrecorded);
    int result = uv_poll_init(loop, &access->mailbox_poll, mailbox_descriptor(mailbox));
    if (result < 0) {
        mailbox_free(mailbox);
        free(access);
        return error_set(err, ERROR_INTERNAL, "watching the mailbox of the token's guards: %s",
                         uv_strerror(result));
    }
    access->mailbox_poll.data = access->beat.data = access->gathering.data = access;
    (void)uv_poll_start(&access->mailbox_poll, UV_READABLE, on_mail);
    (void)uv_timer_init(loop, &access->beat);
    (void)uv_timer_init(loop, &access->gathering);
    const struct manager_watcher watcher = {access, may_issue, issued, entry_set, may_still_issue};
    manager_set_watcher(config->manager, &watcher);
    access_beat(access);
    *ret_access = access;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct access *access = handle->data;
    if (--access->open_handles > 0) {
        return;
    }
    void (*stopped)(void *user) = access->stopped;
    void *user = access->stopped_user;
    mailbox_free(access->mailbox);
    free(access);
    stopped(user);
}

void access_stop(struct access *access, void (*stopped)(void *user), void *user)
{
    access->stopped = stopped;
    access->stopped_user = user;
    manager_set_watcher(access->config.manager, NULL);
    forget_records(access);
    /* The token's thread has ended: this is the last of its mail, and what its late questions come
     * to, as nobody answers them any more. */
    mailbox_deliver(access->mailbox);
    mailbox_deliver(access->mailbox);
    tallies_gather_all(access);
    (void)denials_gather(access);
    crowds_clear(access);
    subjects_clear(access);
    mailbox_deliver(access->mailbox);
    access->open_handles = 3;
    uv_close((uv_handle_t *)&access->mailbox_poll, on_closed);
    uv_close((uv_handle_t *)&access->beat, on_closed);
    uv_close((uv_handle_t *)&access->gathering, on_closed);
}
