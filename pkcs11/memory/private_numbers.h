/* The numbers that make a private key, in guarded memory. OpenSSL gets them for as long as it makes
 * or uses the key, and leaves no copy: its encoders and decoders are not used, since they leave
 * some in freed memory. For the files of this folder. */
#pragma once

#include "pkcs11/keystore.h"

struct private_numbers {
    enum key_type type;
    struct secret values; /* one after the other, see private_number_layout */
};

/* One number, in the byte order of the host and as long as its limit. */
struct private_number {
    const char *param; /* what OpenSSL calls it */
    size_t size_bytes;
};

enum { PRIVATE_NUMBERS_MAX = 8 };
/* Numbers in the order of RSAPrivateKey (RFC 8017 A.1.2) without the version, or the private value
 * of an EC key alone; ends where param is NULL. */
const struct private_number *private_number_layout(enum key_type type);

/* Makes a key. Slow for RSA. */
int private_numbers_generate(enum key_type type, struct private_numbers *ret_numbers,
                             struct buffer *ret_spki, struct error *err);
/* For _cleanup_ too. */
void private_numbers_clear(struct private_numbers *numbers);

/* The key for a short while: the caller frees it with EVP_PKEY_free, then calls
 * private_numbers_wipe_stack. */
EVP_PKEY *private_numbers_pkey(const struct private_numbers *numbers, struct error *err);

/* Zeroes what the functions that have returned left on the stack of this thread. */
void private_numbers_wipe_stack(void);
