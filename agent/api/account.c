#include "agent/api/account.h"

#include "lib/base/log.h"
#include "lib/base/memory.h"

/* NOLINTNEXTLINE(readability-function-size): the size is that of uthash's macro. */
static struct account *account_add(struct accounts *accounts, uid_t uid)
{
    struct account *account = NEW(struct account);
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

int caller_open(struct accounts *accounts, int descriptor, struct caller **ret_caller,
                struct error *err)
{
    struct peer *peer = NULL;
    TRY(peer_of_socket(descriptor, &peer, err));
    struct account *account = account_find(accounts, peer->uid);
    if (account_connect(accounts, account, err) < 0) {
        account_drop_unused(accounts, account);
        peer_unref(peer);
        return -1;
    }
    struct caller *caller = NEW(struct caller);
    *caller = (struct caller){.peer = peer, .account = account};
    *ret_caller = caller;
    return 0;
}

void caller_close(struct accounts *accounts, struct caller *caller)
{
    caller->account->connections--;
    account_drop_unused(accounts, caller->account);
    peer_unref(caller->peer);
    free(caller);
}

int account_work_begin(struct accounts *accounts, struct account *account, struct error *err)
{
    if (account->work >= ACCOUNT_WORK_LIMIT) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "uid %u has %zu calls in progress, which is the limit; try again later",
                         account->uid, account->work);
    }
    account->work++;
    accounts->work++;
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
