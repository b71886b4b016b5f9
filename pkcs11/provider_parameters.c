/* What OpenSSL may set and ask of a signature. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>
#include <string.h>

#include "pkcs11/key_type.h"
#include "pkcs11/provider_signature.h"

int signature_fail(int reason, const char *text)
{
    ERR_raise_data(ERR_LIB_PROV, reason, "%s", text);
    return 0;
}

int signature_parse_digest(const char *name, enum sign_digest *ret_digest)
{
    static const enum sign_digest known[] = {SIGN_DIGEST_SHA256, SIGN_DIGEST_SHA384,
                                             SIGN_DIGEST_SHA512};
    EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
    bool is_known = false;
    for (size_t i = 0; md && !is_known && i < ARRAY_SIZE(known); i++) {
        is_known = EVP_MD_is_a(md, sign_digest_name(known[i]));
        *ret_digest = known[i];
    }
    EVP_MD_free(md);
    return is_known ? 1
                    : signature_fail(PROV_R_DIGEST_NOT_ALLOWED,
                                     "only SHA-256, SHA-384 and SHA-512 are signed");
}

static int set_digest(struct signature *signature, const OSSL_PARAM *param)
{
    signature->has_digest = param->data_type == OSSL_PARAM_UTF8_STRING &&
                            signature_parse_digest(param->data, &signature->digest);
    return signature->has_digest;
}

static int set_mask_digest(struct signature *signature, const OSSL_PARAM *param)
{
    signature->has_mask_digest = param->data_type == OSSL_PARAM_UTF8_STRING &&
                                 signature_parse_digest(param->data, &signature->mask_digest);
    return signature->has_mask_digest;
}

struct word {
    const char *text;
    int value;
};

/* OpenSSL gives some values as a number or as a word. */
static int read_value(const OSSL_PARAM *param, const struct word *words, int *ret_value)
{
    if (param->data_type != OSSL_PARAM_UTF8_STRING) {
        return OSSL_PARAM_get_int(param, ret_value);
    }
    for (; words->text; words++) {
        if (strcmp(param->data, words->text) == 0) {
            *ret_value = words->value;
            return 1;
        }
    }
    return 0;
}

static int set_padding(struct signature *signature, const OSSL_PARAM *param)
{
    static const struct word words[] = {
        {OSSL_PKEY_RSA_PAD_MODE_PKCSV15, RSA_PKCS1_PADDING},
        {OSSL_PKEY_RSA_PAD_MODE_PSS, RSA_PKCS1_PSS_PADDING},
        {0},
    };
    int padding = 0;
    if (!read_value(param, words, &padding) ||
        (padding != RSA_PKCS1_PADDING && padding != RSA_PKCS1_PSS_PADDING)) {
        return signature_fail(PROV_R_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE,
                              "a keystore signs with PKCS#1 v1.5 or PSS");
    }
    signature->padding = padding;
    return 1;
}

/* OpenSSL 3.1 and later: as long as the digest where that fits. */
enum { SALT_AUTO_DIGEST_MAX = -4 };

static int set_salt(struct signature *signature, const OSSL_PARAM *param)
{
    static const struct word words[] = {
        {"digest", RSA_PSS_SALTLEN_DIGEST},
        {"auto-digestmax", RSA_PSS_SALTLEN_DIGEST},
        {"auto", RSA_PSS_SALTLEN_AUTO},
        {"max", RSA_PSS_SALTLEN_MAX},
        {0},
    };
    if (!read_value(param, words, &signature->salt_bytes)) {
        return signature_fail(PROV_R_INVALID_SALT_LENGTH,
                              "the length of the salt of PSS is not understood");
    }
    if (signature->salt_bytes == SALT_AUTO_DIGEST_MAX) {
        signature->salt_bytes = RSA_PSS_SALTLEN_DIGEST;
    }
    return 1;
}

static const struct {
    const char *name;
    int (*set)(struct signature *signature, const OSSL_PARAM *param);
    bool is_for_rsa;
} setters[] = {
    {OSSL_SIGNATURE_PARAM_DIGEST, set_digest, false},
    {OSSL_SIGNATURE_PARAM_PAD_MODE, set_padding, true},
    {OSSL_SIGNATURE_PARAM_PSS_SALTLEN, set_salt, true},
    {OSSL_SIGNATURE_PARAM_MGF1_DIGEST, set_mask_digest, true},
};

int signature_set(void *data, const OSSL_PARAM params[])
{
    struct signature *signature = data;
    for (size_t i = 0; params && i < ARRAY_SIZE(setters); i++) {
        const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, setters[i].name);
        if (param && (signature->is_rsa || !setters[i].is_for_rsa) &&
            !setters[i].set(signature, param)) {
            return 0;
        }
    }
    return 1;
}

const OSSL_PARAM *signature_settable(void *data, void *context)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)data;
    (void)context;
    return params;
}

enum sign_scheme signature_scheme(const struct signature *signature)
{
    if (!signature->is_rsa) {
        return SIGN_SCHEME_ECDSA;
    }
    return signature->padding == RSA_PKCS1_PSS_PADDING ? SIGN_SCHEME_RSA_PSS
                                                       : SIGN_SCHEME_RSA_PKCS1;
}

static int get_algorithm_id(const struct signature *signature, OSSL_PARAM *param)
{
    _cleanup_(buffer_clear) struct buffer der = {0};
    return signature->has_digest &&
           provider_algorithm_id(signature_scheme(signature), signature->digest, &der, NULL) == 0 &&
           OSSL_PARAM_set_octet_string(param, der.data, der.size);
}

int signature_get(void *data, OSSL_PARAM params[])
{
    const struct signature *signature = data;
    OSSL_PARAM *id = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
    OSSL_PARAM *digest = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST);
    const char *name = signature->has_digest ? sign_digest_name(signature->digest) : "";
    return (!id || get_algorithm_id(signature, id)) &&
           (!digest || OSSL_PARAM_set_utf8_string(digest, name));
}

const OSSL_PARAM *signature_gettable(void *data, void *context)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)data;
    (void)context;
    return params;
}

int signature_set_other(const struct signature *signature, EVP_PKEY_CTX *context)
{
    OSSL_PARAM params[5];
    OSSL_PARAM *next = params;
    int padding = signature->padding;
    int salt_bytes = signature->salt_bytes;
    const struct signature *s = signature;
    if (s->has_digest) {
        *next++ = OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST,
                                                   (char *)sign_digest_name(s->digest), 0);
    }
    if (s->is_rsa) {
        *next++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PAD_MODE, &padding);
    }
    if (s->is_rsa && padding == RSA_PKCS1_PSS_PADDING) {
        *next++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, &salt_bytes);
    }
    if (s->has_mask_digest && padding == RSA_PKCS1_PSS_PADDING) {
        *next++ = OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST,
                                                   (char *)sign_digest_name(s->mask_digest), 0);
    }
    *next = OSSL_PARAM_construct_end();
    return EVP_PKEY_CTX_set_params(context, params);
}
