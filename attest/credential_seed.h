/* The seed of a credential: a secret that the EK's TPM can read, and what carries it there (TPM 2.0
 * Part 1 B.10.4 and C.6.3). Every thread. */
#pragma once

#include "attest/public.h"

enum { CREDENTIAL_COORDINATE_MAX_BYTES = 66 };

/* In guarded memory, one for a credential. */
struct credential_secrets {
    uint8_t shared[CREDENTIAL_COORDINATE_MAX_BYTES]; /* ECDH's Z */
    uint8_t seed[HASH_MAX_BYTES];                    /* as long as the digest of the hash */
    uint8_t key[32];                                 /* encrypts the secret */
    uint8_t mac_key[HASH_MAX_BYTES];
};

/* Appends the contents of a TPM2B_ENCRYPTED_SECRET. hash: the EK's nameAlg. */
int credential_seed_make(const TPMT_PUBLIC *ek, const struct hash_algorithm *hash,
                         struct credential_secrets *secrets, struct buffer *ret_encrypted,
                         struct error *err);
/* As above for an ECC EK, with a key pair of the caller's on the same curve. */
int credential_seed_make_ecc(EVP_PKEY *own, EVP_PKEY *ek, const struct hash_algorithm *hash,
                             struct credential_secrets *secrets, struct buffer *ret_encrypted,
                             struct error *err);
