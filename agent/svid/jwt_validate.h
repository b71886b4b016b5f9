/* Judging a JWT-SVID (JWT-SVID 5; RFC 7515, 7519). Every thread. */
#pragma once

#include <jansson.h>

#include "agent/issuer/bundle.h"
#include "lib/base/text.h"

enum { JWT_MAX_BYTES = 65536, JWT_LEEWAY_S = 60 };

/* Checks form, header (typ absent, JWT or JOSE; alg one of RS/PS/ES 256/384/512 that fits the key;
 * no crit that is not understood, and none is; kid known), signature, sub (a SPIFFE ID in the
 * bundle's trust domain), aud (has audience), exp, nbf, iat at now_s. ret_claims: all claims, aud
 * always an array; the caller decrefs. InvalidArgument with the reason otherwise. */
int jwt_svid_validate(const struct bundle *bundle, const char *token, const char *audience,
                      int64_t now_s, char **ret_spiffe_id, json_t **ret_claims, struct error *err);
