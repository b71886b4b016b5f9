/* The agent's audit log: events in, records on disk. A thread of its own writes and waits for the
 * disk, one fdatasync for all that came meanwhile (group commit). Loop thread unless it says
 * otherwise. */
#pragma once

#include <uv.h>

#include "agent/audit/event.h"
#include "audit/log.h"
#include "pkcs11/keystore.h"

struct audit;

enum audit_on_failure { AUDIT_ON_FAILURE_DENY, AUDIT_ON_FAILURE_CONTINUE };

struct audit_config {
    struct audit_log_config log;
    enum audit_on_failure on_failure;
    uint32_t head_interval_s;
    struct keystore *keystore; /* where the key of heads lives: a lasting EC P-256 key, made when
                                  there is none, its id and reference kept in "head.key" in the
                                  folder. NULL: heads are not signed, and none are written */
    bool is_journald;          /* also to the journal: its native protocol, never waited for */
    const char *journal_path;  /* NULL: where systemd has it */
    /* The log cannot be written (with the reason), or can again (NULL). */
    void (*changed)(void *user, const struct error *failure);
    void *user;
};

/* Blocks until the first records (what was found, started) are on disk. */
int audit_new(uv_loop_t *loop, const struct audit_config *config, struct audit **ret_audit,
              struct error *err);
/* Writes what is there, the stop and the last head; waits at most a few seconds for a disk or a
 * keystore that hangs, then calls stopped; freed. */
void audit_stop(struct audit *audit, void (*stopped)(void *user), void *user);

/* One record. Never waits, never fails: bounded, what does not fit while the disk hangs is counted
 * and told in a record as soon as there is room. */
void audit_write(struct audit *audit, const struct audit_event *event);

/* Somebody who waits until all that was written so far is on disk. Embed it. */
struct audit_wait {
    struct audit_wait *next, *previous; /* the log's */
    /* Loop thread, never before the return of audit_commit. failure: Unavailable with the reason;
     * with AUDIT_ON_FAILURE_CONTINUE there is none. */
    void (*done)(struct audit_wait *wait, const struct error *failure);
    uint64_t target; /* the log's */
};
/* Needs done set, the rest zero or as after done. */
void audit_commit(struct audit *audit, struct audit_wait *wait);
/* done does not run any more, and the wait may be freed. Nothing where it does not wait. */
void audit_wait_cancel(struct audit_wait *wait);

/* Every thread, without waiting: whether decisions must be denied now as they cannot be recorded.
 * Always true with AUDIT_ON_FAILURE_CONTINUE. */
bool audit_is_usable(const struct audit *audit);

struct audit_status {
    struct audit_link link, signed_link;
    char key_id[41]; /* of heads; empty: none */
    uint64_t records, dropped, failures;
    size_t waiting;             /* records not on disk yet */
    uint64_t oldest_waiting_ms; /* age of the oldest of them; 0: none */
    char failure[256];          /* empty: none */
};
void audit_status(struct audit *audit, struct audit_status *ret_status);
