/* Changes by an operator: in the audit log before they are answered. */
#pragma once

#include "agent/access/account.h"
#include "agent/audit/audit.h"
#include "lib/rpc/server.h"

/* The caller for the records; borrowed from it. */
struct audit_process recorded_process(const struct caller *caller);

/* As audit_write. audit NULL here and below: there are no records; for tests. */
void recorded_write(struct audit *audit, const struct audit_event *event);

/* Replies to the call as soon as all records written so far are on disk. Where they cannot be
 * written the status is Unavailable, and says what has happened all the same: done_text, static,
 * such as "the lock is in force". */
void recorded_reply(struct audit *audit, struct rpc_call *call, const ProtobufCMessage *response,
                    const char *done_text);

/* Unavailable, with the reason, where what grants something must not be done, as it could not be
 * recorded. */
int recorded_may_grant(const struct audit *audit, const char *what, struct error *err);
