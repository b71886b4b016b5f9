#include "agent/policy/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <uthash.h>

#include "agent/policy/lock_file.h"
#include "agent/spiffe_id.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { LOCK_KINDS = LOCK_NODE + 1 };

struct held_lock {
    struct lock lock;
    size_t what_bytes; /* of what is looked for: of a pattern all before its asterisk */
    UT_hash_handle by_id, by_what;
};

struct locks {
    char *path;
    struct held_lock *by_id;               /* in the order of making */
    struct held_lock *by_what[LOCK_KINDS]; /* tables */
    size_t wide_patterns;                  /* those with an asterisk */
    bool is_unsaved;                       /* the file lags behind */
};

/* An ID never ends in a slash, so that a pattern without its asterisk is never taken for one. */
static size_t key_bytes(const struct lock *lock)
{
    size_t size = strlen(lock->what);
    bool is_wide = lock->kind == LOCK_SPIFFE_ID && size > 0 && lock->what[size - 1] == '*';
    return is_wide ? size - 1 : size;
}

static bool is_wide(const struct held_lock *held)
{
    return held->what_bytes != strlen(held->lock.what);
}

static struct held_lock *find_what(const struct locks *locks, enum lock_kind kind, const char *what,
                                   size_t size)
{
    struct held_lock *found = NULL;
    HASH_FIND(by_what, locks->by_what[kind], what, size, found);
    return found;
}

/* Takes what the lock holds. */
/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macros */
static struct held_lock *insert(struct locks *locks, struct lock *lock)
{
    struct held_lock *held = NEW(struct held_lock);
    held->lock = *lock;
    *lock = (struct lock){0};
    held->what_bytes = key_bytes(&held->lock);
    locks->wide_patterns += is_wide(held) ? 1 : 0;
    HASH_ADD_KEYPTR(by_id, locks->by_id, held->lock.id, LOCK_ID_BYTES, held);
    HASH_ADD_KEYPTR(by_what, locks->by_what[held->lock.kind], held->lock.what, held->what_bytes,
                    held);
    return held;
}

/* NOLINTBEGIN(clang-analyzer-*): it cannot know that uthash takes each item out whole */
/* Hands out what it held. */
static void take_out(struct locks *locks, struct held_lock *held, struct lock *ret_lock)
{
    HASH_DELETE(by_what, locks->by_what[held->lock.kind], held);
    HASH_DELETE(by_id, locks->by_id, held);
    locks->wide_patterns -= is_wide(held) ? 1 : 0;
    *ret_lock = held->lock;
    free(held);
}
/* NOLINTEND(clang-analyzer-*) */

static struct held_lock *find_id(const struct locks *locks, const char *id)
{
    struct held_lock *found = NULL;
    if (strlen(id) == LOCK_ID_BYTES) {
        HASH_FIND(by_id, locks->by_id, id, LOCK_ID_BYTES, found);
    }
    return found;
}

static bool is_same_what(const struct held_lock *held, const char *what)
{
    return held && strcmp(held->lock.what, what) == 0;
}

static struct held_lock *find_exactly(const struct locks *locks, enum lock_kind kind,
                                      const char *what)
{
    const struct lock wanted = {.kind = kind, .what = (char *)what};
    struct held_lock *found = find_what(locks, kind, what, key_bytes(&wanted));
    return is_same_what(found, what) ? found : NULL;
}

/* All but one, which may be NULL. */
static int save_without(struct locks *locks, const struct held_lock *except, struct error *err)
{
    size_t count = 0;
    /* NOLINTNEXTLINE(clang-analyzer-*): see take_out */
    const size_t room = HASH_CNT(by_id, locks->by_id);
    _cleanup_(free_cleanup) const struct lock **items =
        memory_new_array(room, sizeof(const struct lock *));
    for (const struct held_lock *held = locks->by_id; held; held = held->by_id.next) {
        if (held != except) {
            items[count++] = &held->lock;
        }
    }
    locks->is_unsaved = lock_file_write(locks->path, items, count, err) < 0;
    return locks->is_unsaved ? -1 : 0;
}

