/* The journal of systemd as a second place for records: its native protocol, never waited for. One
 * thread at a time. */
#pragma once

#include "agent/audit/event.h"

struct audit_journal;

/* path: of the journal's socket; NULL: where systemd has it. That nobody listens there is no error:
 * the journal may come later. */
int audit_journal_new(const char *path, struct audit_journal **ret_journal, struct error *err);
void audit_journal_free(struct audit_journal *journal);
/* body: of the event's record. What the journal cannot take now is dropped and counted; a warning
 * in the log tells of it at most once a minute. */
void audit_journal_send(struct audit_journal *journal, const struct audit_event *event,
                        struct bytes body);
uint64_t audit_journal_dropped(const struct audit_journal *journal);
