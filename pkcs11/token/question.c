#include "pkcs11/token/question.h"

enum { STATE_OPEN, STATE_ANSWERED, STATE_ABANDONED };

void question_init(struct token_question *question, struct mailbox *mailbox,
                   void (*deliver)(struct mailbox_message *message),
                   void (*forget)(struct token_question *question))
{
    *question = (struct token_question){
        .mailbox = mailbox,
        .message.deliver = deliver,
        .forget = forget,
        .rv = CKR_DEVICE_ERROR,
    };
    atomic_init(&question->state, STATE_OPEN);
}

/* Of answer and abandonment the first decides: the mailbox is alive as long as somebody waits. */
static bool leave_open(struct token_question *question, int state)
{
    int expected = STATE_OPEN;
    return atomic_compare_exchange_strong(&question->state, &expected, state);
}

void token_question_answer(struct token_question *question, CK_RV rv)
{
    question->rv = rv;
    if (leave_open(question, STATE_ANSWERED)) {
        mailbox_post(question->mailbox, &question->message);
    } else {
        question->forget(question);
    }
}

bool question_abandon(struct token_question *question)
{
    return leave_open(question, STATE_ABANDONED);
}
