/* The form of a JWT-SVID: three parts, strict base64url, strict JSON, a header that the standard
 * allows (JWT-SVID 2, RFC 7515 7.1). Nothing is believed yet. Every thread. */
#pragma once

#include <jansson.h>

#include "lib/base/bytes.h"

/* Nesting of JSON in a token: more is of no use to claims. */
enum { JWT_MAX_DEPTH = 32 };

struct jwt_algorithm {
    const char *name;
    const char *key_type;   /* "kty" of a JWK that fits */
    const char *curve;      /* "crv"; NULL for RSA */
    size_t signature_bytes; /* 0: as many as the RSA modulus */
};

struct jwt {
    struct bytes parts[3]; /* header, payload, signature as they came; borrowed from the token */
    const struct jwt_algorithm *algorithm;
    json_t *header, *claims; /* owned */
    const char *kid;         /* in header */
    size_t signature_bytes;
};

/* jwt is all zero before, and is to be cleared also after an error. */
int jwt_parse(const char *token, struct jwt *jwt, struct error *err);
void jwt_clear(struct jwt *jwt);