static int adopt(struct locks *locks, struct lock_list *list, struct error *err)
{
    _cleanup_(free_cleanup) char *boot_id = NULL;
    TRY(lock_read_boot_id(&boot_id, err));
    for (size_t i = 0; i < list->count; i++) {
        struct lock *lock = &list->items[i];
        if (find_id(locks, lock->id) || find_exactly(locks, lock->kind, lock->what)) {
            return error_set(err, ERROR_DATA_LOSS, "%s: lock %zu is there twice", locks->path,
                             i + 1);
        }
        if (lock->kind == LOCK_PID && strcmp(lock->boot_id, boot_id) != 0) {
            log_info("dropping a lock of a process from before the last boot id=%s pid=%s",
                     lock->id, lock->what);
            continue;
        }
        (void)insert(locks, lock);
    }
    return 0;
}

static int load(struct locks *locks, struct error *err)
{
    struct error failure;
    _cleanup_(lock_list_clear) struct lock_list list = {0};
    if (lock_file_read(locks->path, &list, &failure) == 0 && adopt(locks, &list, &failure) == 0) {
        return 0;
    }
    if (failure.code == ERROR_NOT_FOUND) {
        return 0;
    }
    return error_set(err, failure.code,
                     "reading the locks: %s; starting without them would open what was locked: put "
                     "back a copy, or move the file away and lock anew",
                     failure.text);
}

int locks_open(const char *data_dir, struct locks **ret_locks, struct error *err)
{
    struct locks *locks = NEW(struct locks);
    locks->path = file_join(data_dir, "locks.json");
    if (load(locks, err) < 0) {
        locks_close(locks);
        return -1;
    }
    *ret_locks = locks;
    return 0;
}

void locks_close(struct locks *locks)
{
    while (locks->by_id) {
        struct lock lock;
        take_out(locks, locks->by_id, &lock);
        lock_clear(&lock);
    }
    free(locks->path);
    free(locks);
}

static int check_wanted(const struct lock *wanted, struct error *err)
{
    TRY(lock_check(wanted, err));
    if (wanted->ends_at_s != 0 && wanted->ends_at_s <= clock_now_s()) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "a lock's end lies in the future");
    }
    return 0;
}

static void name_lock(const struct locks *locks, struct lock *lock)
{
    do {
        free(lock->id);
        lock->id = text_format("%016" PRIx64, clock_random_below(UINT64_MAX));
    } while (find_id(locks, lock->id));
}

int locks_add(struct locks *locks, const struct lock *wanted, const struct lock **ret_lock,
              struct error *err)
{
    _cleanup_(lock_clear) struct lock added = {0};
    *ret_lock = NULL;
    TRY(check_wanted(wanted, err));
    struct held_lock *before = find_exactly(locks, wanted->kind, wanted->what);
    if (!before && HASH_CNT(by_id, locks->by_id) >= LOCKS_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "there are %d locks already; unlock what is not needed any more, or lock "
                         "by a pattern that has many",
                         LOCKS_MAX);
    }
    lock_copy(&added, &(struct lock){.kind = wanted->kind,
                                     .what = wanted->what,
                                     .reason = wanted->reason,
                                     .by = wanted->by,
                                     .created_at_s = clock_now_s(),
                                     .ends_at_s = wanted->ends_at_s});
    TRY(lock_locate(&added, err));
    if (before) {
        _cleanup_(lock_clear) struct lock old = {0};
        take_out(locks, before, &old);
        added.id = take_ptr(old.id);
    } else {
        name_lock(locks, &added);
    }
    *ret_lock = &insert(locks, &added)->lock;
    if (save_without(locks, NULL, err) < 0) {
        return error_prepend(err, "the lock is in force but not kept if the agent ends now");
    }
    return 0;
}

int locks_remove(struct locks *locks, enum lock_kind kind, const char *what, const char *id,
                 void (*removed)(void *user, const struct lock *lock), void *user,
                 struct error *err)
{
    _cleanup_(lock_clear) struct lock lock = {0};
    struct held_lock *held = id ? find_id(locks, id) : find_exactly(locks, kind, what);
    if (!held && id) {
        return error_set(err, ERROR_NOT_FOUND, "there is no lock with the id \"%.32s\"", id);
    }
    if (!held) {
        return error_set(err, ERROR_NOT_FOUND, "there is no lock of exactly %s%s%.300s%s",
                         kind == LOCK_NODE ? "the " : "", lock_kind_name(kind),
                         kind == LOCK_NODE ? "" : " ", kind == LOCK_NODE ? "" : what);
    }
    if (save_without(locks, held, err) < 0) {
        return error_prepend(err, "nothing is unlocked");
    }
    take_out(locks, held, &lock);
    removed(user, &lock);
    return 0;
}

