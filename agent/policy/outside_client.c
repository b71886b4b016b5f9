#include "agent/policy/outside_client.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "agent/policy/outside_curl.h"
#include "agent/policy/outside_exchange.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { CLIENT_STACK_BYTES = 1 << 20, IDLE_MS = 3600 * 1000 };

STAILQ_HEAD(transfer_queue, outside_transfer);

struct outside_client {
    struct outside_curl curl;
    struct mailbox *mailbox;
    pthread_t thread;
    CURLM *multi;

    pthread_mutex_t lock; /* for the next two */
    struct transfer_queue asked;
    bool is_stopping;

    /* The thread's. */
    struct transfer_queue waiting; /* the earliest deadline first */
    struct outside_exchange exchanges[OUTSIDE_AT_ONCE_MAX];
};

static void post(struct outside_client *client, struct outside_transfer *transfer)
{
    mailbox_post(client->mailbox, &transfer->message);
}

/* False: it is time to end. */
static bool take_asked(struct outside_client *client)
{
    (void)pthread_mutex_lock(&client->lock);
    STAILQ_CONCAT(&client->waiting, &client->asked);
    bool is_stopping = client->is_stopping;
    (void)pthread_mutex_unlock(&client->lock);
    return !is_stopping;
}

static void fail_overdue(struct outside_client *client)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct outside_transfer *transfer = NULL;
    while ((transfer = STAILQ_FIRST(&client->waiting)) && transfer->deadline_ms <= now_ms) {
        STAILQ_REMOVE_HEAD(&client->waiting, waiting);
        (void)error_set(&transfer->failure, ERROR_UNAVAILABLE,
                        "%d questions are under way already and none of them was answered in time",
                        OUTSIDE_AT_ONCE_MAX);
        post(client, transfer);
    }
}

static struct outside_exchange *find_idle(struct outside_client *client)
{
    for (size_t i = 0; i < OUTSIDE_AT_ONCE_MAX; i++) {
        if (!client->exchanges[i].transfer) {
            return &client->exchanges[i];
        }
    }
    return NULL;
}

static void start_waiting(struct outside_client *client)
{
    struct outside_exchange *exchange = NULL;
    while (!STAILQ_EMPTY(&client->waiting) && (exchange = find_idle(client))) {
        struct outside_transfer *transfer = STAILQ_FIRST(&client->waiting);
        STAILQ_REMOVE_HEAD(&client->waiting, waiting);
        if (outside_exchange_begin(exchange, client->multi, transfer) < 0) {
            post(client, transfer);
        }
    }
}

static void collect_finished(struct outside_client *client)
{
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = client->curl.multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        for (size_t i = 0; i < OUTSIDE_AT_ONCE_MAX; i++) {
            struct outside_exchange *exchange = &client->exchanges[i];
            if (exchange->easy == message->easy_handle) {
                post(client, outside_exchange_end(exchange, client->multi, message->data.result));
                break;
            }
        }
    }
}

/* How long there is nothing to do unless somebody asks or the policy speaks. */
static int idle_ms(struct outside_client *client)
{
    const struct outside_transfer *first = STAILQ_FIRST(&client->waiting);
    if (!first) {
        return IDLE_MS;
    }
    uint64_t now_ms = clock_monotonic_ms();
    if (find_idle(client) || first->deadline_ms <= now_ms) {
        return 0;
    }
    return (int)MIN(first->deadline_ms - now_ms, (uint64_t)IDLE_MS);
}

static void *client_main(void *user)
{
    struct outside_client *client = user;
    (void)pthread_setname_np(pthread_self(), "outside");
    while (take_asked(client)) {
        int running = 0;
        fail_overdue(client);
        start_waiting(client);
        (void)client->curl.multi_perform(client->multi, &running);
        collect_finished(client);
        (void)client->curl.multi_poll(client->multi, NULL, 0, idle_ms(client), NULL);
    }
    return NULL;
}

static void client_clear(struct outside_client *client)
{
    for (size_t i = 0; i < OUTSIDE_AT_ONCE_MAX; i++) {
        outside_exchange_clear(&client->exchanges[i], client->multi);
    }
    if (client->multi) {
        (void)client->curl.multi_cleanup(client->multi);
    }
    (void)pthread_mutex_destroy(&client->lock);
    free(client);
}

DEFINE_CLEANUP(struct outside_client, client, client_clear);

static int start_thread(struct outside_client *client, struct error *err)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, CLIENT_STACK_BYTES);
    /* Signals are for the thread of the event loop. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&client->thread, &attributes, client_main, client);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return failure ? error_set_errno(err, failure, "starting a thread for the outside policy") : 0;
}

int outside_client_new(const struct outside_config *config, struct mailbox *mailbox,
                       struct outside_client **ret_client, struct error *err)
{
    struct outside_curl curl = {0};
    TRY(outside_curl_load(&curl, err));
    _cleanup_(client_cleanup) struct outside_client *client = NEW(struct outside_client);
    client->curl = curl;
    client->mailbox = mailbox;
    (void)pthread_mutex_init(&client->lock, NULL);
    STAILQ_INIT(&client->asked);
    STAILQ_INIT(&client->waiting);
    client->multi = curl.multi_init();
    if (!client->multi) {
        return error_set(err, ERROR_INTERNAL, "preparing libcurl for the outside policy failed");
    }
    (void)curl.multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)OUTSIDE_AT_ONCE_MAX);
    for (size_t i = 0; i < OUTSIDE_AT_ONCE_MAX; i++) {
        TRY(outside_exchange_init(&client->exchanges[i], &client->curl, config, err));
    }
    TRY(start_thread(client, err));
    *ret_client = take_ptr(client);
    return 0;
}

void outside_client_free(struct outside_client *client)
{
    (void)pthread_mutex_lock(&client->lock);
    client->is_stopping = true;
    (void)pthread_mutex_unlock(&client->lock);
    (void)client->curl.multi_wakeup(client->multi);
    (void)pthread_join(client->thread, NULL);
    client_clear(client);
}

void outside_client_ask(struct outside_client *client, struct outside_transfer *transfer)
{
    (void)pthread_mutex_lock(&client->lock);
    STAILQ_INSERT_TAIL(&client->asked, transfer, waiting);
    (void)pthread_mutex_unlock(&client->lock);
    (void)client->curl.multi_wakeup(client->multi);
}
