/* Public areas of TPM keys as they come from a TPM: names, keys, attributes (TPM 2.0 Part 2 12.2,
 * Part 1 16). For judging: what is read here came from outside. Every thread. */
#pragma once

#include "attest/hash.h"

enum { PUBLIC_LIMIT_BYTES = 1024, NAME_MAX_BYTES = 2 + HASH_MAX_BYTES };

struct tpm2_name {
    uint8_t data[NAME_MAX_BYTES];
    size_t size;
};
struct bytes tpm2_name_bytes(const struct tpm2_name *name);

/* A TPMT_PUBLIC without the size that a TPM2B has before it; every byte must be accounted for, and
 * the encoding must be the one that the TPM would hash. */
int public_parse(struct bytes encoded, TPMT_PUBLIC *ret_public, struct error *err);
void public_encode(const TPMT_PUBLIC *public, struct buffer *ret_encoded);
/* nameAlg and its digest of the public area. */
int public_name(const TPMT_PUBLIC *public, struct tpm2_name *ret_name, struct error *err);
/* Checked to be a valid key of its kind; the caller frees it. RSA 2048 to 4096, P-256, P-384,
 * P-521. */
int public_pkey(const TPMT_PUBLIC *public, EVP_PKEY **ret_pkey, struct error *err);
/* Of the SubjectPublicKeyInfo in DER. */
int public_spki(const TPMT_PUBLIC *public, struct buffer *ret_spki, struct error *err);

/* Attributes in people's words, the first that is not as it must be; NULL: all as they must be. */
const char *public_flaw_of_ak(const TPMT_PUBLIC *public);
/* Of a key that only signs, was made in the TPM and never leaves it. */
const char *public_flaw_of_signing_key(const TPMT_PUBLIC *public);
