/* What the types of keys are, for the keystore itself and for drivers that work with OpenSSL. */
#pragma once

#include "pkcs11/keystore.h"

struct key_type_info {
    const char *name;      /* as in the configuration */
    const char *algorithm; /* as OpenSSL calls it */
    const char *group;     /* of EC keys, as OpenSSL calls it; else NULL */
    size_t number_bytes;   /* of the curve's order, or the modulus */
};

const struct key_type_info *key_type_info(enum key_type type);

/* What OpenSSL calls the digest. */
const char *sign_digest_name(enum sign_digest digest);

/* Checks that a key of this type can make such a signature, and the size of the digest. */
int sign_request_check(const struct sign_request *request, enum key_type type, struct error *err);
