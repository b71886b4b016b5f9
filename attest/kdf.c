#include "attest/kdf.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

DEFINE_CLEANUP(EVP_KDF, kdf, EVP_KDF_free);
DEFINE_CLEANUP(EVP_KDF_CTX, kdf_context, EVP_KDF_CTX_free);

enum { PARAMETERS_MAX = 8 };

static OSSL_PARAM octets(const char *name, struct bytes value)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): it is only read, but wanted writable */
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)value.data, value.size);
}

static OSSL_PARAM text(const char *name, const char *value)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): as above */
    return OSSL_PARAM_construct_utf8_string(name, (char *)(uintptr_t)value, 0);
}

static int derive(const char *name, const OSSL_PARAM *parameters, uint8_t *ret_key, size_t size,
                  struct error *err)
{
    _cleanup_(kdf_cleanup) EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
    _cleanup_(kdf_context_cleanup) EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    if (!context || EVP_KDF_derive(context, ret_key, size, parameters) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "deriving a key for a TPM with OpenSSL's %s",
                                 name);
    }
    return 0;
}

int kdf_a(const struct hash_algorithm *hash, struct bytes key, const char *label,
          struct bytes context_u, struct bytes context_v, uint8_t *ret_key, size_t size,
          struct error *err)
{
    /* SP 800-108 in counter mode, whose separating zero is the label's NUL. */
    _cleanup_(buffer_clear) struct buffer context = {0};
    buffer_append(&context, context_u.data, context_u.size);
    buffer_append(&context, context_v.data, context_v.size);
    OSSL_PARAM parameters[PARAMETERS_MAX] = {
        text(OSSL_KDF_PARAM_MODE, "counter"),
        text(OSSL_KDF_PARAM_MAC, "HMAC"),
        text(OSSL_KDF_PARAM_DIGEST, hash->name),
        octets(OSSL_KDF_PARAM_KEY, key),
        octets(OSSL_KDF_PARAM_SALT, bytes_of_text(label)),
    };
    size_t count = 5;
    if (context.size > 0) {
        parameters[count++] = octets(OSSL_KDF_PARAM_INFO, buffer_bytes(&context));
    }
    parameters[count] = OSSL_PARAM_construct_end();
    return derive("KBKDF", parameters, ret_key, size, err);
}

int kdf_e(const struct hash_algorithm *hash, struct bytes shared, const char *label,
          struct bytes party_u, struct bytes party_v, uint8_t *ret_key, size_t size,
          struct error *err)
{
    /* SP 800-56C in one step. */
    _cleanup_(buffer_clear) struct buffer info = {0};
    buffer_append(&info, label, strlen(label) + 1);
    buffer_append(&info, party_u.data, party_u.size);
    buffer_append(&info, party_v.data, party_v.size);
    const OSSL_PARAM parameters[] = {
        text(OSSL_KDF_PARAM_DIGEST, hash->name),
        octets(OSSL_KDF_PARAM_KEY, shared),
        octets(OSSL_KDF_PARAM_INFO, buffer_bytes(&info)),
        OSSL_PARAM_construct_end(),
    };
    return derive("SSKDF", parameters, ret_key, size, err);
}
