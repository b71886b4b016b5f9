/* Makes EKs and certificates in software, right ones and every kind of wrong one. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "attest/ek.h"

#define EK_MAKER_PURPOSE "2.23.133.8.1"
#define EK_MAKER_PLATFORM_PURPOSE "2.23.133.8.2"

/* A critical extension (2.5.29.9) as makers tell the TPM's specification in: attributes of the
 * subject. */
#define EK_MAKER_SPECIFICATION                                                                     \
    "\x30\x19\x30\x17\x06\x05\x67\x81\x05\x02\x10\x31\x0e\x30\x0c\x0c\x03\x32\x2e\x30\x02\x01\x00" \
    "\x02\x02\x00\x8a"

/* The time of the tests. */
enum { EK_MAKER_NOW_S = 1800000000, EK_MAKER_YEAR_S = 365 * 86400 };

struct ek_maker_extension {
    const char *oid;
    bool is_critical;
    const char *der; /* with its size; NULL: no extension */
    size_t size;
};

/* All zero but keys and issuer: what an EK certificate should be. */
struct ek_maker_request {
    X509 *issuer; /* NULL: itself */
    EVP_PKEY *issuer_key;
    EVP_PKEY *key;
    const char *subject;     /* NULL: empty */
    int64_t from_s, to_s;    /* 0: a year to both sides */
    const char *constraints; /* NULL: critical,CA:FALSE; "": none */
    const char *usage;       /* NULL: keyAgreement */
    const char *purpose;     /* NULL: of an EK; "": none */
    const char *names;       /* subjectAltName beside the TPM's; NULL: the TPM's */
    bool is_for_oaep;        /* the key is marked as id-RSAES-OAEP */
    const EVP_MD *md;        /* NULL: SHA-256 */
    struct ek_maker_extension extension;
};

static inline void ek_maker_add(X509 *certificate, X509 *issuer, int nid, const char *text)
{
    X509V3_CTX context;
    if (!*text) {
        return;
    }
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, text);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* Manufacturer, model and version in one relative name of several values. */
static inline void ek_maker_add_tpm_name(X509 *certificate)
{
    static const struct {
        const char *oid, *value;
    } parts[] = {
        {"2.23.133.2.1", "id:00001014"}, {"2.23.133.2.2", "lab"}, {"2.23.133.2.3", "id:1"}};
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    X509_NAME *directory = X509_NAME_new();
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        assert_int_equal(X509_NAME_add_entry_by_txt(directory, parts[i].oid, MBSTRING_UTF8,
                                                    (const unsigned char *)parts[i].value, -1, -1,
                                                    i ? -1 : 0),
                         1);
    }
    name->type = GEN_DIRNAME;
    name->d.directoryName = directory;
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
    assert_int_equal(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 1, 0), 1);
    GENERAL_NAMES_free(names);
}

static inline void ek_maker_add_raw(X509 *certificate, const struct ek_maker_extension *from)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(from->oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    assert_int_equal(
        ASN1_OCTET_STRING_set(value, (const unsigned char *)from->der, (int)from->size), 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, oid, from->is_critical, value);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
}

static inline void ek_maker_mark_oaep(X509 *certificate, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    const int size = i2d_PublicKey(key, &der);
    assert_true(size > 0);
    assert_int_equal(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate),
                                            OBJ_nid2obj(NID_rsaesOaep), V_ASN1_NULL, NULL, der,
                                            size),
                     1);
}

static inline const char *ek_maker_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static inline X509 *ek_maker_issue(const struct ek_maker_request *request)
{
    static long serial;
    X509 *made = X509_new();
    X509 *issuer = request->issuer ? request->issuer : made;
    const int64_t from_s = request->from_s ? request->from_s : EK_MAKER_NOW_S - EK_MAKER_YEAR_S;
    const int64_t to_s = request->to_s ? request->to_s : EK_MAKER_NOW_S + EK_MAKER_YEAR_S;
    assert_int_equal(X509_set_version(made, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial), 1);
    if (request->subject) {
        assert_int_equal(
            X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                                       (const unsigned char *)request->subject, -1, -1, 0),
            1);
    }
    assert_int_equal(X509_set_issuer_name(made, X509_get_subject_name(issuer)), 1);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(made), from_s));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(made), to_s));
    assert_int_equal(X509_set_pubkey(made, request->key), 1);
    ek_maker_add(made, issuer, NID_basic_constraints,
                 ek_maker_or(request->constraints, "critical,CA:FALSE"));
    ek_maker_add(made, issuer, NID_key_usage, ek_maker_or(request->usage, "keyAgreement"));
    ek_maker_add(made, issuer, NID_ext_key_usage, ek_maker_or(request->purpose, EK_MAKER_PURPOSE));
    if (request->names) {
        ek_maker_add(made, issuer, NID_subject_alt_name, request->names);
    } else {
        ek_maker_add_tpm_name(made);
    }
    if (request->extension.der) {
        ek_maker_add_raw(made, &request->extension);
    }
    if (request->is_for_oaep) {
        ek_maker_mark_oaep(made, request->key);
    }
    assert_true(X509_sign(made, request->issuer_key, request->md ? request->md : EVP_sha256()) > 0);
    return made;
}

static inline X509 *ek_maker_issue_ca(X509 *issuer, EVP_PKEY *issuer_key, EVP_PKEY *key,
                                      const char *subject)
{
    return ek_maker_issue(&(struct ek_maker_request){
        .issuer = issuer,
        .issuer_key = issuer_key,
        .key = key,
        .subject = subject,
        .constraints = "critical,CA:TRUE",
        .usage = "critical,keyCertSign",
        .purpose = "",
        .names = "",
    });
}

static inline void ek_maker_der(const X509 *certificate, struct buffer *ret_der)
{
    unsigned char *der = NULL;
    const int size = i2d_X509(certificate, &der);
    assert_true(size > 0);
    buffer_append(ret_der, der, (size_t)size);
    OPENSSL_free(der);
}

/* The public area that a TPM would have for this key, P-256 or RSA-2048, by the first template for
 * such. */
static inline void ek_maker_public(const EVP_PKEY *key, TPMT_PUBLIC *ret_public)
{
    const bool is_ecc = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC;
    for (size_t i = 0;; i++) {
        *ret_public = ek_template_at(i)->public;
        if ((ret_public->type == TPM2_ALG_ECC) == is_ecc) {
            break;
        }
    }
    if (is_ecc) {
        uint8_t point[65];
        size_t size = 0;
        assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                         sizeof(point), &size),
                         1);
        memcpy(ret_public->unique.ecc.x.buffer, point + 1, 32);
        memcpy(ret_public->unique.ecc.y.buffer, point + 33, 32);
    } else {
        BIGNUM *modulus = NULL;
        assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
        assert_int_equal(BN_bn2binpad(modulus, ret_public->unique.rsa.buffer, 256), 256);
        BN_free(modulus);
    }
}
