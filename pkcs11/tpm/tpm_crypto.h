/* The host's half of the cryptography of TPM sessions: SHA-256, HMAC, key derivation and AES-128 in
 * CFB mode. Algorithms are fetched once and contexts are used again, which is what makes a session
 * cheap. One thread at a time. Functions return whether OpenSSL did it; its error queue says why
 * not. */
#pragma once

#include <openssl/evp.h>

#include "lib/base/bytes.h"

enum { TPM_HASH_BYTES = 32, TPM_CIPHER_KEY_BYTES = 16, TPM_CIPHER_IV_BYTES = 16 };

struct tpm_crypto {
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    EVP_MAC *hmac;
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *cipher_context;
};

/* Fetches the algorithms. What was fetched before a failure is freed by tpm_crypto_close. */
int tpm_crypto_open(struct tpm_crypto *ret_crypto, struct error *err);
void tpm_crypto_close(struct tpm_crypto *crypto);

/* SHA-256 over the parts in turn. */
bool tpm_crypto_hash(const struct tpm_crypto *crypto, const struct bytes *parts, size_t count,
                     uint8_t ret_hash[TPM_HASH_BYTES]);

/* HMAC-SHA-256 with a key; the caller frees it with EVP_MAC_CTX_free. NULL on failure. */
EVP_MAC_CTX *tpm_crypto_mac_new(const struct tpm_crypto *crypto, struct bytes key);
/* Over the parts in turn, with the key of tpm_crypto_mac_new. */
bool tpm_crypto_mac(EVP_MAC_CTX *mac, const struct bytes *parts, size_t count,
                    uint8_t ret_mac[TPM_HASH_BYTES]);

/* KDFa for 256 bits, which is one block (TPM 2.0 Part 1 11.4.10.2). mac holds the key; label is
 * used with its NUL. */
bool tpm_crypto_kdfa(EVP_MAC_CTX *mac, const char *label, struct bytes context_u,
                     struct bytes context_v, uint8_t ret_key[TPM_HASH_BYTES]);
/* KDFe for 256 bits, likewise (Part 1 11.4.10.3). */
bool tpm_crypto_kdfe(const struct tpm_crypto *crypto, struct bytes shared_secret, const char *label,
                     struct bytes party_u, struct bytes party_v, uint8_t ret_key[TPM_HASH_BYTES]);

/* En- or decrypts in place. key is followed by the IV, as KDFa gives them. */
bool tpm_crypto_cfb(const struct tpm_crypto *crypto,
                    const uint8_t key[TPM_CIPHER_KEY_BYTES + TPM_CIPHER_IV_BYTES], bool encrypt,
                    uint8_t *data, size_t size);
