/* The key derivations of TPM 2.0 for any of its hashes (Part 1 11.4.10). The label is used with its
 * NUL. Every thread. */
#pragma once

#include "attest/hash.h"

/* KDFa: from a key. */
int kdf_a(const struct hash_algorithm *hash, struct bytes key, const char *label,
          struct bytes context_u, struct bytes context_v, uint8_t *ret_key, size_t size,
          struct error *err);
/* KDFe: from what ECDH gave, padded to the size of the curve's field. */
int kdf_e(const struct hash_algorithm *hash, struct bytes shared, const char *label,
          struct bytes party_u, struct bytes party_v, uint8_t *ret_key, size_t size,
          struct error *err);
