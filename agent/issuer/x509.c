#include "agent/issuer/x509.h"

#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/base/memory.h"

enum {
    COMMON_NAME_MAX_BYTES = 64, /* RFC 5280 A.1, ub-common-name */
    KEY_USAGE_DIGITAL_SIGNATURE = 0,
    KEY_USAGE_KEY_ENCIPHERMENT = 2,
    KEY_USAGE_CERT_SIGN = 5,
    KEY_USAGE_CRL_SIGN = 6,
    SUBJECT_KEY_ID_BYTES = 20,
    PUBLIC_KEY_MAX_BYTES = 4096,
};

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(X509_NAME, x509_name, X509_NAME_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(BIGNUM, bignum, BN_free);
DEFINE_CLEANUP(GENERAL_NAMES, general_names, GENERAL_NAMES_free);
DEFINE_CLEANUP(GENERAL_NAME, general_name, GENERAL_NAME_free);
DEFINE_CLEANUP(ASN1_BIT_STRING, bit_string, ASN1_BIT_STRING_free);
DEFINE_CLEANUP(ASN1_OCTET_STRING, octet_string, ASN1_OCTET_STRING_free);
DEFINE_CLEANUP(BASIC_CONSTRAINTS, basic_constraints, BASIC_CONSTRAINTS_free);
DEFINE_CLEANUP(AUTHORITY_KEYID, authority_keyid, AUTHORITY_KEYID_free);
DEFINE_CLEANUP(EXTENDED_KEY_USAGE, extended_key_usage, EXTENDED_KEY_USAGE_free);

const EVP_MD *x509_digest(enum key_type type)
{
    return type == KEY_TYPE_EC_P384 ? EVP_sha384() : EVP_sha256();
}

int x509_parse(struct bytes der, X509 **ret_certificate, struct error *err)
{
    const uint8_t *end = der.data;
    _cleanup_(x509_cleanup) X509 *certificate =
        d2i_X509(NULL, &end, (long)MIN(der.size, (size_t)INT32_MAX));
    if (!certificate || end != der.data + der.size) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading a DER certificate");
    }
    *ret_certificate = take_ptr(certificate);
    return 0;
}

/* RFC 5280 4.1.2.2: positive and at most 20 bytes. 127 of these bits are random. */
static int set_serial(X509 *certificate, uint8_t ret_serial[X509_SERIAL_BYTES], struct error *err)
{
    static const uint8_t zero[X509_SERIAL_BYTES];
    do {
        if (RAND_bytes(ret_serial, X509_SERIAL_BYTES) != 1) {
            return error_set_openssl(err, ERROR_INTERNAL, "drawing a random serial number");
        }
        ret_serial[0] &= 0x7f;
    } while (memcmp(ret_serial, zero, X509_SERIAL_BYTES) == 0);
    _cleanup_(bignum_cleanup) BIGNUM *number = BN_bin2bn(ret_serial, X509_SERIAL_BYTES, NULL);
    if (!number || !BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate))) {
        return error_set_openssl(err, ERROR_INTERNAL, "setting the serial number");
    }
    return 0;
}

/* The fingerprint is longer than X.520 has it for a serialNumber, as OpenSSL would say of text that
 * it is to encode. */
static X509_NAME *make_ak_subject(const char *ek_fingerprint)
{
    _cleanup_(x509_name_cleanup) X509_NAME *name = X509_NAME_new();
    const uint8_t *serial = (const uint8_t *)ek_fingerprint;
    if (!name ||
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"signet", -1, -1,
                                   0) != 1 ||
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   (const uint8_t *)"TPM attestation key", -1, -1, 0) != 1 ||
        X509_NAME_add_entry_by_NID(name, NID_serialNumber, V_ASN1_PRINTABLESTRING, serial, -1, -1,
                                   0) != 1) {
        return NULL;
    }
    return take_ptr(name);
}

static X509_NAME *make_subject(const char *common_name)
{
    _cleanup_(x509_name_cleanup) X509_NAME *name = X509_NAME_new();
    if (!name || X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"signet", -1,
                                            -1, 0) != 1) {
        return NULL;
    }
    if (common_name && strlen(common_name) <= COMMON_NAME_MAX_BYTES &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1,
                                   0) != 1) {
        return NULL;
    }
    return take_ptr(name);
}

/* Version, dates, subject (which may be NULL for want of memory) and key. */
static int set_fields(X509 *certificate, X509_NAME *subject, const EVP_PKEY *key,
                      int64_t not_before_s, int64_t expires_at_s, struct error *err)
{
    if (!subject || X509_set_version(certificate, X509_VERSION_3) != 1 ||
        X509_set_subject_name(certificate, subject) != 1 ||
        !ASN1_TIME_set(X509_getm_notBefore(certificate), not_before_s) ||
        !ASN1_TIME_set(X509_getm_notAfter(certificate), expires_at_s) ||
        X509_set_pubkey(certificate, (EVP_PKEY *)key) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "filling in the certificate");
    }
    return 0;
}

