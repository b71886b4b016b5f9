/* What the agent tells the helper: threads wait on streams and ask, the main loop gets messages. */
#pragma once

#include "client/identity.h"
#include "lib/base/mailbox.h"

/* The streams: those of identity_sources, then the JWT bundles. */
enum { HELPER_FEED_JWT_BUNDLES = IDENTITY_SOURCES, HELPER_STREAMS };

struct helper_feed;

/* Who gets the news, always by mailbox_deliver. */
struct helper_feed_handler {
    void *state;
    /* Takes response; NULL: failure says why there is none. is_denied: the agent answers and has
     * nothing for this process. Else the stream is tried again by itself. */
    void (*told)(void *state, size_t stream, ProtobufCMessage *response, bool is_denied,
                 const struct error *failure);
};

/* arguments and handler are borrowed as long as the process lives: the threads are never stopped.
 * Streams run from helper_feed_watch on. */
int helper_feed_new(const struct arguments *arguments, const struct helper_feed_handler *handler,
                    struct helper_feed **ret_feed, struct error *err);
/* For poll and mailbox_deliver. */
struct mailbox *helper_feed_mailbox(struct helper_feed *feed);
/* Nothing where the stream is watched already. */
int helper_feed_watch(struct helper_feed *feed, size_t stream, struct error *err);

/* One question to the agent, answered once by its first message. */
struct helper_question {
    struct mailbox_message message; /* of the feed */
    struct helper_feed *feed;       /* of the feed */
    const char *method;
    ProtobufCMessage *request; /* owned, freed with the question */
    const ProtobufCMessageDescriptor *response_type;
    void *state; /* of the asker */
    /* In the main loop; as helper_feed_handler.told. The question is freed after it. */
    void (*answered)(void *state, ProtobufCMessage *response, bool is_denied,
                     const struct error *failure);
    bool is_denied;
    ProtobufCMessage *response;
    struct error failure;
};
/* Takes the question, made by NEW. Answers come in the order of the questions. */
void helper_feed_ask(struct helper_feed *feed, struct helper_question *question);
