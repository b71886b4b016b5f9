#include "agent/access/account.h"

#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { DESCRIPTORS_OF_CONNECTION = 1, DESCRIPTORS_OF_PEER = 2 };

/* NOLINTNEXTLINE(readability-function-size): the size is that of uthash's macro. */
static struct account *account_add(struct accounts *accounts, uid_t uid)
{
    struct account *account = NEW(struct account);
    account->accounts = accounts;
    account->uid = uid;
    HASH_ADD(hh, accounts->by_uid, uid, sizeof(account->uid), account);
    return account;
}

static struct account *account_find(struct accounts *accounts, uid_t uid)
{
    struct account *account = NULL;
    HASH_FIND(hh, accounts->by_uid, &uid, sizeof(uid), account);
    return account ? account : account_add(accounts, uid);
}

static void account_drop_unused(struct accounts *accounts, struct account *account)
{
    if (account->connections == 0 && account->work == 0) {
        HASH_DEL(accounts->by_uid, account);
        free(account);
    }
}

static int account_connect(struct accounts *accounts, struct account *account, struct error *err)
{
    if (account->connections < accounts->connections_per_uid) {
        account->connections++;
        return 0;
    }
    uint64_t unlogged = 0;
    if (log_gate_opens(&account->gate, &unlogged)) {
        log_warning("refused a connection uid=%u: %zu are open, the limit of connections_per_uid "
                    "(%llu more such refusals not logged)",
                    account->uid, account->connections, (unsigned long long)unlogged);
    }
    return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                     "uid %u has %zu connections open, which is the limit (connections_per_uid)",
                     account->uid, account->connections);
}

static void account_disconnect(struct accounts *accounts, struct account *account)
{
    account->connections--;
    account_drop_unused(accounts, account);
}

/* Processes: a peer holds two descriptors, so all connections of a process share one. */

/* NOLINTNEXTLINE(readability-function-size): the size is that of uthash's macro. */
static void process_list(struct account *account, struct process *process)
{
    HASH_ADD(hh, account->processes, pid, sizeof(process->pid), process);
    process->is_listed = true;
}

static struct process *process_find(struct account *account, pid_t pid)
{
    struct process *process = NULL;
    HASH_FIND(hh, account->processes, &pid, sizeof(pid), process);
    return process;
}

/* One that still runs under this pid is the only one that has it. */
static bool is_same_process(const struct peer *known, const struct peer *peer)
{
    return known->start_time == peer->start_time && known->uid == peer->uid &&
           known->gid == peer->gid && peer_is_alive(known);
}

/* Takes the peer. */
static struct process *process_of_peer(struct accounts *accounts, struct account *account,
                                       struct peer *peer)
{
    struct process *process = process_find(account, peer->pid);
    if (process && is_same_process(process->peer, peer)) {
        peer_unref(peer);
        return process;
    }
    bool is_pid_taken = process != NULL;
    process = NEW(struct process);
    process->peer = peer;
    process->pid = peer->pid;
    accounts->descriptors += DESCRIPTORS_OF_PEER;
    if (!is_pid_taken) {
        process_list(account, process);
    }
    return process;
}

static void process_leave(struct accounts *accounts, struct account *account,
                          struct process *process)
{
    if (--process->connections > 0) {
        return;
    }
    if (process->is_listed) {
        HASH_DEL(account->processes, process);
    }
    accounts->descriptors -= DESCRIPTORS_OF_PEER;
    peer_unref(process->peer);
    free(process);
}

static int check_descriptors(struct accounts *accounts, struct error *err)
{
    if (accounts->descriptors + DESCRIPTORS_OF_CONNECTION + DESCRIPTORS_OF_PEER +
            ACCOUNT_DESCRIPTORS_KEPT <=
        accounts->descriptor_limit) {
        return 0;
    }
    uint64_t unlogged = 0;
    if (log_gate_opens(&accounts->gate, &unlogged)) {
        log_warning("refused a connection: %zu of %zu descriptors are in use for others; raise "
                    "LimitNOFILE= (%llu more such refusals not logged)",
                    accounts->descriptors, accounts->descriptor_limit,
                    (unsigned long long)unlogged);
    }
    return error_set(err, ERROR_RESOURCE_EXHAUSTED, "the agent has no descriptors left");
}

int caller_open(struct accounts *accounts, int descriptor, struct caller **ret_caller,
                struct error *err)
{
    struct peer *peer = NULL;
    TRY(check_descriptors(accounts, err));
    TRY(peer_of_socket(descriptor, &peer, err));
    struct account *account = account_find(accounts, peer->uid);
    if (account_connect(accounts, account, err) < 0) {
        account_drop_unused(accounts, account);
        peer_unref(peer);
        return -1;
    }
    struct caller *caller = NEW(struct caller);
    caller->account = account;
    caller->process = process_of_peer(accounts, account, peer);
    caller->process->connections++;
    caller->peer = caller->process->peer;
    accounts->descriptors += DESCRIPTORS_OF_CONNECTION;
    *ret_caller = caller;
    return 0;
}

void caller_close(struct accounts *accounts, struct caller *caller)
{
    accounts->descriptors -= DESCRIPTORS_OF_CONNECTION;
    process_leave(accounts, caller->account, caller->process);
    account_disconnect(accounts, caller->account);
    free(caller);
}

void account_work_go_on(struct accounts *accounts, struct account *account)
{
    account->work++;
    accounts->work++;
}

int account_work_begin(struct accounts *accounts, struct account *account, struct error *err)
{
    if (account->work >= ACCOUNT_WORK_LIMIT) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "uid %u has %zu calls in progress, which is the limit; try again later",
                         account->uid, account->work);
    }
    account_work_go_on(accounts, account);
    return 0;
}

void account_work_end(struct accounts *accounts, struct account *account)
{
    account->work--;
    accounts->work--;
    account_drop_unused(accounts, account);
    if (accounts->work == 0) {
        accounts->idle(accounts->user);
    }
}
