/* A CA made for a test: its key, its certificate, and what it issues. */
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/memory.h"

/* Also good for tests by the clock. */
#define SOFTWARE_CA_EPOCH_S INT64_C(1700000000)
#define SOFTWARE_CA_LIFE_S INT64_C(3153600000)

struct software_ca {
    EVP_PKEY *pkey;
    X509 *certificate;
};

struct software_extension {
    int nid;
    const char *value;
};

struct software_leaf {
    const char *name, *serial_number; /* of the subject; NULL: none */
    const struct software_extension *extensions;
    size_t count;
};

static inline void software_name(X509_NAME *subject, const char *field, const char *value)
{
    /* Not MBSTRING_ASC, which would hold a serialNumber to 64 letters. */
    if (value) {
        (void)X509_NAME_add_entry_by_txt(subject, field, V_ASN1_PRINTABLESTRING,
                                         (const unsigned char *)value, -1, -1, 0);
    }
}

/* issuer NULL: by itself. */
static inline X509 *software_certificate(const struct software_leaf *leaf, EVP_PKEY *pkey,
                                         const struct software_ca *issuer, EVP_PKEY *signer)
{
    static int64_t serial = 1;
    X509 *certificate = X509_new();
    X509V3_CTX context;
    (void)X509_set_version(certificate, X509_VERSION_3);
    (void)ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), serial++);
    (void)ASN1_TIME_set(X509_getm_notBefore(certificate), SOFTWARE_CA_EPOCH_S);
    (void)ASN1_TIME_set(X509_getm_notAfter(certificate), SOFTWARE_CA_EPOCH_S + SOFTWARE_CA_LIFE_S);
    X509_NAME *subject = X509_get_subject_name(certificate);
    software_name(subject, "CN", leaf->name);
    software_name(subject, "serialNumber", leaf->serial_number);
    (void)X509_set_pubkey(certificate, pkey);
    X509 *parent = issuer ? issuer->certificate : certificate;
    (void)X509_set_issuer_name(certificate, X509_get_subject_name(parent));
    X509V3_set_ctx(&context, parent, certificate, NULL, NULL, 0);
    for (size_t i = 0; i < leaf->count; i++) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, &context, leaf->extensions[i].nid, leaf->extensions[i].value);
        (void)X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    (void)X509_sign(certificate, signer, EVP_sha256());
    return certificate;
}

static inline struct software_ca software_ca_new(const char *name, const struct software_ca *issuer)
{
    static const struct software_extension extensions[] = {
        {NID_basic_constraints, "critical,CA:TRUE"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
    };
    const struct software_leaf leaf = {name, NULL, extensions, ARRAY_SIZE(extensions)};
    struct software_ca ca = {.pkey = EVP_EC_gen("P-256")};
    ca.certificate = software_certificate(&leaf, ca.pkey, issuer, issuer ? issuer->pkey : ca.pkey);
    return ca;
}

static inline void software_ca_clear(struct software_ca *ca)
{
    EVP_PKEY_free(ca->pkey);
    X509_free(ca->certificate);
}

static inline void software_append_der(X509 *certificate, struct buffer *to)
{
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);
    buffer_append(to, der, size > 0 ? (size_t)size : 0);
    OPENSSL_free(der);
}
