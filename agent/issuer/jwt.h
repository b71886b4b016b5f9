/* The tokens that the embedded issuer makes (JWT-SVID 2 and 3, RFC 7515 3.1). Signing blocks while
 * the key is in hardware: on a worker of its keystore. */
#pragma once

#include "lib/base/text.h"
#include "pkcs11/keystore.h"

enum { JWT_ID_BYTES = 16, JWT_AUDIENCES_MAX = 64, JWT_AUDIENCE_MAX_BYTES = 2048 };

struct jwt_template {
    const char *spiffe_id;
    const struct text_list *audience;
    int64_t issued_at_s, expires_at_s;
    EVP_PKEY *key;
    enum key_type key_type;
    const char *kid;
};

/* 1 to 64 audiences of 1 to 2048 bytes of UTF-8 each. */
int jwt_audience_check(const struct text_list *audience, struct error *err);

/* A signed token in compact form (the caller frees it), algorithm ES256, ES384 or RS256 by the type
 * of the key; ret_id: the random jti in hexadecimal (the caller frees it). */
int jwt_make_svid(const struct jwt_template *template, char **ret_token, char **ret_id,
                  struct error *err);
