/* Public keys as JSON Web Keys (RFC 7517, RFC 7518 6). Every thread. */
#pragma once

#include <jansson.h>
#include <openssl/evp.h>

#include "lib/base/error.h"

/* kty with crv, x, y (P-256, P-384, P-521) or n, e (RSA); other types are Unimplemented. */
int jwk_of_public_key(const EVP_PKEY *key, json_t **ret_jwk, struct error *err);
