#include "pkcs11/module/public_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "lib/base/macro.h"
#include "pkcs11/key_type.h"

enum { RSA_MODULUS_BITS = 2048, TAG_OCTET_STRING = 0x04, POINT_IS_UNCOMPRESSED = 0x04 };

DEFINE_CLEANUP(EVP_PKEY, pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, pkey_context, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(OSSL_PARAM_BLD, builder, OSSL_PARAM_BLD_free);
DEFINE_CLEANUP(OSSL_PARAM, parameters, OSSL_PARAM_free);
DEFINE_CLEANUP(BIGNUM, number, BN_free);

struct bytes module_ec_parameters(enum key_type type)
{
    static const uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    static const uint8_t p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
    static const struct bytes parameters[KEY_TYPE_COUNT] = {
        [KEY_TYPE_EC_P256] = {p256, sizeof(p256)},
        [KEY_TYPE_EC_P384] = {p384, sizeof(p384)},
    };
    return parameters[type];
}

static int encode(const char *algorithm, OSSL_PARAM_BLD *builder, struct buffer *ret_spki,
                  struct error *err)
{
    _cleanup_(parameters_cleanup) OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    _cleanup_(pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    _cleanup_(pkey_cleanup) EVP_PKEY *key = NULL;
    if (!parameters || !context || EVP_PKEY_fromdata_init(context) <= 0 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading the public key from the token");
    }
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    if (size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding the public key from the token");
    }
    buffer_append(ret_spki, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}

/* The raw point: 0x04, x, y. */
static int unwrap_point(enum key_type type, struct bytes point, struct bytes *ret_raw,
                        struct error *err)
{
    size_t size = 1 + 2 * key_type_info(type)->number_bytes;
    struct bytes raw = point;
    if (point.size != size) {
        struct reader reader = reader_of(point);
        bool is_string = reader_u8(&reader) == TAG_OCTET_STRING;
        /* Both curves have points of less than 128 bytes, so the length is one byte. */
        bool is_length = reader_u8(&reader) == size;
        raw = reader_bytes(&reader, size);
        if (!is_string || !is_length || !reader_is_done(&reader)) {
            raw.size = 0;
        }
    }
    if (raw.size != size || raw.data[0] != POINT_IS_UNCOMPRESSED) {
        return error_set(err, ERROR_INTERNAL,
                         "reading the public %s key from the token: its point of %zu bytes is not "
                         "an uncompressed point of the curve",
                         key_type_name(type), point.size);
    }
    *ret_raw = raw;
    return 0;
}

int module_public_ec(enum key_type type, struct bytes parameters, struct bytes point,
                     struct buffer *ret_spki, struct error *err)
{
    struct bytes raw = {0};
    if (!bytes_is_equal(parameters, module_ec_parameters(type))) {
        return error_set(err, ERROR_INTERNAL,
                         "reading the public %s key from the token: it is on another curve",
                         key_type_name(type));
    }
    TRY(unwrap_point(type, point, &raw, err));
    _cleanup_(builder_cleanup) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (!builder ||
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME,
                                        key_type_info(type)->group, 0) <= 0 ||
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, raw.data, raw.size) <=
            0) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading the public key from the token");
    }
    return encode("EC", builder, ret_spki, err);
}

int module_public_rsa(struct bytes modulus, struct bytes exponent, struct buffer *ret_spki,
                      struct error *err)
{
    _cleanup_(number_cleanup) BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.size, NULL);
    _cleanup_(number_cleanup) BIGNUM *e = BN_bin2bn(exponent.data, (int)exponent.size, NULL);
    _cleanup_(builder_cleanup) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (n && e && (BN_num_bits(n) != RSA_MODULUS_BITS || !BN_is_word(e, RSA_F4))) {
        return error_set(err, ERROR_INTERNAL,
                         "reading the public RSA key from the token: it has %d bits and another "
                         "exponent or size than 65537 and %d bits",
                         BN_num_bits(n), RSA_MODULUS_BITS);
    }
    if (!n || !e || !builder || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) <= 0 ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading the public key from the token");
    }
    return encode("RSA", builder, ret_spki, err);
}
