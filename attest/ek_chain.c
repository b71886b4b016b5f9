#include "attest/ek_chain.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "attest/ek.h"

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(X509_STORE_CTX, store_context, X509_STORE_CTX_free);
DEFINE_CLEANUP(EXTENDED_KEY_USAGE, key_usage, EXTENDED_KEY_USAGE_free);

#define EK_PURPOSE "2.23.133.8.1"

enum {
    SECURITY_LEVEL = 2, /* SP 800-57: 112 bits; no SHA-1, no RSA below 2048 bits */
    NAME_MAX_CHARACTERS = 100,
    OID_MAX_CHARACTERS = 64,
};

static void free_sequence(ASN1_SEQUENCE_ANY **sequence)
{
    sk_ASN1_TYPE_pop_free(*sequence, ASN1_TYPE_free);
}

static void free_chain(STACK_OF(X509) * *chain)
{
    sk_X509_pop_free(*chain, X509_free);
}

static int parse_chain(const struct bytes *chain, size_t count, STACK_OF(X509) * ret_certificates,
                       struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = 0;
        X509 *certificate = NULL;
        if (ek_certificate_parse(chain[i], &certificate, &size, err) < 0) {
            return error_prepend(err, "certificate %zu of the EK's chain", i + 1);
        }
        if (sk_X509_push(ret_certificates, certificate) <= 0) {
            X509_free(certificate);
            return error_set_openssl(err, ERROR_INTERNAL, "collecting the EK's chain");
        }
    }
    return 0;
}

/* RFC 5280 4.2.1.8: attributes of the subject, as TPM makers tell the TPM's specification. They
 * grant nothing, so it is enough that they can be read. */
static bool is_attributes(const ASN1_OCTET_STRING *value)
{
    const unsigned char *cursor = ASN1_STRING_get0_data(value);
    const unsigned char *end = cursor + ASN1_STRING_length(value);
    _cleanup_(free_sequence) ASN1_SEQUENCE_ANY *attributes =
        d2i_ASN1_SEQUENCE_ANY(NULL, &cursor, ASN1_STRING_length(value));
    return attributes && cursor == end && sk_ASN1_TYPE_num(attributes) > 0;
}

/* The critical extensions of EK certificates that OpenSSL leaves to us. */
static const struct {
    int nid;
    bool (*is_well_formed)(const ASN1_OCTET_STRING *value);
} known_extensions[] = {
    {NID_subject_directory_attributes, is_attributes},
};

static bool is_handled(X509_EXTENSION *extension)
{
    if (!X509_EXTENSION_get_critical(extension) || X509_supported_extension(extension)) {
        return true;
    }
    const int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    for (size_t i = 0; i < ARRAY_SIZE(known_extensions); i++) {
        if (known_extensions[i].nid == nid) {
            return known_extensions[i].is_well_formed(X509_EXTENSION_get_data(extension));
        }
    }
    return false;
}

static bool are_extensions_handled(const X509 *certificate)
{
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        if (!is_handled(X509_get_ext(certificate, i))) {
            return false;
        }
    }
    return true;
}

/* Lets two things of the EK certificate pass that are looked at here instead: extensions that
 * OpenSSL does not know, and the signature of one that had to be changed to be read. */
static int on_step(int is_good, X509_STORE_CTX *context)
{
    if (is_good || X509_STORE_CTX_get_error_depth(context) != 0) {
        return is_good;
    }
    const bool is_copy = X509_STORE_CTX_get_app_data(context) != NULL;
    switch (X509_STORE_CTX_get_error(context)) {
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
        return are_extensions_handled(X509_STORE_CTX_get0_cert(context));
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return is_copy;
    default:
        return 0;
    }
}

static int deny(X509 *certificate, struct error *err, const char *why)
{
    char issuer[NAME_MAX_CHARACTERS] = "";
    (void)X509_NAME_oneline(X509_get_issuer_name(certificate), issuer, sizeof(issuer));
    ERR_clear_error();
    return error_set(err, ERROR_PERMISSION_DENIED, "the EK certificate, issued by \"%s\", %s",
                     issuer, why);
}

static int check_purpose(X509 *certificate, struct error *err)
{
    bool is_for_ek = false;
    _cleanup_(key_usage_cleanup) EXTENDED_KEY_USAGE *purposes =
        X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    for (int i = 0; i < sk_ASN1_OBJECT_num(purposes) && !is_for_ek; i++) {
        char oid[OID_MAX_CHARACTERS] = "";
        (void)OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(purposes, i), 1);
        is_for_ek = strcmp(oid, EK_PURPOSE) == 0;
    }
    if (!is_for_ek) {
        return deny(certificate, err,
                    "is of another kind: its extended key usage lacks " EK_PURPOSE
                    " (a platform certificate, say)");
    }
    /* Either sign is enough; OpenSSL wants both. */
    if (X509_check_ca(certificate) != 0 || (X509_get_extension_flags(certificate) & EXFLAG_CA)) {
        return deny(certificate, err, "is a CA's, which no EK is");
    }
    return 0;
}

