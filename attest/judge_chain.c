#include <openssl/objects.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "attest/judge_internal.h"

enum { SECURITY_LEVEL = 2 }; /* of OpenSSL: 112 bits; no SHA-1, RSA from 2048 bits on */

DEFINE_CLEANUP(X509_STORE_CTX, store_ctx, X509_STORE_CTX_free);
DEFINE_CLEANUP(EXTENDED_KEY_USAGE, key_usage, EXTENDED_KEY_USAGE_free);

static void certificates_cleanup(STACK_OF(X509) * *stack)
{
    sk_X509_pop_free(*stack, X509_free);
}

static int parse_chain(const struct evidence_chain *chain, STACK_OF(X509) * ret_further,
                       X509 **ret_leaf, struct error *err)
{
    for (size_t i = 0; i < chain->count; i++) {
        struct bytes der = buffer_bytes(&chain->items[i]);
        const unsigned char *at = der.data;
        _cleanup_(judge_x509_cleanup) X509 *certificate = d2i_X509(NULL, &at, (long)der.size);
        if (!certificate || at != der.data + der.size) {
            return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                     "certificate %zu of the chain cannot be read", i + 1);
        }
        if (i == 0) {
            *ret_leaf = take_ptr(certificate);
        } else if (sk_X509_push(ret_further, certificate) > 0) {
            (void)take_ptr(certificate);
        }
    }
    return 0;
}

static int verify(const struct judge_request *request, X509 *leaf, STACK_OF(X509) * further,
                  const uint8_t *cache_key, struct error *err)
{
    _cleanup_(store_ctx_cleanup) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || X509_STORE_CTX_init(ctx, NULL, leaf, further) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "preparing to verify a certificate");
    }
    X509_STORE_CTX_set0_trusted_stack(ctx, request->issuers);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    /* A trust bundle may hold issuing CAs without their root (SPIFFE Trust Domain and Bundle 4.2).
     * No purpose: each caller has its own. */
    (void)X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_time(param, request->now_s);
    X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_depth(param, EVIDENCE_CHAIN_MAX);
    if (X509_verify_cert(ctx) != 1) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "it does not lead to a trusted issuer: %s (certificate %d of the chain)",
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
                         X509_STORE_CTX_get_error_depth(ctx) + 1);
    }
    judge_cache_put(request, cache_key, X509_STORE_CTX_get0_chain(ctx));
    return 0;
}

/* The one purpose, and critical: such a certificate shall serve for nothing else. */
static bool has_ak_purpose(X509 *certificate)
{
    int is_critical = -1;
    char oid[sizeof(JUDGE_AK_CERTIFICATE_PURPOSE) + 1];
    _cleanup_(key_usage_cleanup) EXTENDED_KEY_USAGE *usage =
        X509_get_ext_d2i(certificate, NID_ext_key_usage, &is_critical, NULL);
    return usage && is_critical == 1 && sk_ASN1_OBJECT_num(usage) == 1 &&
           OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usage, 0), 1) ==
               (int)strlen(JUDGE_AK_CERTIFICATE_PURPOSE) &&
           strcmp(oid, JUDGE_AK_CERTIFICATE_PURPOSE) == 0;
}

static bool names_ek(X509 *certificate, const char *fingerprint)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_serialNumber, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_serialNumber, at) >= 0) {
        return false;
    }
    const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    struct bytes named = {ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)};
    return bytes_is_equal(named, bytes_of_text(fingerprint));
}

static const char *flaw_of_leaf(X509 *leaf, const EVP_PKEY *key,
                                const struct chain_question *question)
{
    const EVP_PKEY *certified = X509_get0_pubkey(leaf);
    if (!certified || EVP_PKEY_eq(certified, key) != 1) {
        return "it is of another key";
    }
    /* X509_check_ca forgives CA:TRUE where the key usage does not let it sign certificates. */
    if (X509_check_ca(leaf) != 0 || (X509_get_extension_flags(leaf) & EXFLAG_CA)) {
        return "it is a CA's certificate";
    }
    if (!question->ek_fingerprint) {
        return NULL;
    }
    if (!has_ak_purpose(leaf)) {
        return "its purpose is not, critically and solely, " JUDGE_AK_CERTIFICATE_PURPOSE;
    }
    return names_ek(leaf, question->ek_fingerprint) ? NULL : "it names another EK than this one";
}

static int check(const struct judge_request *request, const struct chain_question *question,
                 const uint8_t *cache_key, struct error *err)
{
    _cleanup_(certificates_cleanup) STACK_OF(X509) *further = sk_X509_new_null();
    _cleanup_(judge_x509_cleanup) X509 *leaf = NULL;
    _cleanup_(judge_pkey_cleanup) EVP_PKEY *key = NULL;
    TRY(parse_chain(question->chain, further, &leaf, err));
    TRY(public_pkey(question->key, &key, err));
    const char *flaw = leaf ? flaw_of_leaf(leaf, key, question) : "there is none";
    if (flaw) {
        return error_set(err, ERROR_PERMISSION_DENIED, "%s", flaw);
    }
    return request->issuers ? verify(request, leaf, further, cache_key, err) : 0;
}

int judge_chain(const struct judge_request *request, const struct chain_question *question,
                struct error *err)
{
    uint8_t key[HASH_MAX_BYTES];
    TRY(judge_cache_key(request, question, key, err));
    return judge_cache_has(request, key) ? 0 : check(request, question, key, err);
}
