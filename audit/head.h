/* A signed head: a record whose body holds a signature over the chain before it, by a key in
 * hardware. Whoever rewrites the log cannot make one. Every thread.
 *
 * What is signed: "signet audit head 1", a zero byte, the sequence of a record before it (64 bits,
 * big-endian) and its hash; ECDSA P-256 with SHA-256, the signature as r || s. The key is known by
 * KEY_ID: hexadecimal of the first 20 bytes of SHA-256 over its SubjectPublicKeyInfo. */
#pragma once

#include "audit/record.h"
#include "lib/base/text.h"

enum audit_head_reason {
    AUDIT_HEAD_START,    /* the agent started */
    AUDIT_HEAD_INTERVAL, /* time has passed */
    AUDIT_HEAD_STOP,     /* the agent stops in order: the next record is a start */
    AUDIT_HEAD_FILE,     /* first record of a new file */
};

enum { AUDIT_SIGNATURE_BYTES = 64 };

/* Appends what has to be signed. */
void audit_head_message(const struct audit_link *link, struct buffer *ret_message);

struct audit_head {
    struct audit_link link; /* that is signed: of the record before, or of one that lies some way
                               back where the hardware took its time */
    enum audit_head_reason reason;
    char key_id[41];
    uint8_t signature[AUDIT_SIGNATURE_BYTES];
};

/* KEY_ID of a SubjectPublicKeyInfo DER. */
void audit_key_id(struct bytes public_key, char ret_key_id[41]);

/* Appends the body of the record: "@timestamp", "event.action" = "audit-head", what ECS wants of
 * every event, "signet.head.reason", "signet.head.sequence", "signet.head.hash",
 * "signet.head.key_id", "signet.head.signature" (base64). time_ms: since 1970. */
void audit_head_body(const struct audit_head *head, int64_t time_ms, struct buffer *ret_body);
/* Whether the body is one of a head; DataLoss: it says so and cannot be read. */
int audit_head_parse(struct bytes body, bool *ret_is_head, struct audit_head *ret_head,
                     struct error *err);
/* Checks the signature with a public key (SubjectPublicKeyInfo DER) of that key_id. DataLoss: it is
 * not right. */
int audit_head_verify(const struct audit_head *head, struct bytes public_key, struct error *err);