/* The time of the part that all certificates have in common. */
static bool find_validity(const STACK_OF(X509) * chain, struct ek_validity *ret)
{
    *ret = (struct ek_validity){INT64_MIN, INT64_MAX};
    for (int i = 0; i < sk_X509_num(chain); i++) {
        struct tm from;
        struct tm to;
        const X509 *certificate = sk_X509_value(chain, i);
        if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &from) != 1 ||
            ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &to) != 1) {
            return false;
        }
        ret->from_s = MAX(ret->from_s, (int64_t)timegm(&from));
        ret->to_s = MIN(ret->to_s, (int64_t)timegm(&to));
    }
    return true;
}

static void set_parameters(X509_STORE_CTX *context, int64_t now_s)
{
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(parameters, (time_t)now_s);
    X509_VERIFY_PARAM_set_depth(parameters, EK_CHAIN_MAX);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_LEVEL);
    (void)X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_CTX_set_verify_cb(context, on_step);
}

static int build(X509_STORE_CTX *context, X509 *certificate, int64_t now_s,
                 struct ek_validity *ret_validity, struct error *err)
{
    set_parameters(context, now_s);
    if (X509_verify_cert(context) != 1) {
        char why[256];
        (void)snprintf(why, sizeof(why),
                       "does not lead to a CA that is believed: %s (at depth %d); if it is "
                       "genuine, add the certificates of its manufacturer's CAs",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)),
                       X509_STORE_CTX_get_error_depth(context));
        return deny(certificate, err, why);
    }
    return find_validity(X509_STORE_CTX_get0_chain(context), ret_validity)
               ? 0
               : deny(certificate, err, "has a time that cannot be read, or its CAs have");
}

/* OpenSSL builds no chain for a certificate whose key it cannot read, such as one marked as
 * id-RSAES-OAEP. So it is given a copy with the key in the usual form; NULL where none is needed.
 */
static int copy_readable(X509 *certificate, X509 **ret_copy, struct error *err)
{
    *ret_copy = NULL;
    if (X509_get0_pubkey(certificate)) {
        return 0;
    }
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = ek_certificate_pkey(certificate, err);
    _cleanup_(x509_cleanup) X509 *copy = pkey ? X509_dup(certificate) : NULL;
    if (!pkey) {
        return -1;
    }
    if (!copy || X509_set_pubkey(copy, pkey) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "copying an EK certificate");
    }
    *ret_copy = take_ptr(copy);
    return 0;
}

/* Of the certificate as it came. In a chain of one it is an anchor itself, and needs none. */
static int check_signature(X509 *certificate, const STACK_OF(X509) * built, struct error *err)
{
    const X509 *issuer = sk_X509_value(built, 1);
    return !issuer || X509_verify(certificate, X509_get0_pubkey(issuer)) == 1
               ? 0
               : deny(certificate, err, "is not signed by its issuer");
}

int ek_chain_verify(X509_STORE *anchors, X509 *certificate, const struct bytes *chain,
                    size_t chain_count, int64_t now_s, struct ek_validity *ret_validity,
                    struct error *err)
{
    _cleanup_(free_chain) STACK_OF(X509) *untrusted = sk_X509_new_null();
    _cleanup_(store_context_cleanup) X509_STORE_CTX *context = X509_STORE_CTX_new();
    _cleanup_(x509_cleanup) X509 *copy = NULL;
    struct ek_validity validity;
    TRY(check_purpose(certificate, err));
    TRY(copy_readable(certificate, &copy, err));
    if (!untrusted || !context) {
        return error_set_openssl(err, ERROR_INTERNAL, "preparing to verify an EK certificate");
    }
    TRY(parse_chain(chain, chain_count, untrusted, err));
    if (X509_STORE_CTX_init(context, anchors, copy ? copy : certificate, untrusted) != 1 ||
        X509_STORE_CTX_set_app_data(context, copy) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "preparing to verify an EK certificate");
    }
    TRY(build(context, certificate, now_s, &validity, err));
    TRY(copy ? check_signature(certificate, X509_STORE_CTX_get0_chain(context), err) : 0);
    ERR_clear_error();
    *ret_validity = validity;
    return 0;
}
