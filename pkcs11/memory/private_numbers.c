#include "pkcs11/memory/private_numbers.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <sodium.h>

#include "pkcs11/key_type.h"

#define DEFAULT_QUERY "provider=default"

/* OpenSSL 3.0 was seen to use 9 KiB to make a key and 17 KiB to sign. */
enum { STACK_BYTES = 32768 };

enum { RSA_BITS = 2048 };

static const struct private_number layouts[KEY_TYPE_COUNT][PRIVATE_NUMBERS_MAX + 1] = {
    [KEY_TYPE_EC_P256] = {{OSSL_PKEY_PARAM_PRIV_KEY, 32}},
    [KEY_TYPE_EC_P384] = {{OSSL_PKEY_PARAM_PRIV_KEY, 48}},
    [KEY_TYPE_RSA_2048] =
        {
            {OSSL_PKEY_PARAM_RSA_N, RSA_BITS / 8},
            {OSSL_PKEY_PARAM_RSA_E, 8},
            {OSSL_PKEY_PARAM_RSA_D, RSA_BITS / 8},
            {OSSL_PKEY_PARAM_RSA_FACTOR1, RSA_BITS / 16},
            {OSSL_PKEY_PARAM_RSA_FACTOR2, RSA_BITS / 16},
            {OSSL_PKEY_PARAM_RSA_EXPONENT1, RSA_BITS / 16},
            {OSSL_PKEY_PARAM_RSA_EXPONENT2, RSA_BITS / 16},
            {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, RSA_BITS / 16},
        },
};

static void pkey_cleanup(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void context_cleanup(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

const struct private_number *private_number_layout(enum key_type type)
{
    return layouts[type];
}

void private_numbers_wipe_stack(void)
{
    sodium_stackzero(STACK_BYTES);
}

void private_numbers_clear(struct private_numbers *numbers)
{
    secret_clear(&numbers->values);
}

static size_t total_bytes(enum key_type type)
{
    size_t total = 0;
    for (const struct private_number *number = layouts[type]; number->param; number++) {
        total += number->size_bytes;
    }
    return total;
}

/* Parameters whose values lie in guarded memory, so that OpenSSL reads and writes them there. */
static OSSL_PARAM *point_params(const struct private_numbers *numbers, OSSL_PARAM *next)
{
    uint8_t *at = numbers->values.data;
    for (const struct private_number *number = layouts[numbers->type]; number->param; number++) {
        *next++ = OSSL_PARAM_construct_BN(number->param, at, number->size_bytes);
        at += number->size_bytes;
    }
    *next = OSSL_PARAM_construct_end();
    return next;
}

static int take_numbers(const EVP_PKEY *pkey, struct private_numbers *numbers, struct error *err)
{
    OSSL_PARAM params[PRIVATE_NUMBERS_MAX + 1];
    TRY(secret_new(total_bytes(numbers->type), &numbers->values, err));
    OSSL_PARAM *end = point_params(numbers, params);
    bool is_done = EVP_PKEY_get_params(pkey, params) > 0;
    for (const OSSL_PARAM *param = params; is_done && param < end; param++) {
        is_done = OSSL_PARAM_modified(param);
    }
    return is_done ? 0
                   : error_set_openssl(err, ERROR_INTERNAL, "moving an %s key to guarded memory",
                                       key_type_name(numbers->type));
}

static int encode_public(EVP_PKEY *pkey, struct buffer *ret_spki, struct error *err)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    if (size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding a public key");
    }
    buffer_append(ret_spki, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}

static int generate(struct private_numbers *numbers, struct buffer *ret_spki, struct error *err)
{
    const struct key_type_info *info = key_type_info(numbers->type);
    _cleanup_(pkey_cleanup) EVP_PKEY *pkey =
        info->group ? EVP_PKEY_Q_keygen(NULL, DEFAULT_QUERY, info->algorithm, info->group)
                    : EVP_PKEY_Q_keygen(NULL, DEFAULT_QUERY, info->algorithm, (size_t)RSA_BITS);
    if (!pkey) {
        return error_set_openssl(err, ERROR_INTERNAL, "making an %s key", info->name);
    }
    TRY(take_numbers(pkey, numbers, err));
    return encode_public(pkey, ret_spki, err);
}

int private_numbers_generate(enum key_type type, struct private_numbers *ret_numbers,
                             struct buffer *ret_spki, struct error *err)
{
    if (!CRYPTO_secure_malloc_initialized()) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "making a key in guarded memory: secret_init was not called");
    }
    _cleanup_(private_numbers_clear) struct private_numbers numbers = {.type = type};
    int result = generate(&numbers, ret_spki, err);
    private_numbers_wipe_stack();
    if (result == 0) {
        *ret_numbers = numbers;
        numbers.values = (struct secret){0};
    }
    return result;
}

EVP_PKEY *private_numbers_pkey(const struct private_numbers *numbers, struct error *err)
{
    const struct key_type_info *info = key_type_info(numbers->type);
    OSSL_PARAM params[PRIVATE_NUMBERS_MAX + 2];
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *next = point_params(numbers, params);
    if (info->group) {
        *next++ =
            OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)info->group, 0);
        *next = OSSL_PARAM_construct_end();
    }
    _cleanup_(context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_name(NULL, info->algorithm, DEFAULT_QUERY);
    if (!context || EVP_PKEY_fromdata_init(context) <= 0 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, params) <= 0) {
        (void)error_set_openssl(err, ERROR_INTERNAL, "taking an %s key out of guarded memory",
                                info->name);
        return NULL;
    }
    return pkey;
}
