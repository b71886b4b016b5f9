/* The inventory of what was issued, in the store. For who may call: store.h. */
#pragma once

#include "agent/issuer/authority.h"
#include "agent/issuer/store.h"

struct issued {
    const char *serial; /* hexadecimal; of a JWT-SVID its jti, never the token */
    enum authority_kind kind;
    const char *spiffe_id, *entry_id;
    const char *authority;  /* kid of who signed */
    const char *key_id;     /* hexadecimal; "" for JWT-SVIDs */
    const char *protection; /* "" for JWT-SVIDs */
    int64_t not_before_s, expires_at_s, issued_at_s;
};

int issued_table_insert(struct store *store, const struct issued *issued, struct error *err);
/* Deletes at most limit rows that expired before then. */
int issued_table_prune(struct store *store, int64_t expired_before_s, size_t limit,
                       size_t *ret_deleted, struct error *err);
