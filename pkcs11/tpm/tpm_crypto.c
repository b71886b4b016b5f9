#include "pkcs11/tpm/tpm_crypto.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

int tpm_crypto_open(struct tpm_crypto *ret_crypto, struct error *err)
{
    *ret_crypto = (struct tpm_crypto){
        .sha256 = EVP_MD_fetch(NULL, "SHA256", NULL),
        .digest = EVP_MD_CTX_new(),
        .hmac = EVP_MAC_fetch(NULL, "HMAC", NULL),
        .cipher = EVP_CIPHER_fetch(NULL, "AES-128-CFB", NULL),
        .cipher_context = EVP_CIPHER_CTX_new(),
    };
    bool is_complete = ret_crypto->sha256 && ret_crypto->digest && ret_crypto->hmac &&
                       ret_crypto->cipher && ret_crypto->cipher_context;
    return is_complete ? 0
                       : error_set_openssl(err, ERROR_INTERNAL,
                                           "fetching SHA256, HMAC and AES-128-CFB from OpenSSL");
}

void tpm_crypto_close(struct tpm_crypto *crypto)
{
    EVP_CIPHER_CTX_free(crypto->cipher_context);
    EVP_CIPHER_free(crypto->cipher);
    EVP_MAC_free(crypto->hmac);
    EVP_MD_CTX_free(crypto->digest);
    EVP_MD_free(crypto->sha256);
    *crypto = (struct tpm_crypto){0};
}

bool tpm_crypto_hash(const struct tpm_crypto *crypto, const struct bytes *parts, size_t count,
                     uint8_t ret_hash[TPM_HASH_BYTES])
{
    bool is_done = EVP_DigestInit_ex2(crypto->digest, crypto->sha256, NULL) == 1;
    for (size_t i = 0; is_done && i < count; i++) {
        is_done = EVP_DigestUpdate(crypto->digest, parts[i].data, parts[i].size) == 1;
    }
    return is_done && EVP_DigestFinal_ex(crypto->digest, ret_hash, NULL) == 1;
}

EVP_MAC_CTX *tpm_crypto_mac_new(const struct tpm_crypto *crypto, struct bytes key)
{
    char name[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(crypto->hmac);
    if (!mac || EVP_MAC_init(mac, key.data, key.size, parameters) != 1) {
        EVP_MAC_CTX_free(mac);
        return NULL;
    }
    return mac;
}

bool tpm_crypto_mac(EVP_MAC_CTX *mac, const struct bytes *parts, size_t count,
                    uint8_t ret_mac[TPM_HASH_BYTES])
{
    size_t size = 0;
    bool is_done = EVP_MAC_init(mac, NULL, 0, NULL) == 1;
    for (size_t i = 0; is_done && i < count; i++) {
        is_done = EVP_MAC_update(mac, parts[i].data, parts[i].size) == 1;
    }
    return is_done && EVP_MAC_final(mac, ret_mac, &size, TPM_HASH_BYTES) == 1 &&
           size == TPM_HASH_BYTES;
}

/* The number of the only block, and the 256 bits asked for, as the derivations want them. */
static const uint8_t block_number[] = {0, 0, 0, 1};
static const uint8_t bit_count[] = {0, 0, 1, 0};

static struct bytes with_nul(const char *label)
{
    return (struct bytes){(const uint8_t *)label, strlen(label) + 1};
}

bool tpm_crypto_kdfa(EVP_MAC_CTX *mac, const char *label, struct bytes context_u,
                     struct bytes context_v, uint8_t ret_key[TPM_HASH_BYTES])
{
    const struct bytes parts[] = {
        {block_number, sizeof(block_number)}, with_nul(label), context_u, context_v,
        {bit_count, sizeof(bit_count)},
    };
    return tpm_crypto_mac(mac, parts, ARRAY_SIZE(parts), ret_key);
}

bool tpm_crypto_kdfe(const struct tpm_crypto *crypto, struct bytes shared_secret, const char *label,
                     struct bytes party_u, struct bytes party_v, uint8_t ret_key[TPM_HASH_BYTES])
{
    const struct bytes parts[] = {
        {block_number, sizeof(block_number)}, shared_secret, with_nul(label), party_u, party_v,
    };
    return tpm_crypto_hash(crypto, parts, ARRAY_SIZE(parts), ret_key);
}

bool tpm_crypto_cfb(const struct tpm_crypto *crypto,
                    const uint8_t key[TPM_CIPHER_KEY_BYTES + TPM_CIPHER_IV_BYTES], bool encrypt,
                    uint8_t *data, size_t size)
{
    int written = 0;
    return EVP_CipherInit_ex2(crypto->cipher_context, crypto->cipher, key,
                              key + TPM_CIPHER_KEY_BYTES, encrypt, NULL) == 1 &&
           EVP_CipherUpdate(crypto->cipher_context, data, &written, data, (int)size) == 1 &&
           (size_t)written == size;
}
