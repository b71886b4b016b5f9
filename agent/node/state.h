/* The inside of the node, for the files of this room. Loop thread unless it says otherwise. */
#pragma once

#include <sys/queue.h>

#include "agent/node/attestation.h"
#include "agent/node/node.h"

/* Something that the TPM is needed for. One is in hand at a time, on a thread of libuv's pool. */
struct node_job {
    void (*begin)(struct node_job *job); /* on the loop, just before work; NULL: nothing */
    void (*work)(struct node_job *job);  /* on the pool */
    /* On the loop: is_cancelled where the node stops and work has not run. Frees the job. */
    void (*after)(struct node_job *job, bool is_cancelled);
    bool goes_first; /* whoever asks for evidence cannot delay it */
    struct node *node;
    STAILQ_ENTRY(node_job) link;
};

struct node_waiter {
    void (*done)(void *user);
    void *user;
    STAILQ_ENTRY(node_waiter) link;
};
STAILQ_HEAD(node_waiters, node_waiter);

/* Used by jobs, which hold it while the settings change. */
struct node_trust {
    unsigned references;
    struct ek_trust *trust; /* NULL: whoever comes first is believed */
};

struct node {
    struct node_config config; /* its pointers are borrowed, but for the next two */
    struct node_settings settings;
    char *baselines_path;
    uv_loop_t *loop;
    uv_timer_t timer;    /* until the next attestation, or the end of the patience with this one */
    uint64_t overdue_ms; /* that patience */
    struct node_tpm tpm; /* the job's in hand */
    struct node_trust *trust;
    struct node_memory memory;
    struct baselines recorded; /* by command */
    struct baselines accepted; /* the settings' and these */
    struct baselines in_force; /* of the accepted ones: those of what is selected now */

    /* The last attestation. */
    struct verdict verdict;
    bool is_checked, is_attested;
    bool is_first; /* nothing was known of this TPM before */
    enum verdict_reason reason;
    char reason_text[384];
    int64_t attested_at_s, checked_at_s, next_at_s;
    char ek_fingerprint[80], ak_fingerprint[80], ek_kind[64];
    struct buffer ak_spki;
    struct node_counters counters;

    /* What was recorded last. */
    bool is_recorded, recorded_attested;
    enum verdict_reason recorded_reason;
    uint32_t recorded_pcrs;
    int64_t recorded_at_s;

    /* The AK's certificate. */
    struct ak_request request;
    bool is_certifying;
    struct buffer ak_chain; /* empty: none */
    int64_t ak_expires_at_s;

    uv_work_t work;
    struct node_job *in_hand; /* NULL: none */
    STAILQ_HEAD(, node_job) jobs;
    size_t evidence_count; /* of the jobs, also in hand */
    LIST_HEAD(, evidence_job) evidence;
    struct node_job *attesting;  /* in hand or waiting; NULL: none */
    struct node_waiters waiters; /* for it */
    bool is_stopping, is_timer_closed;
    void (*stopped)(void *user);
    void *stopped_user;
};

/* node.c */
void node_submit(struct node *node, struct node_job *job);
void node_trust_unref(struct node_trust *trust);

/* attesting.c */
/* Behind workloads that sign without end each command of an attestation waits for some of theirs.
 */
enum { NODE_OVERDUE_MS = 90 * 1000 };
/* Before there is anybody to be told. Blocks. */
void node_attest_first(struct node *node);
/* With what holds now, not with what an attestation under way began with. done may be NULL. */
void node_attest_anew(struct node *node, void (*done)(void *user), void *user);

/* node.c: goes on with stopping where nothing is in hand any more. */
void node_end_if_done(struct node *node);
/* Cancelled where it stops. */
int node_check_running(const struct node *node, struct error *err);

/* baselines.c */
int node_baselines_open(struct node *node, struct error *err);
/* Puts those of the settings and the recorded ones together. */
void node_baselines_join(struct node *node);
bool node_baseline_is_announced(const struct baseline *baseline);
/* The names are unique already. */
void node_baselines_copy(struct baselines *to, const struct baselines *from);
/* One more recorded one, on the disk. */
int node_baselines_add(struct node *node, const struct baseline *baseline, struct error *err);
/* Drops announced ones with open registers: "not in this boot" is told by the count of an AK, and
 * that one is another. */
void node_baselines_forget_open(struct node *node);
/* An announced one that was seen: its open values are written down. */
void node_baselines_seen(struct node *node);

/* record.c: what is new in the last verdict, in the log and the records. */
void node_record(struct node *node);

/* certificate.c: asks the issuer for one, after an attestation. */
void node_certify(struct node *node);
