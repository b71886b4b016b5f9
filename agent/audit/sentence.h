/* What happened, as one plain sentence for people. Every thread. */
#pragma once

#include "agent/audit/event.h"

enum { AUDIT_SENTENCE_BYTES = 2048 };

/* Cut where it is longer; its texts are as the event has them, printable or not. */
void audit_sentence(const struct audit_event *event, char ret_text[AUDIT_SENTENCE_BYTES]);
