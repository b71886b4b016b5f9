/* A question to a guard that is answered later, perhaps when nobody waits for it any more. For the
 * files of this folder. */
#pragma once

#include <stdatomic.h>

#include "lib/base/mailbox.h"
#include "pkcs11/token/guard.h"

/* Embed it. From admit until it is told or forgotten it belongs to whoever answers. */
struct token_question {
    struct mailbox *mailbox;
    struct mailbox_message message; /* deliver: it was answered, with rv */
    /* It was answered after it had been abandoned. Any thread. */
    void (*forget)(struct token_question *question);
    atomic_int state;
    CK_RV rv;
};

void question_init(struct token_question *question, struct mailbox *mailbox,
                   void (*deliver)(struct mailbox_message *message),
                   void (*forget)(struct token_question *question));
/* Nobody waits any more. True: nothing comes to the mailbox, and the question may have been
 * forgotten already. False: the answer is on its way to the mailbox. */
bool question_abandon(struct token_question *question);
