/* What the front door writes into the records, and counts. Loop thread only. */
#pragma once

#include "agent/access/subject.h"

int64_t record_now_ms(void);
/* Writes the event, and counts it in status and usage. */
void record_event(struct access *access, const struct audit_event *event);
/* SHA-256 of the leaf certificate, in hexadecimal. */
void record_fingerprint(const struct svid_x509 *svid, char ret_hex[65]);

/* A process was refused. The first of a kind (identity, what was asked, who decided) is recorded at
 * once, repetitions each second. spiffe_id, decider_id: NULL: none. asked is static. */
void denial_note_many(struct subject *subject, const char *spiffe_id, const char *asked,
                      enum audit_decider decider, const char *decider_id, const char *reason,
                      uint64_t count);
/* One of them. */
void denial_note(struct subject *subject, const char *spiffe_id, const char *asked,
                 enum audit_decider decider, const char *decider_id, const char *reason);
/* Records what has been gathered of the subject. */
void denials_forget(struct subject *subject);
/* At each beat. Returns whether any is left. */
bool denials_gather(struct access *access);

/* What the outside policy is asked about the identity in the hands of the process, for an action.
 * Borrows from all of them. */
struct outside_question subject_question(const struct subject *subject, const struct entry *entry,
                                         const char *action);

/* crowd.c: whether one more refusal of a process that no entry applies to is not recorded by
 * itself, as its uid has had too many; it is counted then. */
bool crowd_hides(struct access *access, uint32_t uid, const char *asked);
/* As denials_gather. */
bool crowds_gather(struct access *access);
/* Records what has been counted, and forgets it. */
void crowds_clear(struct access *access);
