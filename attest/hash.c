#include "attest/hash.h"

#include <string.h>

#include "lib/base/macro.h"

DEFINE_CLEANUP(EVP_MD_CTX, md_context, EVP_MD_CTX_free);

static const struct hash_algorithm algorithms[] = {
    {TPM2_ALG_SHA256, "sha256", 32, EVP_sha256},
    {TPM2_ALG_SHA1, "sha1", 20, EVP_sha1},
    {TPM2_ALG_SHA384, "sha384", 48, EVP_sha384},
    {TPM2_ALG_SHA512, "sha512", 64, EVP_sha512},
};

const struct hash_algorithm *hash_by_id(TPM2_ALG_ID id)
{
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        if (algorithms[i].id == id) {
            return &algorithms[i];
        }
    }
    return NULL;
}

const struct hash_algorithm *hash_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        if (strcmp(algorithms[i].name, name) == 0) {
            return &algorithms[i];
        }
    }
    return NULL;
}

int hash_compute(const struct hash_algorithm *hash, const struct bytes *parts, size_t count,
                 uint8_t ret_digest[HASH_MAX_BYTES], struct error *err)
{
    _cleanup_(md_context_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_done = context && EVP_DigestInit_ex(context, hash->md(), NULL) == 1;
    for (size_t i = 0; is_done && i < count; i++) {
        is_done = EVP_DigestUpdate(context, parts[i].data, parts[i].size) == 1;
    }
    if (!is_done || EVP_DigestFinal_ex(context, ret_digest, NULL) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "computing a %s digest", hash->name);
    }
    return 0;
}
