/* How a worker thread hands finished work to an event loop: a list with an eventfd, any number of
 * senders, one receiver. */
#pragma once

#include "lib/base/error.h"

/* Put this into the struct that travels. A message is in at most one mailbox at a time and belongs
 * to the mailbox from mailbox_post until deliver is called. */
struct mailbox_message {
    struct mailbox_message *next;
    void (*deliver)(struct mailbox_message *message);
};

struct mailbox;

int mailbox_new(struct mailbox **ret_mailbox, struct error *err);
/* Only when no sender is left; what was not delivered is not delivered any more. */
void mailbox_free(struct mailbox *mailbox);
/* Any thread. Messages are delivered in the order of posting. */
void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message);
/* Readable while messages wait; for the receiver's poll. Owned by the mailbox. */
int mailbox_descriptor(const struct mailbox *mailbox);
/* Receiver only: calls deliver for all that waits. A deliver may post again; that waits for the
 * next call. */
void mailbox_deliver(struct mailbox *mailbox);
