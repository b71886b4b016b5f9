#include "pkcs11/tpm/tpm_salt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>
#include <tss2/tss2_mu.h>

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free);

enum { COORDINATE_BYTES = 32, POINT_BYTES = 1 + 2 * COORDINATE_BYTES };

static const char label[] = "SECRET";

/* Z, the x coordinate of the shared point; OpenSSL pads it to the size of the field. */
static bool derive(EVP_PKEY *own, EVP_PKEY *primary, uint8_t *ret_shared)
{
    size_t size = COORDINATE_BYTES;
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    return context && EVP_PKEY_derive_init(context) == 1 &&
           EVP_PKEY_derive_set_peer(context, primary) == 1 &&
           EVP_PKEY_derive(context, ret_shared, &size) == 1 && size == COORDINATE_BYTES;
}

static bool read_point(EVP_PKEY *pkey, uint8_t ret_point[POINT_BYTES])
{
    size_t size = 0;
    return EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, ret_point, POINT_BYTES,
                                           &size) == 1 &&
           size == POINT_BYTES && ret_point[0] == POINT_CONVERSION_UNCOMPRESSED;
}

static bool put_point(const uint8_t point[POINT_BYTES], TPM2B_ENCRYPTED_SECRET *ret_encrypted)
{
    TPMS_ECC_POINT marshal = {.x.size = COORDINATE_BYTES, .y.size = COORDINATE_BYTES};
    size_t size = 0;
    memcpy(marshal.x.buffer, point + 1, COORDINATE_BYTES);
    memcpy(marshal.y.buffer, point + 1 + COORDINATE_BYTES, COORDINATE_BYTES);
    TSS2_RC rc = Tss2_MU_TPMS_ECC_POINT_Marshal(&marshal, ret_encrypted->secret,
                                                sizeof(ret_encrypted->secret), &size);
    ret_encrypted->size = (uint16_t)size;
    return rc == TSS2_RC_SUCCESS;
}

/* Part 1 C.6.1. */
static bool make_ecc(const struct tpm_crypto *crypto, EVP_PKEY *primary, uint8_t *salt,
                     uint8_t *shared, TPM2B_ENCRYPTED_SECRET *ret_encrypted)
{
    uint8_t own_point[POINT_BYTES];
    uint8_t primary_point[POINT_BYTES];
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *own = EVP_EC_gen("P-256");
    bool is_made = own && derive(own, primary, shared) && read_point(own, own_point) &&
                   read_point(primary, primary_point) &&
                   tpm_crypto_kdfe(crypto, (struct bytes){shared, COORDINATE_BYTES}, label,
                                   (struct bytes){own_point + 1, COORDINATE_BYTES},
                                   (struct bytes){primary_point + 1, COORDINATE_BYTES}, salt) &&
                   put_point(own_point, ret_encrypted);
    OPENSSL_cleanse(shared, COORDINATE_BYTES);
    return is_made;
}

/* Part 1 B.10.2. The label counts with its NUL, and OpenSSL takes the copy. */
static bool set_oaep(EVP_PKEY_CTX *context, EVP_MD *sha256)
{
    void *copy = OPENSSL_memdup(label, sizeof(label));
    if (EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(context, sha256) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, sha256) != 1 ||
        EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, sizeof(label)) != 1) {
        OPENSSL_free(copy);
        return false;
    }
    return true;
}

static bool make_rsa(const struct tpm_crypto *crypto, EVP_PKEY *primary, uint8_t *salt,
                     TPM2B_ENCRYPTED_SECRET *ret_encrypted)
{
    size_t size = sizeof(ret_encrypted->secret);
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, primary, NULL);
    if (!context || !set_oaep(context, crypto->sha256) ||
        RAND_priv_bytes(salt, TPM_HASH_BYTES) != 1 ||
        EVP_PKEY_encrypt(context, ret_encrypted->secret, &size, salt, TPM_HASH_BYTES) != 1) {
        return false;
    }
    ret_encrypted->size = (uint16_t)size;
    return true;
}

TSS2_RC tpm_salt_make(const struct tpm_crypto *crypto, const TPM2B_PUBLIC *primary, uint8_t *salt,
                      uint8_t *shared, TPM2B_ENCRYPTED_SECRET *ret_encrypted)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = tpm_public_pkey(primary, NULL);
    bool is_made = pkey && (primary->publicArea.type == TPM2_ALG_ECC
                                ? make_ecc(crypto, pkey, salt, shared, ret_encrypted)
                                : make_rsa(crypto, pkey, salt, ret_encrypted));
    return is_made ? TSS2_RC_SUCCESS : TPM_RC_CRYPTO;
}
