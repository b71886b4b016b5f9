/* What the tests of the TPM driver share: a driver on a swtpm, keys, and a look at the TPM past the
 * driver. */
#pragma once

#include "tests/unit/pkcs11/tpm/swtpm.h"

#include <openssl/ecdsa.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_key.h"
#include "tests/unit/assert_done.h"

static inline void *device_open(const char *tcti, const char *pin_path)
{
    struct error err;
    void *state = NULL;
    const struct tpm_config config = {tcti, pin_path};
    assert_done(keystore_driver_tpm.open(&config, "test", &state, &err), err);
    return state;
}

static inline struct driver_key *device_key(void *state, enum key_type type)
{
    struct error err;
    struct driver_key *key = NULL;
    assert_done(keystore_driver_tpm.key_generate(state, type, NULL, &key, &err), err);
    return key;
}

/* A random digest of the size that goes with digest. */
struct device_digest {
    uint8_t value[64];
    struct sign_request request;
};

static inline void device_digest_new(struct device_digest *ret, enum sign_scheme scheme,
                                     enum sign_digest digest)
{
    assert_int_equal(RAND_bytes(ret->value, sizeof(ret->value)), 1);
    ret->request = (struct sign_request){
        .scheme = scheme, .digest = digest, .value = {ret->value, sign_digest_size(digest)}};
}

/* r || s as the DER that OpenSSL verifies. */
static inline int device_ecdsa_der(const uint8_t *signature, size_t size, unsigned char **ret_der)
{
    ECDSA_SIG *numbers = ECDSA_SIG_new();
    int half = (int)size / 2;
    assert_int_equal(ECDSA_SIG_set0(numbers, BN_bin2bn(signature, half, NULL),
                                    BN_bin2bn(signature + half, half, NULL)),
                     1);
    int der_size = i2d_ECDSA_SIG(numbers, ret_der);
    ECDSA_SIG_free(numbers);
    assert_true(der_size > 0);
    return der_size;
}

static inline bool device_verify(const struct driver_key *key, const struct sign_request *request,
                                 const uint8_t *signature, size_t size)
{
    const char *const names[] = {"SHA256", "SHA384", "SHA512"};
    const unsigned char *spki = key->spki.data;
    unsigned char *der = NULL;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &spki, (long)key->spki.size);
    assert_non_null(pkey);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    assert_int_equal(EVP_PKEY_verify_init(context), 1);
    assert_int_equal(
        EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(names[request->digest])), 1);
    if (request->scheme == SIGN_SCHEME_RSA_PSS) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    int der_size = 0;
    if (request->scheme == SIGN_SCHEME_ECDSA) {
        der_size = device_ecdsa_der(signature, size, &der);
    }
    int result = EVP_PKEY_verify(context, der ? der : signature, der ? (size_t)der_size : size,
                                 request->value.data, request->value.size);
    OPENSSL_free(der);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    return result == 1;
}

/* Signs a fresh digest; the signature must verify. */
static inline void device_assert_signs(void *state, struct driver_key *key)
{
    struct error err;
    struct device_digest digest;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    device_digest_new(&digest,
                      key->type == KEY_TYPE_RSA_2048 ? SIGN_SCHEME_RSA_PKCS1 : SIGN_SCHEME_ECDSA,
                      SIGN_DIGEST_SHA256);
    assert_done(keystore_driver_tpm.key_sign(state, key, &digest.request, signature, &size, &err),
                err);
    assert_true(device_verify(key, &digest.request, signature, size));
}

/* Signs; returns the code of the error, or OK when the signature verifies. A signature that does
 * not verify fails the test. */
static inline enum error_code device_try_sign(void *state, struct driver_key *key,
                                              struct error *ret_err)
{
    struct device_digest digest;
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    device_digest_new(&digest, SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256);
    if (keystore_driver_tpm.key_sign(state, key, &digest.request, signature, &size, ret_err) < 0) {
        return ret_err->code;
    }
    assert_true(device_verify(key, &digest.request, signature, size));
    return ERROR_OK;
}

/* How many objects and sessions are loaded, seen past the driver. */
struct device_load {
    size_t objects;
    size_t sessions;
};

static inline struct device_load device_load_of(const char *tcti)
{
    TPML_HANDLE handles = {0};
    struct device_load load = {0};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(tpm_command_handles(&transport, TPM_HANDLES_TRANSIENT, &handles), 0);
    load.objects = handles.count;
    assert_int_equal(tpm_command_handles(&transport, TPM_HANDLES_LOADED_SESSION, &handles), 0);
    load.sessions = handles.count;
    tpm_transport_close(&transport);
    free(transport.conf);
    return load;
}

static inline void device_assert_empty(const char *tcti)
{
    struct device_load load = device_load_of(tcti);
    assert_int_equal(load.objects, 0);
    assert_int_equal(load.sessions, 0);
}

static inline int device_setup(void **state)
{
    static struct swtpm swtpm;
    struct error err;
    assert_done(secret_init(&err), err);
    swtpm_new(&swtpm);
    *state = &swtpm;
    return 0;
}

static inline int device_teardown(void **state)
{
    swtpm_remove(*state);
    return 0;
}
