#include "attest/credential.h"

#include <openssl/hmac.h>

#include "attest/credential_seed.h"
#include "attest/ek.h"
#include "attest/kdf.h"

DEFINE_CLEANUP(EVP_CIPHER_CTX, cipher_context, EVP_CIPHER_CTX_free);

static int encrypt(const struct credential_secrets *secrets, unsigned key_bits, struct bytes secret,
                   struct buffer *ret_encrypted, struct error *err)
{
    static const uint8_t zero[EVP_MAX_IV_LENGTH];
    const EVP_CIPHER *cipher = key_bits == 128 ? EVP_aes_128_cfb128() : EVP_aes_256_cfb128();
    const uint8_t size_field[] = {(uint8_t)(secret.size >> 8), (uint8_t)secret.size};
    uint8_t *out = buffer_extend(ret_encrypted, sizeof(size_field) + secret.size);
    int head = 0;
    int body = 0;
    _cleanup_(cipher_context_cleanup) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!context || EVP_EncryptInit_ex2(context, cipher, secrets->key, zero, NULL) != 1 ||
        EVP_EncryptUpdate(context, out, &head, size_field, sizeof(size_field)) != 1 ||
        EVP_EncryptUpdate(context, out + head, &body, secret.data, (int)secret.size) != 1 ||
        (size_t)head + (size_t)body != sizeof(size_field) + secret.size) {
        return error_set_openssl(err, ERROR_INTERNAL, "encrypting a credential");
    }
    return 0;
}

/* TPMS_ID_OBJECT: a sized HMAC, then what is encrypted without a size (Part 1 24.4). */
static int wrap(const struct hash_algorithm *hash, const struct credential_secrets *secrets,
                unsigned key_bits, struct bytes name, struct bytes secret,
                struct buffer *ret_id_object, struct error *err)
{
    uint8_t mac[HASH_MAX_BYTES];
    unsigned mac_size = 0;
    _cleanup_(buffer_clear) struct buffer covered = {0};
    TRY(encrypt(secrets, key_bits, secret, &covered, err));
    const size_t encrypted_size = covered.size;
    buffer_append(&covered, name.data, name.size);
    if (!HMAC(hash->md(), secrets->mac_key, (int)hash->size, covered.data, covered.size, mac,
              &mac_size)) {
        return error_set_openssl(err, ERROR_INTERNAL, "authenticating a credential");
    }
    buffer_append_u16(ret_id_object, (uint16_t)mac_size);
    buffer_append(ret_id_object, mac, mac_size);
    buffer_append(ret_id_object, covered.data, encrypted_size);
    return 0;
}

static unsigned storage_bits(const TPMT_PUBLIC *ek)
{
    return ek->type == TPM2_ALG_ECC ? ek->parameters.eccDetail.symmetric.keyBits.aes
                                    : ek->parameters.rsaDetail.symmetric.keyBits.aes;
}

static int derive_keys(const struct hash_algorithm *hash, struct credential_secrets *secrets,
                       unsigned key_bits, struct bytes name, struct error *err)
{
    const struct bytes seed = {secrets->seed, hash->size};
    const struct bytes none = {0};
    TRY(kdf_a(hash, seed, "STORAGE", name, none, secrets->key, key_bits / 8, err));
    return kdf_a(hash, seed, "INTEGRITY", none, none, secrets->mac_key, hash->size, err);
}

static int check_request(const TPMT_PUBLIC *ek, const struct tpm2_name *ak_name,
                         struct bytes secret, struct error *err)
{
    const struct ek_template *template = ek_template_of(ek);
    const struct hash_algorithm *hash = template ? hash_by_id(ek->nameAlg) : NULL;
    if (!hash) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "making a credential: the EK is not made from a template of the TCG EK "
                         "Credential Profile");
    }
    if (secret.size == 0 || secret.size > hash->size) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "making a credential: the secret has %zu bytes; an EK of template %s "
                         "takes 1 to %zu",
                         secret.size, template->name, hash->size);
    }
    if (ak_name->size < 2 || ak_name->size > sizeof(ak_name->data)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "making a credential: the AK has no name that a TPM would give it");
    }
    return 0;
}

int credential_make(const TPMT_PUBLIC *ek, const struct tpm2_name *ak_name, struct bytes secret,
                    struct buffer *ret_id_object, struct buffer *ret_encrypted, struct error *err)
{
    TRY(check_request(ek, ak_name, secret, err));
    /* The EK's, also where the AK's is another. */
    const struct hash_algorithm *hash = hash_by_id(ek->nameAlg);
    const unsigned key_bits = storage_bits(ek);
    const struct bytes name = tpm2_name_bytes(ak_name);
    _cleanup_(secret_clear) struct secret guarded = {0};
    _cleanup_(buffer_clear) struct buffer id_object = {0};
    _cleanup_(buffer_clear) struct buffer encrypted = {0};
    TRY(secret_new(sizeof(struct credential_secrets), &guarded, err));
    struct credential_secrets *secrets = (struct credential_secrets *)(void *)guarded.data;
    TRY(credential_seed_make(ek, hash, secrets, &encrypted, err));
    TRY(derive_keys(hash, secrets, key_bits, name, err));
    TRY(wrap(hash, secrets, key_bits, name, secret, &id_object, err));
    buffer_append(ret_id_object, id_object.data, id_object.size);
    buffer_append(ret_encrypted, encrypted.data, encrypted.size);
    return 0;
}