int64_t locks_expire(struct locks *locks, int64_t now_s,
                     void (*removed)(void *user, const struct lock *lock), void *user)
{
    int64_t next_s = 0;
    struct error failure;
    struct held_lock *next;
    for (struct held_lock *held = locks->by_id; held; held = next) {
        _cleanup_(lock_clear) struct lock lock = {0};
        int64_t ends_at_s = held->lock.ends_at_s;
        next = held->by_id.next;
        if (ends_at_s > now_s) {
            next_s = next_s == 0 ? ends_at_s : MIN(next_s, ends_at_s);
        } else if (ends_at_s != 0) {
            take_out(locks, held, &lock);
            removed(user, &lock);
            locks->is_unsaved = true;
        }
    }
    /* Their end stands in the file, so one that stays there opens nothing and stops nothing. */
    if (locks->is_unsaved && save_without(locks, NULL, &failure) < 0) {
        log_warning("keeping the locks failed error=\"%s\"", failure.text);
    }
    return next_s;
}

void locks_each(const struct locks *locks, void (*each)(void *user, const struct lock *lock),
                void *user)
{
    for (const struct held_lock *held = locks->by_id; held; held = held->by_id.next) {
        each(user, &held->lock);
    }
}

static const struct lock *lock_of(const struct held_lock *held)
{
    return held ? &held->lock : NULL;
}

static const struct held_lock *find_spiffe_id(const struct locks *locks, const char *spiffe_id)
{
    const size_t size = strlen(spiffe_id);
    const struct held_lock *found = find_what(locks, LOCK_SPIFFE_ID, spiffe_id, size);
    if (found || locks->wide_patterns == 0) {
        return found;
    }
    /* "*" is kept as nothing. */
    found = find_what(locks, LOCK_SPIFFE_ID, "", 0);
    const char *slash = spiffe_id_path(spiffe_id);
    while (!found && slash && *slash) {
        found = find_what(locks, LOCK_SPIFFE_ID, spiffe_id, (size_t)(slash - spiffe_id) + 1);
        slash = strchr(slash + 1, '/');
    }
    return found;
}

static const struct held_lock *find_process(const struct locks *locks,
                                            const struct audit_process *process)
{
    char pid[24];
    (void)snprintf(pid, sizeof(pid), "%d", process->pid);
    const struct held_lock *found = find_what(locks, LOCK_PID, pid, strlen(pid));
    return found && found->lock.start_time == process->start_time ? found : NULL;
}

/* Of its executable; NULL: not known. */
static const char *sha256_of(const struct audit_process *process)
{
    static const char prefix[] = "unix:sha256:";
    for (size_t i = 0; !process->sha256 && process->selectors && i < process->selectors->count;
         i++) {
        const char *selector = process->selectors->items[i];
        if (strncmp(selector, prefix, sizeof(prefix) - 1) == 0) {
            return selector + sizeof(prefix) - 1;
        }
    }
    return process->sha256;
}

static const struct held_lock *find_executable(const struct locks *locks,
                                               const struct audit_process *process)
{
    char what[96];
    const char *sha256 = sha256_of(process);
    if (!sha256) {
        return NULL;
    }
    (void)snprintf(what, sizeof(what), "sha256:%s", sha256);
    return find_what(locks, LOCK_EXECUTABLE, what, strlen(what));
}

const struct lock *locks_find(const struct locks *locks, const char *spiffe_id,
                              const struct audit_process *process)
{
    const struct held_lock *found = locks->by_what[LOCK_NODE];
    if (!locks->by_id) {
        return NULL;
    }
    if (!found && locks->by_what[LOCK_SPIFFE_ID]) {
        found = find_spiffe_id(locks, spiffe_id);
    }
    if (!found && process && locks->by_what[LOCK_PID]) {
        found = find_process(locks, process);
    }
    if (!found && process && locks->by_what[LOCK_EXECUTABLE]) {
        found = find_executable(locks, process);
    }
    return lock_of(found);
}

bool locks_need_sha256(const struct locks *locks)
{
    return locks->by_what[LOCK_EXECUTABLE] != NULL;
}
