#include "pkcs11/provider.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <string.h>

#include "pkcs11/key_type.h"

/* The names are those of the default provider, or the two kinds of key could not be compared. */
#define NAMES_EC "EC:id-ecPublicKey:1.2.840.10045.2.1"
#define NAMES_RSA "RSA:rsaEncryption:1.2.840.113549.1.1.1"

static const OSSL_ALGORITHM key_managements[] = {
    {NAMES_EC, PROVIDER_QUERY, provider_keymgmt_ec, "EC keys of signet's keystores"},
    {NAMES_RSA, PROVIDER_QUERY, provider_keymgmt_rsa, "RSA keys of signet's keystores"},
    {0},
};

static const OSSL_ALGORITHM signatures[] = {
    {"ECDSA", PROVIDER_QUERY, provider_signature_ecdsa, "ECDSA by signet's keystores"},
    {NAMES_RSA, PROVIDER_QUERY, provider_signature_rsa, "RSA signatures by signet's keystores"},
    {0},
};

static const OSSL_ALGORITHM *query(void *context, int operation, int *no_cache)
{
    (void)context;
    *no_cache = 0;
    switch (operation) {
    case OSSL_OP_KEYMGMT:
        return key_managements;
    case OSSL_OP_SIGNATURE:
        return signatures;
    default:
        return NULL;
    }
}

static const OSSL_PARAM *gettable(void *context)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
        OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
        OSSL_PARAM_END,
    };
    (void)context;
    return params;
}

static int get(void *context, OSSL_PARAM params[])
{
    (void)context;
    OSSL_PARAM *name = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
    OSSL_PARAM *version = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
    OSSL_PARAM *status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
    return (!name || OSSL_PARAM_set_utf8_ptr(name, PROVIDER_NAME)) &&
           (!version || OSSL_PARAM_set_utf8_ptr(version, SIGNET_VERSION)) &&
           (!status || OSSL_PARAM_set_int(status, 1));
}

static int initialize(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                      const OSSL_DISPATCH **out, void **context)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
        {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable},
        {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get},
        {0, NULL},
    };
    static char state;
    (void)handle;
    (void)in;
    *out = functions;
    *context = &state; /* OpenSSL wants one; it is never looked at */
    return 1;
}

static bool is_by_default_provider(const OSSL_PROVIDER *provider)
{
    return provider && strcmp(OSSL_PROVIDER_get0_name(provider), "default") == 0;
}

/* Of several implementations, a fetch without a query takes the one that OpenSSL met first. It
 * meets those of all providers when an algorithm is first fetched, so this settles it for good. */
static int meet_default_first(const char *key_name, const char *signature_name, struct error *err)
{
    EVP_KEYMGMT *management = EVP_KEYMGMT_fetch(NULL, key_name, NULL);
    EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(NULL, signature_name, NULL);
    bool is_settled = management && signature &&
                      is_by_default_provider(EVP_KEYMGMT_get0_provider(management)) &&
                      is_by_default_provider(EVP_SIGNATURE_get0_provider(signature));
    EVP_KEYMGMT_free(management);
    EVP_SIGNATURE_free(signature);
    if (!is_settled) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "loading the OpenSSL provider of hardware keys: ordinary %s keys would no "
                         "longer be served by OpenSSL's default provider",
                         key_name);
    }
    return 0;
}

/* Once per process, as OpenSSL's list of providers is; written by load_once alone. */
static struct {
    pthread_once_t once;
    int result;
    struct error error;
    OSSL_PROVIDER *default_provider, *provider;
} loaded = {.once = PTHREAD_ONCE_INIT};

/* As OpenSSL cleans up; it does not free what is still loaded by hand. */
static void unload(void)
{
    (void)OSSL_PROVIDER_unload(loaded.provider);
    (void)OSSL_PROVIDER_unload(loaded.default_provider);
}

static int load(struct error *err)
{
    /* An explicit load of one provider ends the automatic load of the default one. */
    loaded.default_provider = OSSL_PROVIDER_load(NULL, "default");
    if (loaded.default_provider && OSSL_PROVIDER_add_builtin(NULL, PROVIDER_NAME, initialize)) {
        loaded.provider = OSSL_PROVIDER_load(NULL, PROVIDER_NAME);
    }
    if (!loaded.provider || !OPENSSL_atexit(unload)) {
        return error_set_openssl(err, ERROR_INTERNAL,
                                 "loading the OpenSSL provider of hardware keys");
    }
    TRY(meet_default_first("EC", "ECDSA", err));
    return meet_default_first("RSA", "RSA", err);
}

static void load_once(void)
{
    loaded.result = load(&loaded.error);
}

int provider_load(struct error *err)
{
    (void)pthread_once(&loaded.once, load_once);
    if (loaded.result < 0 && err) {
        *err = loaded.error;
    }
    return loaded.result;
}

static void context_cleanup(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

EVP_PKEY *key_evp_pkey(struct key *key, struct error *err)
{
    if (provider_load(err) < 0) {
        return NULL;
    }
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(PROVIDER_PARAM_KEY, (void *)&key, sizeof(struct key *)),
        OSSL_PARAM_construct_end(),
    };
    _cleanup_(context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_name(NULL, key_type_info(key_type(key))->algorithm, PROVIDER_QUERY);
    if (!context || EVP_PKEY_fromdata_init(context) <= 0 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, params) <= 0) {
        (void)error_set_openssl(err, ERROR_INTERNAL, "showing a key of keystore %s to OpenSSL",
                                keystore_name(key_keystore(key)));
        return NULL;
    }
    return pkey;
}
