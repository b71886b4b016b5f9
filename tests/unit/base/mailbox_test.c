#include "tests/unit/cmocka_all.h"

#include <poll.h>
#include <pthread.h>

#include "lib/base/mailbox.h"
#include "lib/base/memory.h"

enum { SENDERS = 4, MESSAGES = 5000 };

struct letter {
    struct mailbox_message message;
    unsigned sender, number;
};

struct sender {
    struct mailbox *mailbox;
    unsigned number;
};

/* The receiver's alone. */
static unsigned received[SENDERS];
static unsigned total;

static void deliver(struct mailbox_message *message)
{
    struct letter *letter = container_of(message, struct letter, message);
    assert_int_equal(letter->number, received[letter->sender]); /* in the order of posting */
    received[letter->sender]++;
    total++;
    free(letter);
}

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct letter *letter = NEW(struct letter);
        *letter =
            (struct letter){.message.deliver = deliver, .sender = sender->number, .number = i};
        mailbox_post(sender->mailbox, &letter->message);
    }
    return NULL;
}

static void every_message_arrives_once_and_in_order(void **state)
{
    (void)state;
    struct mailbox *mailbox = NULL;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    assert_int_equal(mailbox_new(&mailbox, NULL), 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){mailbox, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    while (total < SENDERS * MESSAGES) {
        struct pollfd wait = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        mailbox_deliver(mailbox);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mailbox_deliver(mailbox);
    struct pollfd wait = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
    assert_int_equal(total, SENDERS * MESSAGES);
    mailbox_free(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_message_arrives_once_and_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
