/* JWT-SVIDs from strangers: the input is a token, or, after a '!', a header and claims (a newline
 * between them) that are signed here by a key of the bundle, so that mutations reach what lies
 * behind the signature. */
#include "tests/fuzz/fuzz.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#include "agent/svid/jwt_validate.h"
#include "lib/base/macro.h"
#include "lib/base/memory.h"

static const int64_t NOW_S = 1700000000;

static EVP_PKEY *key;
static struct bundle *bundle;

static void prepare(void)
{
    if (bundle) {
        return;
    }
    key = EVP_EC_gen("P-256");
    const struct bundle_jwt_key jwt_key = {(char *)"k", key, 0};
    if (!key || bundle_new("example.org", 1, NULL, 0, &jwt_key, 1, &bundle, NULL) < 0) {
        abort();
    }
}

/* ECDSA's DER as r || s. */
static char *encode_signature(const uint8_t *der, size_t size)
{
    uint8_t raw[64];
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)size);
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32);
    ECDSA_SIG_free(pair);
    return text_base64url((struct bytes){raw, sizeof(raw)});
}

static char *sign(struct bytes input)
{
    struct reader reader = reader_of(input);
    struct bytes header = reader_until(&reader, '\n');
    _cleanup_(free_cleanup) char *header_part = text_base64url(header);
    _cleanup_(free_cleanup) char *claims_part = text_base64url(reader.rest);
    _cleanup_(free_cleanup) char *signed_part = text_format("%s.%s", header_part, claims_part);
    uint8_t der[128];
    size_t size = sizeof(der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, key, NULL) != 1 ||
        EVP_DigestSign(context, der, &size, (const uint8_t *)signed_part, strlen(signed_part)) !=
            1) {
        abort();
    }
    EVP_MD_CTX_free(context);
    _cleanup_(free_cleanup) char *signature_part = encode_signature(der, size);
    return text_format("%s.%s", signed_part, signature_part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(free_cleanup) char *token = NULL;
    _cleanup_(free_cleanup) char *spiffe_id = NULL;
    _cleanup_(json_decrefp) json_t *claims = NULL;
    struct error err;
    bool is_signed = size > 0 && data[0] == '!';
    prepare();
    if (is_signed) {
        token = sign((struct bytes){data + 1, size - 1});
    } else {
        token = memory_new(size + 1);
        if (size > 0) {
            memcpy(token, data, size);
        }
    }
    if (jwt_svid_validate(bundle, token, "me", NOW_S, &spiffe_id, &claims, &err) == 0) {
        /* Only what was signed here is valid, and only for this trust domain. */
        if (!is_signed || strncmp(spiffe_id, "spiffe://example.org", 20) != 0 ||
            !json_is_array(json_object_get(claims, "aud"))) {
            abort();
        }
    } else if (err.code != ERROR_INVALID_ARGUMENT || spiffe_id || claims) {
        abort();
    }
    return 0;
}