static int add_extension(X509 *certificate, int nid, void *value, bool is_critical,
                         struct error *err)
{
    if (!value ||
        X509_add1_ext_i2d(certificate, nid, value, is_critical, X509V3_ADD_DEFAULT) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "adding the extension %s", OBJ_nid2sn(nid));
    }
    return 0;
}

static int add_alternative_name(GENERAL_NAMES *names, int type, const char *text)
{
    _cleanup_(general_name_cleanup) GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    if (!name || !value || ASN1_STRING_set(value, text, -1) != 1) {
        ASN1_IA5STRING_free(value);
        return -1;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) <= 0) {
        return -1;
    }
    (void)take_ptr(name);
    return 0;
}

/* X509-SVID 2: exactly one URI; DNS names beside it are allowed. */
static int add_alternative_names(X509 *certificate, const char *uri,
                                 const struct text_list *dns_names, struct error *err)
{
    _cleanup_(general_names_cleanup) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    int result = names ? add_alternative_name(names, GEN_URI, uri) : -1;
    for (size_t i = 0; dns_names && i < dns_names->count && result == 0; i++) {
        result = add_alternative_name(names, GEN_DNS, dns_names->items[i]);
    }
    if (result < 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "adding a subject alternative name");
    }
    return add_extension(certificate, NID_subject_alt_name, names, false, err);
}

static int add_key_usage(X509 *certificate, unsigned bits, struct error *err)
{
    _cleanup_(bit_string_cleanup) ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    for (int bit = 0; usage && bit < 9; bit++) {
        if (bits & 1U << bit && ASN1_BIT_STRING_set_bit(usage, bit, 1) != 1) {
            return error_set_openssl(err, ERROR_INTERNAL, "setting the key usage");
        }
    }
    return add_extension(certificate, NID_key_usage, usage, true, err);
}

static int add_extended_key_usage(X509 *certificate, struct error *err)
{
    _cleanup_(extended_key_usage_cleanup) EXTENDED_KEY_USAGE *usage = sk_ASN1_OBJECT_new_null();
    if (!usage || sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) <= 0 ||
        sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_client_auth)) <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "setting the extended key usage");
    }
    return add_extension(certificate, NID_ext_key_usage, usage, false, err);
}

static int add_ak_purpose(X509 *certificate, struct error *err)
{
    static const char purpose[] = "2.23.133.8.3";
    _cleanup_(extended_key_usage_cleanup) EXTENDED_KEY_USAGE *usage = sk_ASN1_OBJECT_new_null();
    ASN1_OBJECT *object = OBJ_txt2obj(purpose, 1);
    if (!usage || !object || sk_ASN1_OBJECT_push(usage, object) <= 0) {
        ASN1_OBJECT_free(object);
        return error_set_openssl(err, ERROR_INTERNAL, "setting the extended key usage");
    }
    return add_extension(certificate, NID_ext_key_usage, usage, true, err);
}

static int add_basic_constraints(X509 *certificate, bool is_ca, struct error *err)
{
    _cleanup_(basic_constraints_cleanup) BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    if (constraints) {
        constraints->ca = is_ca ? 0xff : 0;
    }
    return add_extension(certificate, NID_basic_constraints, constraints, true, err);
}

/* RFC 7093 2, method 1: the first 160 bits of SHA-256 over the public key's bits. */
static int add_subject_key_id(X509 *certificate, struct error *err)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(certificate);
    _cleanup_(octet_string_cleanup) ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    if (!bits || !id ||
        !SHA256(ASN1_STRING_get0_data(bits), (size_t)ASN1_STRING_length(bits), digest) ||
        ASN1_OCTET_STRING_set(id, digest, SUBJECT_KEY_ID_BYTES) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "computing the subject key identifier");
    }
    return add_extension(certificate, NID_subject_key_identifier, id, false, err);
}

static int add_authority_key_id(X509 *certificate, const X509 *ca, struct error *err)
{
    _cleanup_(authority_keyid_cleanup) AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
    _cleanup_(octet_string_cleanup) ASN1_OCTET_STRING *of_ca =
        X509_get_ext_d2i(ca, NID_subject_key_identifier, NULL, NULL);
    if (!id || !of_ca) {
        return error_set_openssl(err, ERROR_INTERNAL, "reading the CA's subject key identifier");
    }
    id->keyid = take_ptr(of_ca);
    return add_extension(certificate, NID_authority_key_identifier, id, false, err);
}

