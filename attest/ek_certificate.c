#include <openssl/err.h>

#include "attest/ek.h"

DEFINE_CLEANUP(X509, x509, X509_free);

/* Larger than any NV index. */
enum { CERTIFICATE_MAX_BYTES = 64 << 10 };

int ek_certificate_parse(struct bytes der, X509 **ret_certificate, size_t *ret_size,
                         struct error *err)
{
    const unsigned char *cursor = der.data;
    if (der.size == 0 || der.size > CERTIFICATE_MAX_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading an EK certificate: it has %zu bytes, 1 to %d are expected",
                         der.size, CERTIFICATE_MAX_BYTES);
    }
    _cleanup_(x509_cleanup) X509 *certificate = d2i_X509(NULL, &cursor, (long)der.size);
    if (!certificate) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "reading an EK certificate: it is not X.509 in DER");
    }
    *ret_size = (size_t)(cursor - der.data);
    *ret_certificate = take_ptr(certificate);
    return 0;
}

/* RFC 4055 1.2: such a key is an RSA key that is for nothing but OAEP; OpenSSL leaves it be. */
static EVP_PKEY *read_oaep_key(X509 *certificate)
{
    ASN1_OBJECT *algorithm = NULL;
    const unsigned char *key = NULL;
    int size = 0;
    const X509_PUBKEY *spki = X509_get_X509_PUBKEY(certificate);
    const bool is_oaep = spki && X509_PUBKEY_get0_param(&algorithm, &key, &size, NULL, spki) == 1 &&
                         OBJ_obj2nid(algorithm) == NID_rsaesOaep;
    if (!is_oaep) {
        return NULL;
    }
    const unsigned char *cursor = key;
    EVP_PKEY *pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &cursor, size);
    if (pkey && cursor != key + size) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return pkey;
}

EVP_PKEY *ek_certificate_pkey(X509 *certificate, struct error *err)
{
    EVP_PKEY *pkey = X509_get_pubkey(certificate);
    if (!pkey) {
        pkey = read_oaep_key(certificate);
    }
    if (!pkey) {
        (void)error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                "reading the key in an EK certificate: it is none that OpenSSL "
                                "knows");
        return NULL;
    }
    ERR_clear_error();
    return pkey;
}
