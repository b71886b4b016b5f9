#include "pkcs11/key_type.h"

#include <string.h>

static const struct key_type_info types[KEY_TYPE_COUNT] = {
    [KEY_TYPE_EC_P256] = {"ec-p256", "EC", "P-256", 32},
    [KEY_TYPE_EC_P384] = {"ec-p384", "EC", "P-384", 48},
    [KEY_TYPE_RSA_2048] = {"rsa-2048", "RSA", NULL, 256},
};

static const struct {
    const char *name;
    size_t size_bytes;
} digests[] = {
    [SIGN_DIGEST_SHA256] = {"SHA2-256", 32},
    [SIGN_DIGEST_SHA384] = {"SHA2-384", 48},
    [SIGN_DIGEST_SHA512] = {"SHA2-512", 64},
};

const struct key_type_info *key_type_info(enum key_type type)
{
    return &types[type];
}

const char *key_type_name(enum key_type type)
{
    return types[type].name;
}

int key_type_parse(const char *text, enum key_type *ret_type, struct error *err)
{
    for (size_t i = 0; i < KEY_TYPE_COUNT; i++) {
        if (strcmp(text, types[i].name) == 0) {
            *ret_type = (enum key_type)i;
            return 0;
        }
    }
    return error_set(err, ERROR_INVALID_ARGUMENT,
                     "there is no key type \"%s\"; expected ec-p256, ec-p384 or rsa-2048", text);
}

const char *key_protection_name(enum key_protection protection)
{
    static const char *const names[] = {
        [KEY_PROTECTION_HARDWARE] = "hardware",
        [KEY_PROTECTION_GUARDED] = "guarded",
        [KEY_PROTECTION_DELIVERED] = "delivered",
    };
    return names[protection];
}

size_t sign_digest_size(enum sign_digest digest)
{
    return digests[digest].size_bytes;
}

const char *sign_digest_name(enum sign_digest digest)
{
    return digests[digest].name;
}

int sign_request_check(const struct sign_request *request, enum key_type type, struct error *err)
{
    if ((size_t)request->digest >= ARRAY_SIZE(digests) ||
        request->value.size != sign_digest_size(request->digest)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "signing a digest of %zu bytes: its algorithm makes another size",
                         request->value.size);
    }
    bool is_ecdsa = request->scheme == SIGN_SCHEME_ECDSA;
    if (is_ecdsa != (types[type].group != NULL)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "an %s key makes no %s signatures",
                         types[type].name, is_ecdsa ? "ECDSA" : "RSA");
    }
    return 0;
}
