/* The hash algorithms of TPM banks, names and signatures. Every thread. */
#pragma once

#include <openssl/evp.h>
#include <tss2/tss2_tpm2_types.h>

#include "lib/base/bytes.h"

enum { HASH_MAX_BYTES = 64 };

struct hash_algorithm {
    TPM2_ALG_ID id;   /* TPM2_ALG_SHA1, _SHA256, _SHA384, _SHA512 */
    const char *name; /* "sha1", "sha256", "sha384", "sha512" */
    size_t size;      /* of a digest, bytes */
    const EVP_MD *(*md)(void);
};

/* NULL: not one of these. */
const struct hash_algorithm *hash_by_id(TPM2_ALG_ID id);
const struct hash_algorithm *hash_by_name(const char *name);

/* Over the parts in turn. */
int hash_compute(const struct hash_algorithm *hash, const struct bytes *parts, size_t count,
                 uint8_t ret_digest[HASH_MAX_BYTES], struct error *err);
