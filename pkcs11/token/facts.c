#include "pkcs11/token/facts.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <string.h>
#include <time.h>

DEFINE_CLEANUP(X509_PUBKEY, x509_pubkey, X509_PUBKEY_free);
DEFINE_CLEANUP(BIGNUM, bignum, BN_free);

void facts_set(struct facts *facts, enum fact fact, const void *data, size_t size)
{
    facts->places[fact].offset = (uint32_t)facts->storage.size;
    facts->places[fact].size = (uint32_t)size;
    buffer_append(&facts->storage, data, size);
}

struct bytes facts_get(const struct facts *facts, enum fact fact)
{
    size_t size = facts->places[fact].size;
    return size > 0 ? (struct bytes){facts->storage.data + facts->places[fact].offset, size}
                    : (struct bytes){0};
}

void facts_clear(struct facts *facts)
{
    buffer_clear(&facts->storage);
    memset(facts->places, 0, sizeof(facts->places));
}

int facts_next_certificate(struct bytes *rest, X509 **ret_certificate, struct bytes *ret_der,
                           struct error *err)
{
    const uint8_t *end = rest->data;
    _cleanup_(x509_cleanup) X509 *certificate =
        d2i_X509(NULL, &end, (long)MIN(rest->size, (size_t)INT32_MAX));
    if (!certificate) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading a DER certificate");
    }
    *ret_der = (struct bytes){rest->data, (size_t)(end - rest->data)};
    *rest = (struct bytes){end, rest->size - ret_der->size};
    *ret_certificate = take_ptr(certificate);
    return 0;
}

/* Takes what an i2d function of OpenSSL made. */
static int set_der(struct facts *facts, enum fact fact, uint8_t *der, int size)
{
    if (size > 0) {
        facts_set(facts, fact, der, (size_t)size);
    }
    OPENSSL_free(der);
    return size > 0 ? 0 : -1;
}

static int set_name(struct facts *facts, enum fact fact, const X509_NAME *name)
{
    uint8_t *der = NULL;
    int size = i2d_X509_NAME(name, &der);
    return set_der(facts, fact, der, size);
}

static int set_serial_number(struct facts *facts, const X509 *certificate)
{
    uint8_t *der = NULL;
    int size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &der);
    return set_der(facts, FACT_SERIAL_NUMBER, der, size);
}

static int set_public_key_info(struct facts *facts, const X509 *certificate)
{
    uint8_t *der = NULL;
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    return set_der(facts, FACT_PUBLIC_KEY_INFO, der, size);
}

static int set_date(struct facts *facts, enum fact fact, const ASN1_TIME *moment)
{
    struct tm parts;
    char text[sizeof(CK_DATE) + 1];
    if (ASN1_TIME_to_tm(moment, &parts) != 1 ||
        strftime(text, sizeof(text), "%Y%m%d", &parts) != sizeof(CK_DATE)) {
        return -1;
    }
    facts_set(facts, fact, text, sizeof(CK_DATE));
    return 0;
}

int facts_read_certificate(X509 *certificate, struct bytes der, struct facts *facts,
                           struct error *err)
{
    facts_set(facts, FACT_CERTIFICATE, der.data, der.size);
    if (set_name(facts, FACT_SUBJECT, X509_get_subject_name(certificate)) < 0 ||
        set_name(facts, FACT_ISSUER, X509_get_issuer_name(certificate)) < 0 ||
        set_serial_number(facts, certificate) < 0 || set_public_key_info(facts, certificate) < 0 ||
        set_date(facts, FACT_START_DATE, X509_get0_notBefore(certificate)) < 0 ||
        set_date(facts, FACT_END_DATE, X509_get0_notAfter(certificate)) < 0) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "reading the fields of a certificate");
    }
    return 0;
}

static void set_number(struct facts *facts, enum fact fact, CK_ULONG number)
{
    facts_set(facts, fact, &number, sizeof(number));
}

static int read_ec(const X509_PUBKEY *info, struct facts *facts)
{
    X509_ALGOR *algorithm = NULL;
    const uint8_t *point = NULL;
    int point_size = 0;
    const void *curve = NULL;
    int curve_type = 0;
    if (X509_PUBKEY_get0_param(NULL, &point, &point_size, &algorithm, info) != 1) {
        return -1;
    }
    X509_ALGOR_get0(NULL, &curve_type, &curve, algorithm);
    if (curve_type != V_ASN1_OBJECT) {
        return -1;
    }
    uint8_t *der = NULL;
    int size = i2d_ASN1_OBJECT(curve, &der);
    if (set_der(facts, FACT_EC_PARAMS, der, size) < 0) {
        return -1;
    }
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    der = NULL;
    size = octets && ASN1_OCTET_STRING_set(octets, point, point_size) == 1
               ? i2d_ASN1_OCTET_STRING(octets, &der)
               : -1;
    ASN1_OCTET_STRING_free(octets);
    set_number(facts, FACT_KEY_TYPE, CKK_EC);
    return set_der(facts, FACT_EC_POINT, der, size);
}

static int set_bignum(struct facts *facts, enum fact fact, const EVP_PKEY *pkey, const char *name)
{
    uint8_t number[512];
    _cleanup_(bignum_cleanup) BIGNUM *value = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &value) != 1 ||
        (size_t)BN_num_bytes(value) > sizeof(number)) {
        return -1;
    }
    facts_set(facts, fact, number, (size_t)BN_bn2bin(value, number));
    return 0;
}

static int read_rsa(const EVP_PKEY *pkey, struct facts *facts)
{
    set_number(facts, FACT_KEY_TYPE, CKK_RSA);
    set_number(facts, FACT_MODULUS_BITS, (CK_ULONG)EVP_PKEY_get_bits(pkey));
    TRY(set_bignum(facts, FACT_MODULUS, pkey, OSSL_PKEY_PARAM_RSA_N));
    return set_bignum(facts, FACT_PUBLIC_EXPONENT, pkey, OSSL_PKEY_PARAM_RSA_E);
}

int facts_read_key(const struct key *key, struct facts *facts, struct error *err)
{
    struct bytes der = key_public_der(key);
    const uint8_t *at = der.data;
    _cleanup_(x509_pubkey_cleanup) X509_PUBKEY *info = d2i_X509_PUBKEY(NULL, &at, (long)der.size);
    const EVP_PKEY *pkey = info ? X509_PUBKEY_get0(info) : NULL;
    facts_set(facts, FACT_ID, key_id(key), KEY_ID_BYTES);
    facts_set(facts, FACT_PUBLIC_KEY_INFO, der.data, der.size);
    if (!pkey ||
        (key_type(key) == KEY_TYPE_RSA_2048 ? read_rsa(pkey, facts) : read_ec(info, facts)) < 0) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading the public half of a key");
    }
    return 0;
}
