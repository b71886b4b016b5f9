/* Signs heads on a thread of its own, so that no hardware that is slow or hangs holds up the
 * records. One thread asks and takes. */
#pragma once

#include "audit/head.h"
#include "pkcs11/keystore.h"

struct audit_signer;

struct audit_signer_config {
    struct keystore *keystore; /* borrowed until audit_signer_stop has returned true */
    const char *key_path;      /* of the file that remembers the key; copied */
    /* On the signer's thread, which lets nobody into the functions below meanwhile: there is
     * something to take. Not any more after audit_signer_stop. */
    void (*ready)(void *user);
    void *user;
};

int audit_signer_new(const struct audit_signer_config *config, struct audit_signer **ret_signer,
                     struct error *err);
/* Freed. Waits for the thread until deadline_ms (clock_monotonic_ms). False: it still hangs in the
 * keystore, and goes when that answers. */
bool audit_signer_stop(struct audit_signer *signer, uint64_t deadline_ms);

/* Only where nothing is asked for, or it was taken. */
void audit_signer_ask(struct audit_signer *signer, const struct audit_link *link,
                      enum audit_head_reason reason);

/* What came of it. */
struct audit_signed {
    bool is_failed;
    struct error failure;
    struct audit_head head;
    struct buffer public_key; /* of the key */
    char *notice;             /* the key is a new one: why; else NULL */
};
void audit_signed_clear(struct audit_signed *result);
/* Whether there is something; the caller clears it. */
bool audit_signer_take(struct audit_signer *signer, struct audit_signed *ret_signed);
