/* signet svid watch */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "client/identity.h"
#include "client/output.h"
#include "client/sockets.h"
#include "client/subcommands.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* How often a source that had nothing to say is asked again while the other one tells of
 * identities. */
enum { ASK_AGAIN_S = 5 };
/* How long a thread may take to see that the watch is over. */
enum { END_S = 1 };

/* A thread for each source, since a client waits for one stream at a time. The watch ends when no
 * source has anything to say: each was asked since the last stream ended, and said no. */
struct watch {
    const struct arguments *arguments;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned round;   /* counts the streams that have ended */
    unsigned said_no; /* sources that said no in this round */
    bool is_over;     /* failure is why */
    struct error failure;
};

struct watcher {
    struct watch *watch;
    const struct identity_source *source;
    pthread_t thread;
};

static int print_update(const struct watch *watch, const struct identity_list *list,
                        struct error *err)
{
    json_t *items = NULL;
    if (watch->arguments->output == OUTPUT_JSON) {
        _cleanup_(free_cleanup) char *now_json = output_time_json(clock_now_s());
        TRY(identity_list_json(list, &items, err));
        output_json(json_pack("{s:s, s:o}", "time", now_json, "svids", items), true);
        return 0;
    }
    _cleanup_(free_cleanup) char *now = output_time(clock_now_s());
    output_title("--- %s", now);
    TRY(identity_list_print(list, err));
    (void)putchar('\n');
    (void)fflush(stdout);
    return 0;
}

/* Prints what the stream tells until it ends, which sets an error. *ret_has_told: there was
 * something. */
static int follow(const struct watcher *watcher, bool *ret_has_told, struct error *err)
{
    struct watch *watch = watcher->watch;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    TRY(sockets_connect_workload(watch->arguments, 0, &client, err));
    TRY(rpc_client_stream(client, watcher->source->method, watcher->source->request, err));
    for (;;) {
        ProtobufCMessage *response = NULL;
        int got = rpc_client_next(client, watcher->source->response, &response, err);
        if (got <= 0) {
            return got < 0 ? -1
                           : error_set(err, ERROR_UNAVAILABLE, "the agent has ended the stream");
        }
        _cleanup_(identity_list_clear) struct identity_list list = {0};
        watcher->source->append(response, &list);
        (void)pthread_mutex_lock(&watch->lock);
        int printed = print_update(watch, &list, err);
        (void)pthread_mutex_unlock(&watch->lock);
        identity_response_free(response);
        TRY(printed);
        *ret_has_told = true;
    }
}

/* With the lock. A source that was asked in an earlier round has said nothing about this one. */
static void note_end(struct watch *watch, unsigned asked_in_round, bool has_told,
                     const struct error *failure)
{
    if (has_told) {
        watch->round++;
        watch->said_no = 0;
    } else if (asked_in_round == watch->round) {
        watch->said_no++;
    }
    if (!identity_is_none(failure) || watch->said_no == IDENTITY_SOURCES) {
        watch->is_over = true;
        watch->failure = *failure;
    }
    (void)pthread_cond_broadcast(&watch->changed);
}

/* With the lock: until it is time to ask again. A source that said no in this round is asked again
 * only after a while, which takes its no back. */
static void wait_to_ask(struct watch *watch, unsigned asked_in_round)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ASK_AGAIN_S;
    int timed_out = 0;
    while (!watch->is_over && watch->round == asked_in_round && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
    }
    if (watch->round == asked_in_round) {
        watch->said_no--;
    }
}

static void *watch_source(void *state)
{
    const struct watcher *watcher = state;
    struct watch *watch = watcher->watch;
    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->is_over) {
        struct error failure;
        bool has_told = false;
        unsigned round = watch->round;
        (void)pthread_mutex_unlock(&watch->lock);
        (void)follow(watcher, &has_told, &failure);
        (void)pthread_mutex_lock(&watch->lock);
        note_end(watch, round, has_told, &failure);
        if (!has_told) {
            wait_to_ask(watch, round);
        }
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

static int start_watchers(struct watcher watchers[IDENTITY_SOURCES], struct watch *watch,
                          struct error *err)
{
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        watchers[i] = (struct watcher){.watch = watch, .source = &identity_sources[i]};
        int reason = pthread_create(&watchers[i].thread, NULL, watch_source, &watchers[i]);
        if (reason != 0) {
            return error_set_errno(err, reason, "starting a thread");
        }
    }
    return 0;
}

/* False: one of them still follows a stream. */
static bool join_watchers(const struct watcher watchers[IDENTITY_SOURCES])
{
    struct timespec until;
    bool has_ended = true;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        has_ended = pthread_timedjoin_np(watchers[i].thread, NULL, &until) == 0 && has_ended;
    }
    return has_ended;
}

/* What the threads use lives as long as the process, which does not wait for a stream to end. They
 * use OpenSSL only with the lock held. */
static int watch_svids(const struct arguments *arguments, struct error *err)
{
    static struct watch watch = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};
    static struct watcher watchers[IDENTITY_SOURCES];
    watch.arguments = arguments;
    TRY(start_watchers(watchers, &watch, err));
    (void)pthread_mutex_lock(&watch.lock);
    while (!watch.is_over) {
        (void)pthread_cond_wait(&watch.changed, &watch.lock);
    }
    *err = watch.failure;
    (void)pthread_mutex_unlock(&watch.lock);
    if (!join_watchers(watchers)) {
        /* The lock is kept: the thread stands still while the process ends under it. */
        (void)pthread_mutex_lock(&watch.lock);
    }
    return -1;
}

const struct command command_svid_watch = {
    .name = "svid watch",
    .summary = "print each update of this process's X.509-SVIDs as it comes",
    .about =
        "Runs until it is interrupted, the agent ends, or the last identity goes. With --output\n"
        "json each update is one line.",
    .example = "signet svid watch",
    .run = watch_svids,
};
