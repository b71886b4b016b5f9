/* A record of the audit log: one line of JSON, numbered and chained, so that a record that was cut,
 * changed, moved or put in shows. Every thread.
 *
 * A line is {"event.sequence":N,BODY,"signet.chain":"HASH"} and a newline. BODY is what the writer
 * gives: members of a JSON object without the braces. HASH is, in hexadecimal, BLAKE2b-256 over the
 * 32 bytes of the hash before it and the line up to, and without, the comma before "signet.chain".
 * The hash before the first record is all zero. So one pass over the bytes verifies, without a JSON
 * parser. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/error.h"

enum { AUDIT_HASH_BYTES = 32, AUDIT_RECORD_MAX_BYTES = 65536 };

/* Where a chain stands: the last record and its hash. All zero: before the first. */
struct audit_link {
    uint64_t sequence;
    uint8_t hash[AUDIT_HASH_BYTES];
};

/* Appends the next record to lines and moves the link on. InvalidArgument where the body is empty,
 * has a newline, or makes a record of more than AUDIT_RECORD_MAX_BYTES; OutOfRange after the
 * greatest number. Then nothing has changed. */
int audit_record_append(struct audit_link *link, struct bytes body, struct buffer *lines,
                        struct error *err);

/* Reads the number and the claimed hash of a line (without its newline), checks neither against
 * anything. DataLoss: it is no record. ret_body may be NULL; borrowed from line. */
int audit_record_parse(struct bytes line, struct audit_link *ret_claimed, struct bytes *ret_body,
                       struct error *err);
/* The hash that the line has to have after one whose hash is `before`. The line must parse. */
void audit_record_hash(struct bytes line, const uint8_t before[AUDIT_HASH_BYTES],
                       uint8_t ret_hash[AUDIT_HASH_BYTES]);

/* The value of "@timestamp", which every body begins with: RFC 3339, UTC, milliseconds, so that
 * texts compare as times do. False: the body does not begin so. */
enum { AUDIT_TIME_BYTES = 24 };
bool audit_record_time(struct bytes body, char ret_time[AUDIT_TIME_BYTES + 1]);
