#include "pkcs11/memory/memory.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <string.h>

#include "lib/base/memory.h"
#include "pkcs11/key_type.h"
#include "pkcs11/memory/private_numbers.h"

/* Two, so that no signature waits for the end of a key generation (see worker.c). */
enum { WORKERS = 2 };

struct memory_key {
    struct driver_key key;
    struct private_numbers numbers;
};

static unsigned memory_worker_count(const void *config)
{
    (void)config;
    return WORKERS;
}

static int memory_open(const void *config, const char *name, void **ret_state, struct error *err)
{
    (void)config;
    (void)name;
    if (!CRYPTO_secure_malloc_initialized()) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "there is no guarded memory: secret_init was not called");
    }
    *ret_state = NULL;
    return 0;
}

static void memory_close(void *state)
{
    (void)state;
}

static int memory_probe(void *state, struct error *err)
{
    (void)state;
    (void)err;
    return 0;
}

static int refuse_lasting(struct error *err)
{
    return error_set(err, ERROR_UNIMPLEMENTED,
                     "keys in memory do not last; use a keystore of type tpm or pkcs11");
}

static void memory_key_close(void *state, struct driver_key *key)
{
    struct memory_key *memory_key = container_of(key, struct memory_key, key);
    (void)state;
    private_numbers_clear(&memory_key->numbers);
    buffer_clear(&key->spki);
    free(memory_key);
}

static int memory_key_generate(void *state, enum key_type type, const uint8_t *id,
                               struct driver_key **ret_key, struct error *err)
{
    if (id) {
        return refuse_lasting(err);
    }
    struct memory_key *key = NEW(struct memory_key);
    key->key.type = type;
    if (private_numbers_generate(type, &key->numbers, &key->key.spki, err) < 0) {
        memory_key_close(state, &key->key);
        return -1;
    }
    *ret_key = &key->key;
    return 0;
}

static int memory_key_open(void *state, enum key_type type, const uint8_t id[16],
                           struct bytes reference, struct driver_key **ret_key, struct error *err)
{
    (void)state;
    (void)type;
    (void)id;
    (void)reference;
    (void)ret_key;
    return refuse_lasting(err);
}

static void memory_key_reference(void *state, const struct driver_key *key,
                                 struct buffer *ret_reference)
{
    (void)state;
    (void)key;
    (void)ret_reference;
}

static int memory_destroy_id(void *state, const uint8_t id[16], struct error *err)
{
    (void)state;
    (void)id;
    (void)err;
    return 0;
}

static EVP_PKEY_CTX *prepare(EVP_PKEY *pkey, const struct sign_request *request)
{
    OSSL_PARAM params[4];
    OSSL_PARAM *next = params;
    int padding =
        request->scheme == SIGN_SCHEME_RSA_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    int salt = RSA_PSS_SALTLEN_DIGEST;
    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST,
                                               (char *)sign_digest_name(request->digest), 0);
    if (request->scheme != SIGN_SCHEME_ECDSA) {
        *next++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PAD_MODE, &padding);
    }
    if (request->scheme == SIGN_SCHEME_RSA_PSS) {
        *next++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, &salt);
    }
    *next = OSSL_PARAM_construct_end();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, "provider=default");
    if (context && EVP_PKEY_sign_init_ex(context, params) <= 0) {
        EVP_PKEY_CTX_free(context);
        return NULL;
    }
    return context;
}

/* From the DER of ECDSA-Sig-Value to r || s. */
static int split_ecdsa(const uint8_t *der, size_t der_size, size_t number_bytes, uint8_t *ret_raw)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_size);
    int size = (int)number_bytes;
    bool is_done = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), ret_raw, size) == size &&
                   BN_bn2binpad(ECDSA_SIG_get0_s(pair), ret_raw + number_bytes, size) == size;
    ECDSA_SIG_free(pair);
    return is_done ? 0 : -1;
}

static int sign(EVP_PKEY *pkey, const struct sign_request *request, enum key_type type,
                uint8_t *ret_signature, size_t *ret_size)
{
    uint8_t made[SIGNATURE_MAX_BYTES];
    size_t size = sizeof(made);
    EVP_PKEY_CTX *context = prepare(pkey, request);
    bool is_made = context && EVP_PKEY_sign(context, made, &size, request->value.data,
                                            request->value.size) > 0;
    EVP_PKEY_CTX_free(context);
    if (!is_made) {
        return -1;
    }
    if (request->scheme == SIGN_SCHEME_ECDSA) {
        size_t number_bytes = key_type_info(type)->number_bytes;
        *ret_size = 2 * number_bytes;
        return split_ecdsa(made, size, number_bytes, ret_signature);
    }
    memcpy(ret_signature, made, size);
    *ret_size = size;
    return 0;
}

static int memory_key_sign(void *state, struct driver_key *key, const struct sign_request *request,
                           uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size,
                           struct error *err)
{
    struct memory_key *memory_key = container_of(key, struct memory_key, key);
    (void)state;
    EVP_PKEY *pkey = private_numbers_pkey(&memory_key->numbers, err);
    if (!pkey) {
        return -1;
    }
    int result = sign(pkey, request, key->type, ret_signature, ret_size);
    EVP_PKEY_free(pkey);
    private_numbers_wipe_stack();
    return result == 0 ? 0
                       : error_set_openssl(err, ERROR_INTERNAL, "signing with an %s key in memory",
                                           key_type_name(key->type));
}

const struct keystore_driver keystore_driver_memory = {
    .name = "memory",
    .protection = KEY_PROTECTION_GUARDED,
    .max_workers = WORKERS,
    .worker_count = memory_worker_count,
    .open = memory_open,
    .close = memory_close,
    .probe = memory_probe,
    .key_generate = memory_key_generate,
    .key_open = memory_key_open,
    .key_reference = memory_key_reference,
    .key_sign = memory_key_sign,
    .key_close = memory_key_close,
    .destroy_id = memory_destroy_id,
};
