/* The certificates that the embedded issuer makes (X509-SVID, RFC 5280). Signing blocks while the
 * CA's key is in hardware: on a worker of its keystore. */
#pragma once

#include <openssl/x509.h>

#include "lib/base/text.h"
#include "pkcs11/keystore.h"

enum { X509_SERIAL_BYTES = 16 };

struct x509_ca_template {
    const char *trust_domain;
    EVP_PKEY *key; /* signs, and is what the certificate is about */
    enum key_type key_type;
    int64_t not_before_s, expires_at_s;
};

/* A self-signed CA certificate, DER appended to ret_der: the trust domain's SPIFFE ID as its only
 * URI (X509-SVID 3.2), keyCertSign and cRLSign, random serial, a common name of its own. */
int x509_make_ca(const struct x509_ca_template *template, struct buffer *ret_der,
                 struct error *err);

struct x509_svid_template {
    const char *spiffe_id;
    const struct text_list *dns_names;
    struct bytes public_key; /* SubjectPublicKeyInfo, DER */
    int64_t not_before_s, expires_at_s;
    const X509 *ca;
    EVP_PKEY *ca_key;
    enum key_type ca_key_type;
};

/* An X.509-SVID for a workload (X509-SVID 2 to 4), DER appended to ret_der. ret_serial: the serial
 * number, big endian. InvalidArgument for a public key that is not EC P-256 or P-384 or RSA of 2048
 * to 8192 bits. */
int x509_make_svid(const struct x509_svid_template *template, struct buffer *ret_der,
                   uint8_t ret_serial[X509_SERIAL_BYTES], struct error *err);

struct x509_ak_template {
    struct bytes public_key;    /* of the attestation key; SubjectPublicKeyInfo, DER */
    const char *ek_fingerprint; /* "sha256:HEX" */
    int64_t not_before_s, expires_at_s;
    const X509 *ca;
    EVP_PKEY *ca_key;
    enum key_type ca_key_type;
};

/* A certificate that says in which TPM an attestation key is, DER appended to ret_der: purpose
 * tcg-kp-AIKCertificate (2.23.133.8.3) alone, the EK's fingerprint as serialNumber of the subject,
 * no other name. InvalidArgument as of x509_make_svid. */
int x509_make_ak(const struct x509_ak_template *template, struct buffer *ret_der,
                 struct error *err);

/* Reads one DER certificate and nothing after it; the caller frees it. */
int x509_parse(struct bytes der, X509 **ret_certificate, struct error *err);

/* The digest that goes with a key: SHA-384 for P-384, else SHA-256. */
const EVP_MD *x509_digest(enum key_type type);
