/* The salt of a session: a secret that only the holder of the storage primary's private key can
 * read (TPM 2.0 Part 1 19.6.13). */
#pragma once

#include "lib/base/secret.h"
#include "pkcs11/tpm/tpm_public.h"

/* Makes 32 secret bytes in salt (guarded, of that size), and what tells them to the TPM: by ECDH
 * for a P-256 primary, by OAEP for RSA. shared is guarded room for 32 bytes, zeroed again. */
TSS2_RC tpm_salt_make(const struct tpm_crypto *crypto, const TPM2B_PUBLIC *primary, uint8_t *salt,
                      uint8_t *shared, TPM2B_ENCRYPTED_SECRET *ret_encrypted);
