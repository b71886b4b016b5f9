#include "lib/base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/memory.h"

struct mailbox {
    pthread_mutex_t lock;
    struct mailbox_message *first;
    struct mailbox_message **last;
    int descriptor;
};

int mailbox_new(struct mailbox **ret_mailbox, struct error *err)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "creating a mailbox between threads");
    }
    struct mailbox *mailbox = NEW(struct mailbox);
    mailbox->descriptor = descriptor;
    mailbox->last = &mailbox->first;
    (void)pthread_mutex_init(&mailbox->lock, NULL);
    *ret_mailbox = mailbox;
    return 0;
}

void mailbox_free(struct mailbox *mailbox)
{
    (void)close(mailbox->descriptor);
    (void)pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
    message->next = NULL;
    (void)pthread_mutex_lock(&mailbox->lock);
    *mailbox->last = message;
    mailbox->last = &message->next;
    /* Under the lock, so that the receiver cannot free the mailbox between delivery and this write.
     */
    (void)eventfd_write(mailbox->descriptor, 1);
    (void)pthread_mutex_unlock(&mailbox->lock);
}

int mailbox_descriptor(const struct mailbox *mailbox)
{
    return mailbox->descriptor;
}

void mailbox_deliver(struct mailbox *mailbox)
{
    eventfd_t ignored;
    (void)eventfd_read(mailbox->descriptor, &ignored);
    (void)pthread_mutex_lock(&mailbox->lock);
    struct mailbox_message *message = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    (void)pthread_mutex_unlock(&mailbox->lock);
    while (message) {
        struct mailbox_message *next = message->next;
        message->deliver(message);
        message = next;
    }
}
