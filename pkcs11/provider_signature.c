/* Signatures: hashed here, made by the keystore; verified by the default provider. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "lib/base/ecdsa.h"
#include "lib/base/memory.h"
#include "pkcs11/key_type.h"
#include "pkcs11/provider_signature.h"

static void *signature_new(bool is_rsa)
{
    struct signature *signature = NEW(struct signature);
    signature->is_rsa = is_rsa;
    signature->padding = RSA_PKCS1_PADDING;
    signature->salt_bytes = RSA_PSS_SALTLEN_DIGEST;
    return signature;
}

static void *signature_new_ecdsa(void *context, const char *query)
{
    (void)context;
    (void)query;
    return signature_new(false);
}

static void *signature_new_rsa(void *context, const char *query)
{
    (void)context;
    (void)query;
    return signature_new(true);
}

static void drop_key(struct signature *signature)
{
    if (signature->key) {
        key_unref(take_ptr(signature->key));
    }
    EVP_PKEY_free(take_ptr(signature->public));
}

static void signature_free(void *data)
{
    struct signature *signature = data;
    if (signature) {
        drop_key(signature);
        EVP_MD_CTX_free(signature->hash);
        free(signature);
    }
}

static int take_key(struct signature *signature, const struct key *key, EVP_PKEY *public)
{
    drop_key(signature);
    if (!EVP_PKEY_up_ref(public)) {
        return 0;
    }
    signature->public = public;
    signature->key = key ? key_ref((struct key *)key) : NULL;
    return 1;
}

static void *signature_duplicate(void *data)
{
    const struct signature *from = data;
    struct signature *to = NEW(struct signature);
    *to = *from;
    to->key = NULL;
    to->public = NULL;
    to->hash = NULL;
    bool is_done = !from->public || take_key(to, from->key, from->public);
    if (is_done && from->hash) {
        to->hash = EVP_MD_CTX_new();
        is_done = to->hash && EVP_MD_CTX_copy_ex(to->hash, from->hash);
    }
    if (!is_done) {
        signature_free(to);
        return NULL;
    }
    return to;
}

/* key NULL: the one from before, used again. */
static int signature_init(void *data, void *key_data, const OSSL_PARAM params[])
{
    struct signature *signature = data;
    const struct provider_key *key = key_data;
    if (key && (!key->public || !take_key(signature, key->key, key->public))) {
        return 0;
    }
    if (!signature->public) {
        return signature_fail(PROV_R_MISSING_KEY, "there is no key to sign or verify with");
    }
    return signature_set(signature, params);
}

static int digest_init(void *data, const char *name, void *key, const OSSL_PARAM params[])
{
    struct signature *signature = data;
    if (!signature_init(signature, key, params)) {
        return 0;
    }
    if (name && *name) {
        signature->has_digest = signature_parse_digest(name, &signature->digest);
    } else if (!signature->has_digest) {
        signature->digest = SIGN_DIGEST_SHA256;
        signature->has_digest = true;
    }
    EVP_MD *md = signature->has_digest
                     ? EVP_MD_fetch(NULL, sign_digest_name(signature->digest), NULL)
                     : NULL;
    EVP_MD_CTX_free(signature->hash);
    signature->hash = md ? EVP_MD_CTX_new() : NULL;
    int result = signature->hash && EVP_DigestInit_ex2(signature->hash, md, NULL);
    EVP_MD_free(md);
    return result;
}

static int digest_update(void *data, const unsigned char *bytes, size_t size)
{
    struct signature *signature = data;
    return signature->hash && EVP_DigestUpdate(signature->hash, bytes, size);
}

/* Without a name for it, the size says which digest it is; PKCS#1 v1.5 needs the name. */
static int find_digest(const struct signature *signature, size_t size, enum sign_digest *ret_digest)
{
    for (int i = SIGN_DIGEST_SHA256; i <= SIGN_DIGEST_SHA512; i++) {
        if (sign_digest_size((enum sign_digest)i) == size) {
            *ret_digest = (enum sign_digest)i;
            return signature->has_digest ? signature->digest == *ret_digest : !signature->is_rsa;
        }
    }
    return 0;
}

static int check_pss(const struct signature *signature, enum sign_digest digest)
{
    if (signature->padding != RSA_PKCS1_PSS_PADDING) {
        return 1;
    }
    bool is_salt_right = signature->salt_bytes == RSA_PSS_SALTLEN_DIGEST ||
                         signature->salt_bytes == (int)sign_digest_size(digest);
    if (!is_salt_right) {
        return signature_fail(PROV_R_INVALID_SALT_LENGTH,
                              "a keystore makes PSS with a salt as long as the digest");
    }
    if (signature->has_mask_digest && signature->mask_digest != digest) {
        return signature_fail(PROV_R_DIGEST_NOT_ALLOWED,
                              "a keystore makes PSS with one hash for message and mask");
    }
    return 1;
}

