#include "attest/credential_seed.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "attest/kdf.h"

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free);

static const char label[] = "IDENTITY";

/* An uncompressed point: both coordinates are padded to the size of the field. */
struct point {
    uint8_t data[1 + 2 * CREDENTIAL_COORDINATE_MAX_BYTES];
    size_t size;
};

static size_t coordinate_size(const struct point *point)
{
    return (point->size - 1) / 2;
}

static struct bytes point_x(const struct point *point)
{
    return (struct bytes){point->data + 1, coordinate_size(point)};
}

static struct bytes point_y(const struct point *point)
{
    return (struct bytes){point->data + 1 + coordinate_size(point), coordinate_size(point)};
}

static bool read_point(const EVP_PKEY *pkey, struct point *ret_point)
{
    return EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, ret_point->data,
                                           sizeof(ret_point->data), &ret_point->size) == 1 &&
           ret_point->size % 2 == 1 && ret_point->data[0] == POINT_CONVERSION_UNCOMPRESSED;
}

/* Z; OpenSSL pads it to the size of the field, without which one TPM in 256 tries would refuse. */
static bool derive(EVP_PKEY *own, EVP_PKEY *ek, size_t field_size, uint8_t *ret_shared)
{
    size_t size = CREDENTIAL_COORDINATE_MAX_BYTES;
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    return context && EVP_PKEY_derive_init(context) == 1 &&
           EVP_PKEY_derive_set_peer(context, ek) == 1 &&
           EVP_PKEY_derive(context, ret_shared, &size) == 1 && size == field_size;
}

static void append_sized(struct buffer *buffer, struct bytes bytes)
{
    buffer_append_u16(buffer, (uint16_t)bytes.size);
    buffer_append(buffer, bytes.data, bytes.size);
}

int credential_seed_make_ecc(EVP_PKEY *own, EVP_PKEY *ek, const struct hash_algorithm *hash,
                             struct credential_secrets *secrets, struct buffer *ret_encrypted,
                             struct error *err)
{
    struct point own_point;
    struct point ek_point;
    if (!read_point(own, &own_point) || !read_point(ek, &ek_point) ||
        !derive(own, ek, coordinate_size(&ek_point), secrets->shared)) {
        return error_set_openssl(err, ERROR_INTERNAL, "ECDH with an EK");
    }
    const struct bytes shared = {secrets->shared, coordinate_size(&ek_point)};
    TRY(kdf_e(hash, shared, label, point_x(&own_point), point_x(&ek_point), secrets->seed,
              hash->size, err));
    append_sized(ret_encrypted, point_x(&own_point));
    append_sized(ret_encrypted, point_y(&own_point));
    return 0;
}

static int make_ecc(EVP_PKEY *ek, const struct hash_algorithm *hash,
                    struct credential_secrets *secrets, struct buffer *ret_encrypted,
                    struct error *err)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *own = NULL;
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, ek, NULL);
    if (!context || EVP_PKEY_keygen_init(context) != 1 || EVP_PKEY_generate(context, &own) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "making a key on the EK's curve");
    }
    return credential_seed_make_ecc(own, ek, hash, secrets, ret_encrypted, err);
}

/* The label counts with its NUL, and OpenSSL takes the copy. */
static bool set_oaep(EVP_PKEY_CTX *context, const EVP_MD *md)
{
    void *copy = OPENSSL_memdup(label, sizeof(label));
    if (EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(context, md) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, md) != 1 ||
        EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, sizeof(label)) != 1) {
        OPENSSL_free(copy);
        return false;
    }
    return true;
}

static int make_rsa(EVP_PKEY *ek, const struct hash_algorithm *hash,
                    struct credential_secrets *secrets, struct buffer *ret_encrypted,
                    struct error *err)
{
    uint8_t encrypted[4096 / 8];
    size_t size = sizeof(encrypted);
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, ek, NULL);
    if (!context || !set_oaep(context, hash->md()) ||
        RAND_priv_bytes(secrets->seed, (int)hash->size) != 1 ||
        EVP_PKEY_encrypt(context, encrypted, &size, secrets->seed, hash->size) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "encrypting to an RSA EK");
    }
    buffer_append(ret_encrypted, encrypted, size);
    return 0;
}

int credential_seed_make(const TPMT_PUBLIC *ek, const struct hash_algorithm *hash,
                         struct credential_secrets *secrets, struct buffer *ret_encrypted,
                         struct error *err)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = NULL;
    TRY(public_pkey(ek, &pkey, err));
    return ek->type == TPM2_ALG_ECC ? make_ecc(pkey, hash, secrets, ret_encrypted, err)
                                    : make_rsa(pkey, hash, secrets, ret_encrypted, err);
}
