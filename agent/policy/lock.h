/* Locks: what an operator has stopped, with a reason, kept across restarts. Loop thread only.
 *
 * Kept in "locks.json" in data_dir, replaced atomically and synced before a lock is answered. A
 * file that is there and cannot be read or is not whole stops the agent from starting: it would
 * otherwise open what was locked. */
#pragma once

#include "agent/audit/event.h"
#include "lib/base/text.h"

enum lock_kind { LOCK_SPIFFE_ID, LOCK_PID, LOCK_EXECUTABLE, LOCK_NODE };

struct lock {
    char *id; /* 16 hexadecimal digits */
    enum lock_kind kind;
    char *what; /* pattern of SPIFFE IDs; pid in decimal; "sha256:HEX"; empty for the node */
    uint64_t start_time; /* of the pid, ticks since boot */
    char *boot_id;       /* of LOCK_PID: it means nothing after a reboot */
    char *reason;
    char *by;                        /* who: "uid 0 pid 123" */
    int64_t created_at_s, ends_at_s; /* 0: no end */
};

enum { LOCKS_MAX = 10000, LOCK_REASON_MAX_BYTES = 512 };

struct locks;

/* Reads what an earlier process kept. */
int locks_open(const char *data_dir, struct locks **ret_locks, struct error *err);
void locks_close(struct locks *locks);
/* Adds one; id, created_at_s are made here, kind, what, reason, ends_at_s, by come from wanted
 * (copied) and are checked: InvalidArgument, NotFound (no such process). Durable at the return. The
 * same kind and what again replaces reason and end, under the same id. *ret_lock is borrowed; it is
 * NULL after a failure, unless the file could not be written: then the lock is in force all the
 * same, and the error says that it is not kept. */
int locks_add(struct locks *locks, const struct lock *wanted, const struct lock **ret_lock,
              struct error *err);
/* Ends all locks of that kind and exactly that `what`, or, with id, that one. Durable at the
 * return. NotFound: none. removed is told of each before it is freed. */
int locks_remove(struct locks *locks, enum lock_kind kind, const char *what, const char *id,
                 void (*removed)(void *user, const struct lock *lock), void *user,
                 struct error *err);
/* Drops those whose end has passed, as locks_remove does. Returns when the next one ends (0:
 * never).
 */
int64_t locks_expire(struct locks *locks, int64_t now_s,
                     void (*removed)(void *user, const struct lock *lock), void *user);
void locks_each(const struct locks *locks, void (*each)(void *user, const struct lock *lock),
                void *user);

/* The lock that stops this, or NULL: the node's, or of the SPIFFE ID; with a process also of pid
 * and executable (its sha256, else its "unix:sha256:" selector; one that has no digest is not
 * found). process may be NULL. Fast where there are none. */
const struct lock *locks_find(const struct locks *locks, const char *spiffe_id,
                              const struct audit_process *process);
/* Whether any lock is of an executable: then every process's has to be hashed. */
bool locks_need_sha256(const struct locks *locks);
/* "spiffe_id", "pid", "executable", "node". */
const char *lock_kind_name(enum lock_kind kind);
int lock_kind_parse(const char *text, enum lock_kind *ret_kind, struct error *err);