static int encode_ecdsa(const uint8_t *raw, size_t raw_size, unsigned char *bytes, size_t *size)
{
    _cleanup_(buffer_clear) struct buffer der = {0};
    bool is_done = ecdsa_encode_pair((struct bytes){raw, raw_size}, &der) && der.size <= *size;
    if (is_done) {
        memcpy(bytes, der.data, der.size);
    }
    *size = der.size;
    return is_done;
}

static int make(const struct signature *signature, const struct sign_request *request,
                unsigned char *bytes, size_t *size)
{
    struct error failure = {0};
    uint8_t raw[SIGNATURE_MAX_BYTES];
    size_t raw_size = 0;
    if (key_sign(signature->key, request, KEYSTORE_PRIORITY_ISSUE, 0, raw, &raw_size, &failure) <
        0) {
        return signature_fail(ERR_R_OPERATION_FAIL, failure.text);
    }
    if (!signature->is_rsa) {
        return encode_ecdsa(raw, raw_size, bytes, size);
    }
    if (raw_size > *size) {
        return 0;
    }
    memcpy(bytes, raw, raw_size);
    *size = raw_size;
    return 1;
}

static int sign(void *data, unsigned char *bytes, size_t *size, size_t room,
                const unsigned char *digest, size_t digest_size)
{
    struct signature *signature = data;
    size_t most = (size_t)EVP_PKEY_get_size(signature->public);
    struct sign_request request = {.scheme = signature_scheme(signature),
                                   .value = {digest, digest_size}};
    if (!signature->key) {
        return signature_fail(PROV_R_MISSING_KEY, "a public key does not sign");
    }
    *size = most;
    if (!bytes) {
        return 1;
    }
    if (room < most || !find_digest(signature, digest_size, &request.digest)) {
        return signature_fail(PROV_R_INVALID_DIGEST_LENGTH,
                              "a keystore signs SHA-256, SHA-384 and SHA-512 digests");
    }
    return check_pss(signature, request.digest) && make(signature, &request, bytes, size);
}

static int hash_final(struct signature *signature, uint8_t digest[EVP_MAX_MD_SIZE],
                      unsigned *ret_size)
{
    return signature->hash && EVP_DigestFinal_ex(signature->hash, digest, ret_size);
}

static int digest_sign_final(void *data, unsigned char *bytes, size_t *size, size_t room)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    /* Asked for the size only: the hash goes on. */
    if (bytes && !hash_final(data, digest, &digest_size)) {
        return 0;
    }
    return sign(data, bytes, size, room, digest, digest_size);
}

static int verify(void *data, const unsigned char *bytes, size_t size, const unsigned char *digest,
                  size_t digest_size)
{
    const struct signature *signature = data;
    EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(NULL, signature->public, PROVIDER_DEFAULT_QUERY);
    int result = context && EVP_PKEY_verify_init(context) > 0 &&
                 signature_set_other(signature, context) > 0 &&
                 EVP_PKEY_verify(context, bytes, size, digest, digest_size) > 0;
    EVP_PKEY_CTX_free(context);
    return result;
}

static int digest_verify_final(void *data, const unsigned char *bytes, size_t size)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    return hash_final(data, digest, &digest_size) && verify(data, bytes, size, digest, digest_size);
}

#define COMMON_FUNCTIONS                                                                           \
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))signature_free},                                 \
        {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))signature_duplicate},                         \
        {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))signature_init},                           \
        {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))sign},                                          \
        {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))signature_init},                         \
        {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))verify},                                      \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))digest_init},                       \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))digest_update},                   \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))digest_sign_final},                \
        {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))digest_init},                     \
        {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))digest_update},                 \
        {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))digest_verify_final},            \
        {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))signature_get},                       \
        {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))signature_gettable},             \
        {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))signature_set},                       \
    {                                                                                              \
        OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))signature_settable                \
    }

const OSSL_DISPATCH provider_signature_ecdsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))signature_new_ecdsa},
    COMMON_FUNCTIONS,
    {0, NULL},
};

const OSSL_DISPATCH provider_signature_rsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))signature_new_rsa},
    COMMON_FUNCTIONS,
    {0, NULL},
};
