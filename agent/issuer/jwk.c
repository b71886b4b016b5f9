#include "agent/issuer/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

DEFINE_CLEANUP(BIGNUM, bignum, BN_free);

/* size_bytes 0: as many as the number needs. */
static int set_number(json_t *jwk, const char *member, const EVP_PKEY *key, const char *parameter,
                      int size_bytes, struct error *err)
{
    _cleanup_(bignum_cleanup) BIGNUM *number = NULL;
    _cleanup_(buffer_clear) struct buffer bytes = {0};
    if (EVP_PKEY_get_bn_param(key, parameter, &number) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading %s of a public key", member);
    }
    int size = size_bytes ? size_bytes : BN_num_bytes(number);
    if (BN_bn2binpad(number, buffer_extend(&bytes, (size_t)size), size) != size) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding %s of a public key", member);
    }
    _cleanup_(free_cleanup) char *text = text_base64url(buffer_bytes(&bytes));
    (void)json_object_set_new(jwk, member, json_string(text));
    return 0;
}

static int set_curve_point(json_t *jwk, const EVP_PKEY *key, struct error *err)
{
    static const struct {
        const char *group, *name;
        int size_bytes;
    } curves[] = {
        {"prime256v1", "P-256", 32}, {"secp384r1", "P-384", 48}, {"secp521r1", "P-521", 66}};
    char group[64] = "";
    (void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
    for (size_t i = 0; i < ARRAY_SIZE(curves); i++) {
        if (strcmp(curves[i].group, group) == 0) {
            (void)json_object_set_new(jwk, "kty", json_string("EC"));
            (void)json_object_set_new(jwk, "crv", json_string(curves[i].name));
            TRY(set_number(jwk, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, curves[i].size_bytes, err));
            return set_number(jwk, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, curves[i].size_bytes, err);
        }
    }
    return error_set(err, ERROR_UNIMPLEMENTED, "JSON Web Keys know no curve \"%s\"", group);
}

int jwk_of_public_key(const EVP_PKEY *key, json_t **ret_jwk, struct error *err)
{
    _cleanup_(json_decrefp) json_t *jwk = json_object();
    if (EVP_PKEY_is_a(key, "EC")) {
        TRY(set_curve_point(jwk, key, err));
    } else if (EVP_PKEY_is_a(key, "RSA")) {
        (void)json_object_set_new(jwk, "kty", json_string("RSA"));
        TRY(set_number(jwk, "n", key, OSSL_PKEY_PARAM_RSA_N, 0, err));
        TRY(set_number(jwk, "e", key, OSSL_PKEY_PARAM_RSA_E, 0, err));
    } else {
        return error_set(err, ERROR_UNIMPLEMENTED, "a public key is neither RSA nor EC");
    }
    *ret_jwk = json_incref(jwk);
    return 0;
}
