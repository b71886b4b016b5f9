/* Bodies of records for the files of this folder. Every thread. */
#pragma once

#include "agent/audit/event.h"

/* More than what record.h adds to a body. */
enum { AUDIT_BODY_OVERHEAD_BYTES = 256 };

/* What the log tells of itself: records dropped, a time when it could not be written, a new key of
 * heads. Its event.action is "audit-log". */
struct audit_notice {
    bool is_failure;
    const char *message;
    uint64_t count;            /* of records it is about; 0: none */
    int64_t first_ms, last_ms; /* since 1970; 0: now */
};
void audit_notice_body(const struct audit_notice *notice, struct buffer *ret_body);

/* Milliseconds since 1970. */
int64_t audit_now_ms(void);
