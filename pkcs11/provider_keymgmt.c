/* Key management: the public half goes through the default provider, the private half goes nowhere.
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/provider.h"

static void *key_new(const char *algorithm)
{
    struct provider_key *key = NEW(struct provider_key);
    key->algorithm = algorithm;
    return key;
}

static void *key_new_ec(void *context)
{
    (void)context;
    return key_new("EC");
}

static void *key_new_rsa(void *context)
{
    (void)context;
    return key_new("RSA");
}

static void key_free(void *data)
{
    struct provider_key *key = data;
    if (key && key->key) {
        key_unref(key->key);
    }
    if (key) {
        EVP_PKEY_free(key->public);
    }
    free(key);
}

static void *key_duplicate(const void *data, int selection)
{
    const struct provider_key *from = data;
    struct provider_key *key = key_new(from->algorithm);
    (void)selection;
    if (from->key) {
        key->key = key_ref(from->key);
    }
    if (from->public && EVP_PKEY_up_ref(from->public)) {
        key->public = from->public;
    }
    return key;
}

static int key_has(const void *data, int selection)
{
    const struct provider_key *key = data;
    bool is_private_wanted = selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
    return key && key->public && (key->key || !is_private_wanted);
}

static int key_match(const void *a, const void *b, int selection)
{
    const struct provider_key *key_a = a;
    const struct provider_key *key_b = b;
    (void)selection;
    return key_a->public && key_b->public && EVP_PKEY_eq(key_a->public, key_b->public) == 1;
}

static int import_key(struct provider_key *to, const OSSL_PARAM *param)
{
    struct key *key = NULL;
    if (param->data_type != OSSL_PARAM_OCTET_STRING || param->data_size != sizeof(struct key *)) {
        return 0;
    }
    memcpy((void *)&key, param->data, sizeof(struct key *));
    struct bytes der = key_public_der(key);
    const unsigned char *at = der.data;
    to->public = d2i_PUBKEY_ex(NULL, &at, (long)der.size, NULL, PROVIDER_DEFAULT_QUERY);
    if (!to->public || !EVP_PKEY_is_a(to->public, to->algorithm)) {
        return 0;
    }
    to->key = key_ref(key);
    return 1;
}

/* Another provider's key, so that EVP_PKEY_eq can compare; a private half is left where it is. */
static int import_public(struct provider_key *to, const OSSL_PARAM params[])
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, to->algorithm, PROVIDER_DEFAULT_QUERY);
    int result =
        context && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &to->public, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params) > 0;
    EVP_PKEY_CTX_free(context);
    return result;
}

static int key_import(void *data, int selection, const OSSL_PARAM params[])
{
    struct provider_key *to = data;
    const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, PROVIDER_PARAM_KEY);
    (void)selection;
    if (to->public) {
        return 0;
    }
    return param ? import_key(to, param) : import_public(to, params);
}

static int key_export(void *data, int selection, OSSL_CALLBACK *callback, void *argument)
{
    const struct provider_key *key = data;
    /* Also where all that there is is asked for: half a key in another provider would be taken for
     * a whole one. */
    if (key->key && (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)) {
        ERR_raise_data(ERR_LIB_PROV, ERR_R_UNSUPPORTED,
                       "the private key of a keystore cannot be taken out");
        return 0;
    }
    return key->public && EVP_PKEY_export(key->public, selection, callback, argument);
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_octet_string(PROVIDER_PARAM_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return selection & OSSL_KEYMGMT_SELECT_KEYPAIR ? types : NULL;
}

#define PUBLIC_PARAMS_EC                                                                           \
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),                                   \
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0)
#define PUBLIC_PARAMS_RSA                                                                          \
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0), OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0)
#define GENERAL_PARAMS                                                                             \
    OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),                                                    \
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),                                       \
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),                                            \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0)

static const OSSL_PARAM *key_export_types_ec(int selection)
{
    static const OSSL_PARAM types[] = {PUBLIC_PARAMS_EC, OSSL_PARAM_END};
    return selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY ? types : NULL;
}

static const OSSL_PARAM *key_export_types_rsa(int selection)
{
    static const OSSL_PARAM types[] = {PUBLIC_PARAMS_RSA, OSSL_PARAM_END};
    return selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY ? types : NULL;
}

static int key_get(void *data, OSSL_PARAM params[])
{
    const struct provider_key *key = data;
    return key->public && EVP_PKEY_get_params(key->public, params);
}

static const OSSL_PARAM *key_gettable_ec(void *context)
{
    static const OSSL_PARAM params[] = {
        GENERAL_PARAMS,
        PUBLIC_PARAMS_EC,
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)context;
    return params;
}

static const OSSL_PARAM *key_gettable_rsa(void *context)
{
    static const OSSL_PARAM params[] = {GENERAL_PARAMS, PUBLIC_PARAMS_RSA, OSSL_PARAM_END};
    (void)context;
    return params;
}

static const char *operation_name_ec(int operation)
{
    switch (operation) {
    case OSSL_OP_SIGNATURE:
        return "ECDSA";
    case OSSL_OP_KEYEXCH:
        return "ECDH";
    default:
        return NULL;
    }
}

static const char *operation_name_rsa(int operation)
{
    (void)operation;
    return "RSA";
}

#define COMMON_FUNCTIONS                                                                           \
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free},                                            \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))key_duplicate},                                    \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has},                                          \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))key_match},                                      \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import},                                    \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_import_types},                        \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export},                                    \
    {                                                                                              \
        OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get                                      \
    }

const OSSL_DISPATCH provider_keymgmt_ec[] = {
    COMMON_FUNCTIONS,
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))key_new_ec},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_export_types_ec},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable_ec},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))operation_name_ec},
    {0, NULL},
};

const OSSL_DISPATCH provider_keymgmt_rsa[] = {
    COMMON_FUNCTIONS,
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))key_new_rsa},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_export_types_rsa},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable_rsa},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))operation_name_rsa},
    {0, NULL},
};
