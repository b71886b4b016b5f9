/* Who is connected, and what each uid takes up: no user can take what others need. Loop thread
 * only. */
#pragma once

#include <uthash.h>

#include "agent/access/decision.h"
#include "agent/workload/peer.h"

enum {
    /* Calls of one uid that the agent still works for, though the caller may be gone already. */
    ACCOUNT_WORK_LIMIT = 512,
    /* Descriptors left for everything but connections. */
    ACCOUNT_DESCRIPTORS_KEPT = 256,
};

/* A process with connections. */
struct process {
    struct peer *peer;
    size_t connections;
    pid_t pid;
    bool is_listed; /* among the account's */
    UT_hash_handle hh;
};

/* One uid. Freed when it takes up nothing any more. */
struct account {
    struct accounts *accounts;
    uid_t uid;
    size_t connections, work;
    struct process *processes; /* by pid */
    struct log_gate gate;
    UT_hash_handle hh;
};

struct accounts {
    struct account *by_uid;
    size_t connections_per_uid;
    size_t descriptor_limit; /* of the process */
    size_t descriptors;      /* that connections take up */
    struct log_gate gate;
    size_t work;              /* of all */
    void (*idle)(void *user); /* work became 0 */
    void *user;
};

/* The peer of a connection. */
struct caller {
    struct peer *peer; /* the process's */
    struct process *process;
    struct account *account;
    bool is_known; /* was served before a restart of the agent, and goes on */
};

/* Finds out who connected and counts it. ResourceExhausted: the uid has all that it may have, or
 * the agent has no descriptors left. */
int caller_open(struct accounts *accounts, int descriptor, struct caller **ret_caller,
                struct error *err);
void caller_close(struct accounts *accounts, struct caller *caller);

/* Around work that goes on when the call is gone; ResourceExhausted: too much of it already. */
int account_work_begin(struct accounts *accounts, struct account *account, struct error *err);
/* Where the limit of connections is the one that counts: those of before a restart all come back at
 * once. */
void account_work_go_on(struct accounts *accounts, struct account *account);
void account_work_end(struct accounts *accounts, struct account *account);
