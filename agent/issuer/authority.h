/* An authority: a key in hardware that signs SVIDs, with the certificate (X.509) or key ID (JWT) by
 * which others know it. Functions marked "blocks" use the keystore. */
#pragma once

#include <openssl/x509.h>

#include "pkcs11/keystore.h"

enum authority_kind { AUTHORITY_KIND_X509, AUTHORITY_KIND_JWT };
enum { AUTHORITY_KIND_COUNT = 2 };

/* In the order in which it lives. */
enum authority_state {
    AUTHORITY_STATE_PREPARING, /* its key may or may not be in the hardware already */
    AUTHORITY_STATE_PREPARED,  /* in the bundle, does not sign yet */
    AUTHORITY_STATE_ACTIVE,    /* signs; one at a time */
    AUTHORITY_STATE_OLD,       /* in the bundle, as what it signed may be valid */
    AUTHORITY_STATE_RETIRED,   /* out of the bundle; its key is to be destroyed */
};

enum { AUTHORITY_ID_BYTES = 16, AUTHORITY_KID_BYTES = 2 * KEY_ID_BYTES + 1 };

struct authority {
    unsigned references; /* loop thread only */
    uint8_t id[AUTHORITY_ID_BYTES];
    enum authority_kind kind;
    enum authority_state state;
    enum key_type key_type;
    char *keystore; /* name */
    struct buffer reference;
    struct buffer public_key;  /* SubjectPublicKeyInfo, DER; empty while preparing */
    struct buffer certificate; /* DER; empty for JWT */
    int64_t not_before_s, expires_at_s, created_at_s;

    /* From what is above: */
    char kid[AUTHORITY_KID_BYTES]; /* the key's ID, hexadecimal */
    EVP_PKEY *public;
    X509 *parsed; /* NULL for JWT */
    /* Where the key can be used: */
    struct key *key;
    EVP_PKEY *signer;
};

/* "x509" and "jwt"; "preparing" to "retired": as in the store. -1 for an unknown name. */
const char *authority_kind_name(enum authority_kind kind);
const char *authority_state_name(enum authority_state state);
int authority_kind_parse(const char *text, enum authority_kind *ret_kind, struct error *err);
int authority_state_parse(const char *text, enum authority_state *ret_state, struct error *err);
/* "CA" and "JWT key", for people. */
const char *authority_kind_title(enum authority_kind kind);

struct authority *authority_ref(struct authority *authority);
void authority_unref(struct authority *authority);
DEFINE_CLEANUP(struct authority, authority_unref, authority_unref);

/* One in state preparing with a random id; the dates are set. */
int authority_new(enum authority_kind kind, enum key_type key_type, const char *keystore,
                  int64_t now_s, uint32_t ttl_s, struct authority **ret_authority,
                  struct error *err);
/* Makes the key under the id, which must be in the store already, and the certificate. Blocks. */
int authority_make(struct authority *authority, struct keystore *keystore, const char *trust_domain,
                   struct error *err);
/* Fills in what follows from stored values. */
int authority_parse(struct authority *authority, struct error *err);
/* Opens the key again. Blocks. NotFound: it is not, or is another, in this keystore. */
int authority_open(struct authority *authority, struct keystore *keystore, struct error *err);

/* Whether others are to believe it. */
bool authority_is_published(const struct authority *authority);
/* Whether it can sign something that is valid now. */
bool authority_is_usable(const struct authority *authority, int64_t now_s);
