/* The trust bundle: whom to believe. Immutable and reference counted; every thread (atomic count).
 */
#pragma once

#include <openssl/evp.h>

#include "lib/base/bytes.h"

struct bundle_jwt_key {
    char *kid;
    EVP_PKEY *public_key;
    int64_t expires_at_s;
};

struct bundle {
    _Atomic unsigned references;
    char *trust_domain;
    uint64_t sequence;          /* grows with each change */
    struct buffer *authorities; /* X.509 authorities, one DER certificate each */
    size_t authority_count;
    struct bundle_jwt_key *jwt_keys;
    size_t jwt_key_count;
    struct buffer
        x509_der; /* all authorities one after the other, as the Workload API sends them */
    char *jwks;   /* the JWT bundle as JWK set, JSON */
};

struct bundle *bundle_ref(struct bundle *bundle);
void bundle_unref(struct bundle *bundle);
DEFINE_CLEANUP(struct bundle, bundle_unref, bundle_unref);

/* Builds one from its parts (all copied; EVP_PKEY referenced); fills x509_der and jwks. jwks has
 * for each key kty, kid, crv, x, y or n, e; no "use" (as spire-agent sends it). */
int bundle_new(const char *trust_domain, uint64_t sequence, const struct bytes *authorities,
               size_t authority_count, const struct bundle_jwt_key *jwt_keys, size_t jwt_key_count,
               struct bundle **ret_bundle, struct error *err);
/* The SPIFFE bundle format (SPIFFE Trust Domain and Bundle 4), JSON; the caller frees it.
 * refresh_hint_s 0: none. */
char *bundle_format_spiffe(const struct bundle *bundle, uint64_t refresh_hint_s);
