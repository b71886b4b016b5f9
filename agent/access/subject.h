/* A process as the records know it, and what it has of each of its identities. Reference counted;
 * kept for a while after the last reference, so that a process that comes again and again is the
 * same to limits, and is gathered in the records. Loop thread only. */
#pragma once

#include <stdatomic.h>
#include <sys/queue.h>
#include <uthash.h>

#include "agent/access/tally.h"
#include "agent/audit/event.h"
#include "agent/workload/file_identity.h"
#include "agent/workload/peer.h"

struct access;
struct access_watch;
TAILQ_HEAD(subject_list, subject);
TAILQ_HEAD(access_watch_list, access_watch);

enum { HOLDING_TOKENS = 8 };

/* Why an identity is not offered. */
struct refusal {
    enum audit_decider decider;
    char decider_id[256]; /* empty: none */
    struct error error;
};

/* An identity in the hands of a process. Also gates on the token's thread refer to it. */
struct holding {
    atomic_size_t references;
    atomic_uint_fast64_t uses;
    char *spiffe_id;
    int64_t first_use_s;     /* when the process was first given it; 0: never */
    bool is_held;            /* as recorded */
    struct refusal *refusal; /* why it is about to be lost; NULL: it is not, or no entry gives it */
    bool has_limits;         /* that count over the life of the process: it is remembered as long */
    /* Of JWT-SVIDs recorded as given to it, the newest first, by hash. */
    uint64_t tokens[HOLDING_TOKENS];
    LIST_ENTRY(holding) link;
};

/* Refusals of one kind: the first is recorded at once, repetitions are gathered. */
struct denial {
    struct subject *subject;
    char *spiffe_id; /* NULL: none in particular */
    char *decider_id, *reason;
    const char *asked;
    enum audit_decider decider;
    int64_t since_ms;
    uint64_t count; /* not recorded yet */
    LIST_ENTRY(denial) of_subject;
    TAILQ_ENTRY(denial) gather;
};
TAILQ_HEAD(denial_list, denial);

struct subject {
    unsigned references;
    struct access *access;
    struct subject_key {
        uint64_t pid, start_time;
        uint32_t uid, gid;
    } key;
    pid_t pid;
    uint64_t start_time;
    struct peer *peer; /* NULL while idle */
    struct file_identity program;
    bool is_program_known;
    bool is_over;  /* the process is not what it was */
    bool is_known; /* among those found by key */
    bool is_rechecking;
    bool is_affected; /* by the change that is taking effect */
    struct text_list selectors;
    struct audit_process process; /* its texts are owned, but for the selectors */
    LIST_HEAD(, holding) holdings;
    LIST_HEAD(, tally) tallies;
    struct access_watch_list watches;
    LIST_HEAD(, denial) denials;
    unsigned denial_count;
    int64_t idle_since_s, rechecked_s;
    TAILQ_ENTRY(subject) idle;
    UT_hash_handle hh;
};

/* What is said of one that is not what it was. */
extern const char subject_changed[], subject_ended[];

enum { SUBJECTS_IDLE_MAX = 16384 };

struct subjects {
    struct subject *by_process;
    struct subject_list idle; /* the longest idle first */
    size_t idle_count;
};

/* The subject of the process, a new reference; made anew where the process runs another program
 * than the one it is known for, whose watches end. */
struct subject *subject_get(struct access *access, struct peer *peer);
struct subject *subject_ref(struct subject *subject);
void subject_unref(struct subject *subject);
/* What attestation found. Returns whether something else was found before. */
bool subject_set_selectors(struct subject *subject, const struct text_list *selectors);
/* Whether the process still runs what it ran when it was first looked at. One or two system calls;
 * not for idle ones. */
bool subject_is_same(const struct subject *subject);
/* Drops idle ones that nothing needs any more. Returns whether any is left. */
bool subjects_sweep(struct access *access, int64_t now_s);
/* All; they are idle. */
void subjects_clear(struct access *access);

/* Borrowed from the subject; made when there is none. */
struct holding *subject_holding(struct subject *subject, const char *spiffe_id);
struct holding *holding_ref(struct holding *holding);
/* Every thread. */
void holding_unref(struct holding *holding);
