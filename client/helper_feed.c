#include "client/helper_feed.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "client/sockets.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

/* An agent that restarts is back in a moment; one that is away is not to be hammered. A process
 * that has no identity may get one. */
enum { RETRY_MIN_MS = 100, RETRY_MAX_MS = 5000, DENIED_RETRY_MS = 5000, ANSWER_TIMEOUT_MS = 10000 };

struct stream {
    struct helper_feed *feed;
    size_t index;
    const char *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    bool is_watched;
};

struct helper_feed {
    const struct arguments *arguments;
    const struct helper_feed_handler *handler;
    struct mailbox *news;      /* to the main loop */
    struct mailbox *questions; /* to the asking thread */
    struct stream streams[HELPER_STREAMS];
};

struct news {
    struct mailbox_message message;
    const struct stream *stream;
    ProtobufCMessage *response;
    bool is_denied;
    struct error failure;
};

static const Workload__JWTBundlesRequest jwt_bundles_request = WORKLOAD__JWTBUNDLES_REQUEST__INIT;

static void deliver_news(struct mailbox_message *message)
{
    struct news *news = container_of(message, struct news, message);
    const struct helper_feed_handler *handler = news->stream->feed->handler;
    handler->told(handler->state, news->stream->index, news->response, news->is_denied,
                  &news->failure);
    free(news);
}

static void post(const struct stream *stream, ProtobufCMessage *response, bool is_denied,
                 const struct error *failure)
{
    struct news *news = NEW(struct news);
    news->message.deliver = deliver_news;
    news->stream = stream;
    news->response = response;
    news->is_denied = is_denied;
    if (failure) {
        news->failure = *failure;
    }
    mailbox_post(stream->feed->news, &news->message);
}

/* Posts what the stream tells until it ends, which sets an error. *ret_is_asked: the agent has got
 * the question. */
static int follow(const struct stream *stream, bool *ret_has_told, bool *ret_is_asked,
                  struct error *err)
{
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    TRY(sockets_connect_workload(stream->feed->arguments, 0, &client, err));
    TRY(rpc_client_stream(client, stream->method, stream->request, err));
    *ret_is_asked = true;
    for (;;) {
        ProtobufCMessage *response = NULL;
        int got = rpc_client_next(client, stream->response, &response, err);
        if (got <= 0) {
            return got < 0 ? -1
                           : error_set(err, ERROR_UNAVAILABLE, "the agent has ended the stream");
        }
        post(stream, response, false, NULL);
        *ret_has_told = true;
    }
}

static void pause_ms(uint64_t ms)
{
    struct timespec rest = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR) {
    }
}

static void *watch(void *state)
{
    const struct stream *stream = state;
    uint64_t retry_ms = RETRY_MIN_MS;
    for (;;) {
        struct error failure;
        bool has_told = false, is_asked = false;
        (void)follow(stream, &has_told, &is_asked, &failure);
        bool is_denied = is_asked && identity_is_none(&failure);
        post(stream, NULL, is_denied, &failure);
        retry_ms = has_told ? RETRY_MIN_MS : MIN(retry_ms * 2, (uint64_t)RETRY_MAX_MS);
        pause_ms(is_denied ? DENIED_RETRY_MS : retry_ms / 2 + clock_random_below(retry_ms / 2 + 1));
    }
    return NULL;
}

static int start_thread(void *(*run)(void *state), void *state, struct error *err)
{
    pthread_t thread;
    int reason = pthread_create(&thread, NULL, run, state);
    if (reason != 0) {
        return error_set_errno(err, reason, "starting a thread");
    }
    (void)pthread_detach(thread);
    return 0;
}

int helper_feed_watch(struct helper_feed *feed, size_t stream, struct error *err)
{
    if (feed->streams[stream].is_watched) {
        return 0;
    }
    feed->streams[stream].is_watched = true;
    return start_thread(watch, &feed->streams[stream], err);
}

static int find_answer(struct helper_question *question)
{
    struct error *err = &question->failure;
    _cleanup_(rpc_client_free_cleanup) struct rpc_client *client = NULL;
    TRY(sockets_connect_workload(question->feed->arguments, ANSWER_TIMEOUT_MS, &client, err));
    TRY(rpc_client_stream(client, question->method, question->request, err));
    int got = rpc_client_next(client, question->response_type, &question->response, err);
    question->is_denied = got < 0 && identity_is_none(err);
    return got == 0 ? error_set(err, ERROR_UNAVAILABLE, "the agent gave no answer") : MIN(got, 0);
}

static void deliver_answer(struct mailbox_message *message)
{
    struct helper_question *question = container_of(message, struct helper_question, message);
    question->answered(question->state, question->response, question->is_denied,
                       &question->failure);
    protobuf_c_message_free_unpacked(question->request, NULL);
    free(question);
}

static void answer(struct mailbox_message *message)
{
    struct helper_question *question = container_of(message, struct helper_question, message);
    (void)find_answer(question);
    question->message.deliver = deliver_answer;
    mailbox_post(question->feed->news, &question->message);
}

static void *answer_all(void *state)
{
    struct helper_feed *feed = state;
    for (;;) {
        struct pollfd waiting = {mailbox_descriptor(feed->questions), POLLIN, 0};
        (void)poll(&waiting, 1, -1);
        mailbox_deliver(feed->questions);
    }
    return NULL;
}

void helper_feed_ask(struct helper_feed *feed, struct helper_question *question)
{
    question->feed = feed;
    question->message.deliver = answer;
    mailbox_post(feed->questions, &question->message);
}

struct mailbox *helper_feed_mailbox(struct helper_feed *feed)
{
    return feed->news;
}

int helper_feed_new(const struct arguments *arguments, const struct helper_feed_handler *handler,
                    struct helper_feed **ret_feed, struct error *err)
{
    struct helper_feed *feed = NEW(struct helper_feed);
    feed->arguments = arguments;
    feed->handler = handler;
    for (size_t i = 0; i < IDENTITY_SOURCES; i++) {
        feed->streams[i] = (struct stream){feed,
                                           i,
                                           identity_sources[i].method,
                                           identity_sources[i].request,
                                           identity_sources[i].response,
                                           false};
    }
    feed->streams[HELPER_FEED_JWT_BUNDLES] =
        (struct stream){feed,
                        HELPER_FEED_JWT_BUNDLES,
                        "/SpiffeWorkloadAPI/FetchJWTBundles",
                        &jwt_bundles_request.base,
                        &workload__jwtbundles_response__descriptor,
                        false};
    if (mailbox_new(&feed->news, err) < 0 || mailbox_new(&feed->questions, err) < 0 ||
        start_thread(answer_all, feed, err) < 0) {
        if (feed->questions) {
            mailbox_free(feed->questions);
        }
        if (feed->news) {
            mailbox_free(feed->news);
        }
        free(feed);
        return -1;
    }
    *ret_feed = feed;
    return 0;
}
