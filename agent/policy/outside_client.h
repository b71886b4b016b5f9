/* The thread that speaks HTTP with the outside policy: takes questions, posts what came of each. */
#pragma once

#include <sys/queue.h>

#include "agent/policy/outside.h"
#include "lib/base/mailbox.h"

struct outside_client;

/* One question on its way. Embed it. From outside_client_ask until message.deliver it belongs to
 * the client. */
struct outside_transfer {
    struct mailbox_message message;
    char *input;          /* what is posted */
    uint64_t deadline_ms; /* clock_monotonic_ms: an answer after it is none */

    /* What came of it. */
    bool has_answer, is_allowed;
    char *reason; /* from the heap, or NULL */
    struct error failure;

    STAILQ_ENTRY(outside_transfer) waiting; /* the client's */
};

/* config was checked; it and the mailbox outlive the client. */
int outside_client_new(const struct outside_config *config, struct mailbox *mailbox,
                       struct outside_client **ret_client, struct error *err);
/* Does not wait for the policy. Transfers that were not posted by its return belong to who asked.
 */
void outside_client_free(struct outside_client *client);
/* Deadlines must not go back from one call to the next. */
void outside_client_ask(struct outside_client *client, struct outside_transfer *transfer);
