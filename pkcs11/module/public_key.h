/* The public half of a key as PKCS#11 has it, made into SubjectPublicKeyInfo. */
#pragma once

#include <p11-kit/pkcs11.h>

#include "pkcs11/keystore.h"

/* The DER of the curve's OBJECT IDENTIFIER, as CKA_EC_PARAMS has it; empty for RSA. */
struct bytes module_ec_parameters(enum key_type type);

/* point: CKA_EC_POINT, a DER OCTET STRING as the standard has it or raw as some modules do. Checks
 * that the curve is the type's and the point on it. */
int module_public_ec(enum key_type type, struct bytes parameters, struct bytes point,
                     struct buffer *ret_spki, struct error *err);
/* Checks size and exponent. */
int module_public_rsa(struct bytes modulus, struct bytes exponent, struct buffer *ret_spki,
                      struct error *err);
