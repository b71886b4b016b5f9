/* A keystore in memory, and certificates made with its keys, as the tests of the provider want
 * them. */
#pragma once

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "pkcs11/memory/memory.h"

static inline struct keystore *memory_keystore(const struct keystore_driver *driver)
{
    struct keystore *keystore = NULL;
    const struct keystore_config config = {.name = "memory", .driver = driver};
    assert_int_equal(secret_init(NULL), 0);
    assert_int_equal(keystore_new(&config, &keystore, NULL), 0);
    return keystore;
}

static inline EVP_PKEY *memory_pkey(struct keystore *keystore, enum key_type type)
{
    struct key *key = NULL;
    assert_int_equal(
        keystore_key_generate(keystore, type, NULL, KEYSTORE_PRIORITY_ISSUE, &key, NULL), 0);
    EVP_PKEY *pkey = key_evp_pkey(key, NULL);
    assert_non_null(pkey);
    key_unref(key);
    return pkey;
}

/* The public key as ordinary software has it. */
static inline EVP_PKEY *plain_public(EVP_PKEY *pkey)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    assert_true(size > 0);
    const unsigned char *at = der;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &at, size);
    assert_non_null(public);
    OPENSSL_free(der);
    return public;
}

/* Self-signed, a CA. */
static inline X509 *certificate_of(EVP_PKEY *pkey, const char *name, const EVP_MD *digest)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);
    assert_int_equal(X509_set_version(certificate, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(certificate, subject), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_int_equal(X509_set_pubkey(certificate, pkey), 1);
    X509_EXTENSION *is_ca =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    assert_int_equal(X509_add_ext(certificate, is_ca, -1), 1);
    X509_EXTENSION_free(is_ca);
    assert_true(X509_sign(certificate, pkey, digest) > 0);
    return certificate;
}