static int sign(X509 *certificate, EVP_PKEY *key, enum key_type type, struct buffer *ret_der,
                struct error *err)
{
    uint8_t *der = NULL;
    int size = -1;
    if (X509_sign(certificate, key, x509_digest(type)) > 0) {
        size = i2d_X509(certificate, &der);
    }
    if (size < 0) {
        return error_set_openssl(err, ERROR_UNAVAILABLE, "signing a certificate");
    }
    buffer_append(ret_der, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}

int x509_make_ca(const struct x509_ca_template *template, struct buffer *ret_der, struct error *err)
{
    uint8_t serial[X509_SERIAL_BYTES];
    _cleanup_(x509_cleanup) X509 *certificate = X509_new();
    if (!certificate) {
        return error_set_openssl(err, ERROR_INTERNAL, "making a certificate");
    }
    TRY(set_serial(certificate, serial, err));
    /* A verifier that finds issuers by name must not take one CA for another. */
    _cleanup_(free_cleanup) char *serial_hex = text_hex((struct bytes){serial, 8});
    _cleanup_(free_cleanup) char *common_name = text_format("signet CA %s", serial_hex);
    _cleanup_(free_cleanup) char *uri = text_format("spiffe://%s", template->trust_domain);
    _cleanup_(x509_name_cleanup) X509_NAME *subject = make_subject(common_name);
    TRY(set_fields(certificate, subject, template->key, template->not_before_s,
                   template->expires_at_s, err));
    if (X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "setting the issuer's name");
    }
    TRY(add_basic_constraints(certificate, true, err));
    TRY(add_key_usage(certificate, 1U << KEY_USAGE_CERT_SIGN | 1U << KEY_USAGE_CRL_SIGN, err));
    TRY(add_subject_key_id(certificate, err));
    TRY(add_alternative_names(certificate, uri, NULL, err));
    return sign(certificate, template->key, template->key_type, ret_der, err);
}

static int parse_public_key(struct bytes der, EVP_PKEY **ret_key, struct error *err)
{
    const uint8_t *end = der.data;
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key =
        der.size <= PUBLIC_KEY_MAX_BYTES ? d2i_PUBKEY(NULL, &end, (long)der.size) : NULL;
    if (!key || end != der.data + der.size) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT, "reading the public key to certify");
    }
    char group[64] = "";
    (void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
    int bits = EVP_PKEY_get_bits(key);
    bool is_curve = strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0;
    if (!(EVP_PKEY_is_a(key, "EC") && is_curve) &&
        !(EVP_PKEY_is_a(key, "RSA") && bits >= 2048 && bits <= 8192)) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "the key to certify must be EC P-256, EC P-384 or RSA of 2048 to 8192 bits");
    }
    *ret_key = take_ptr(key);
    return 0;
}

int x509_make_svid(const struct x509_svid_template *template, struct buffer *ret_der,
                   uint8_t ret_serial[X509_SERIAL_BYTES], struct error *err)
{
    const struct text_list *dns_names = template->dns_names;
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key = NULL;
    _cleanup_(x509_cleanup) X509 *certificate = X509_new();
    if (!certificate) {
        return error_set_openssl(err, ERROR_INTERNAL, "making a certificate");
    }
    TRY(parse_public_key(template->public_key, &key, err));
    TRY(set_serial(certificate, ret_serial, err));
    _cleanup_(x509_name_cleanup) X509_NAME *subject =
        make_subject(dns_names->count ? dns_names->items[0] : NULL);
    TRY(set_fields(certificate, subject, key, template->not_before_s, template->expires_at_s, err));
    if (X509_set_issuer_name(certificate, X509_get_subject_name(template->ca)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "setting the issuer's name");
    }
    /* X509-SVID 4.3: keyEncipherment is for the RSA key exchange of TLS 1.2 alone. */
    unsigned usage = 1U << KEY_USAGE_DIGITAL_SIGNATURE;
    if (EVP_PKEY_is_a(key, "RSA")) {
        usage |= 1U << KEY_USAGE_KEY_ENCIPHERMENT;
    }
    TRY(add_basic_constraints(certificate, false, err));
    TRY(add_key_usage(certificate, usage, err));
    TRY(add_extended_key_usage(certificate, err));
    TRY(add_subject_key_id(certificate, err));
    TRY(add_authority_key_id(certificate, template->ca, err));
    TRY(add_alternative_names(certificate, template->spiffe_id, dns_names, err));
    return sign(certificate, template->ca_key, template->ca_key_type, ret_der, err);
}

int x509_make_ak(const struct x509_ak_template *template, struct buffer *ret_der, struct error *err)
{
    uint8_t serial[X509_SERIAL_BYTES];
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key = NULL;
    _cleanup_(x509_name_cleanup) X509_NAME *subject = make_ak_subject(template->ek_fingerprint);
    _cleanup_(x509_cleanup) X509 *certificate = X509_new();
    if (!certificate) {
        return error_set_openssl(err, ERROR_INTERNAL, "making a certificate");
    }
    TRY(parse_public_key(template->public_key, &key, err));
    TRY(set_serial(certificate, serial, err));
    TRY(set_fields(certificate, subject, key, template->not_before_s, template->expires_at_s, err));
    if (X509_set_issuer_name(certificate, X509_get_subject_name(template->ca)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "setting the issuer's name");
    }
    TRY(add_basic_constraints(certificate, false, err));
    TRY(add_key_usage(certificate, 1U << KEY_USAGE_DIGITAL_SIGNATURE, err));
    TRY(add_ak_purpose(certificate, err));
    TRY(add_subject_key_id(certificate, err));
    TRY(add_authority_key_id(certificate, template->ca, err));
    return sign(certificate, template->ca_key, template->ca_key_type, ret_der, err);
}
