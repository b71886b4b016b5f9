/* When heads are due, and what becomes of them. For the writer's thread alone.
 *
 * A head signs the log as it was when it was asked for. Records wait for it a moment, so that it
 * comes right behind what it signs, and first in its file; where the hardware takes longer they go
 * on, and it comes some records later. */
#pragma once

#include "agent/audit/signer.h"
#include "audit/log.h"
#include "lib/base/text.h"

struct audit_heads {
    struct audit_signer *signer;                    /* NULL: none are signed */
    uint64_t interval_ms;                           /* 0: none for the time alone */
    uint64_t due_ms, retry_ms, hold_ms, warning_ms; /* hold_ms: until then records wait */
    unsigned failures;                              /* in a row */
    uint64_t records; /* since the last that was asked for, heads not counted */
    bool is_wanted, is_asked;
    enum audit_head_reason reason; /* of the one wanted */
    struct text_list keys;         /* KEY_IDs whose public key was written in this run */
    struct audit_head head;        /* the last that was appended */
    bool has_head, is_set;         /* is_set: head.json has it */
    bool is_stop_wanted;
    bool is_stop_over;  /* the one for the stop is in the log, or is not to be had */
    bool is_first_over; /* so the one for the start */
};

void audit_heads_want(struct audit_heads *heads, enum audit_head_reason reason);
/* Takes what the signer has made: appends it, and why its key is a new one.
 * *ret_has_appended: sync. An error is the log's, and the head is lost; another will be asked for.
 */
int audit_heads_take(struct audit_heads *heads, struct audit_log *log, uint64_t now_ms,
                     bool *ret_has_appended, struct error *err);
/* All is on disk: asks for the head that is due, and has head.json tell of the one before. */
void audit_heads_synced(struct audit_heads *heads, struct audit_log *log, uint64_t now_ms);
/* When audit_heads_synced has something to do next; UINT64_MAX: not before something happens. */
uint64_t audit_heads_next_ms(const struct audit_heads *heads);
void audit_heads_clear(struct audit_heads *heads);
