/* The certificates of the embedded issuer, field by field against X509-SVID and RFC 5280, and by a
 * chain check as a TLS library makes it. */
#include <openssl/x509v3.h>

#include "agent/issuer/x509.h"
#include "tests/unit/issuer/fixture.h"

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);

static const char spiffe_id[] = "spiffe://example.org/payments/api";

static X509 *parse(struct bytes der)
{
    struct error failure;
    X509 *certificate = NULL;
    if (x509_parse(der, &certificate, &failure) < 0) {
        fail_msg("%s", failure.text);
    }
    return certificate;
}

static int64_t seconds(const ASN1_TIME *time)
{
    struct tm utc;
    assert_int_equal(ASN1_TIME_to_tm(time, &utc), 1);
    return timegm(&utc);
}

static bool is_critical(const X509 *certificate, int nid)
{
    int index = X509_get_ext_by_NID(certificate, nid, -1);
    assert_true(index >= 0);
    /* Each extension at most once. */
    assert_int_equal(X509_get_ext_by_NID(certificate, nid, index), -1);
    return X509_EXTENSION_get_critical(X509_get_ext(certificate, index));
}

static void check_names(X509 *certificate, const char *uri, const struct text_list *dns_names)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    assert_non_null(names);
    size_t uris = 0, dns = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        const char *text = (const char *)ASN1_STRING_get0_data(value);
        assert_int_equal(ASN1_STRING_length(value), strlen(text));
        if (type == GEN_URI) {
            uris++;
            assert_string_equal(text, uri);
        } else {
            assert_int_equal(type, GEN_DNS);
            if (dns_names->count == dns || !dns_names->items) {
                fail_msg("a DNS name too many: %s", text);
                return;
            }
            assert_string_equal(text, dns_names->items[dns++]);
        }
    }
    assert_int_equal(uris, 1);
    assert_int_equal(dns, dns_names->count);
    GENERAL_NAMES_free(names);
}

static void check_serial(const X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
    assert_false(BN_is_negative(number));
    /* Less than 64 bits comes by chance once in 2^63. */
    assert_true(BN_num_bits(number) >= 64 && BN_num_bits(number) <= 127);
    BN_free(number);
}

/* What the common name is; "" for none. */
static void common_name(const X509 *certificate, char *text, int size)
{
    text[0] = '\0';
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, size);
}

static void check_ca(X509 *ca, int64_t not_before_s, int64_t expires_at_s)
{
    char name[128];
    assert_int_equal(X509_get_version(ca), X509_VERSION_3);
    assert_int_equal(seconds(X509_get0_notBefore(ca)), not_before_s);
    assert_int_equal(seconds(X509_get0_notAfter(ca)), expires_at_s);
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(ca), X509_get_issuer_name(ca)), 0);
    check_serial(ca);
    const struct text_list none = {0};
    check_names(ca, "spiffe://example.org", &none);
    assert_true(is_critical(ca, NID_basic_constraints));
    assert_true(is_critical(ca, NID_key_usage));
    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_get_ext_by_NID(ca, NID_ext_key_usage, -1), -1);
    assert_int_equal(ASN1_STRING_length(X509_get0_subject_key_id(ca)), 20);
    common_name(ca, name, sizeof(name));
    assert_memory_equal(name, "signet CA ", 10);
    assert_int_equal(X509_verify(ca, X509_get0_pubkey(ca)), 1);
    assert_int_equal(X509_get_ext_count(ca), 4);
}

static void check_svid(X509 *svid, const X509 *ca, const struct text_list *dns_names,
                       uint32_t usage)
{
    assert_int_equal(X509_get_version(svid), X509_VERSION_3);
    assert_int_equal(X509_NAME_cmp(X509_get_issuer_name(svid), X509_get_subject_name(ca)), 0);
    check_serial(svid);
    check_names(svid, spiffe_id, dns_names);
    assert_true(is_critical(svid, NID_basic_constraints));
    assert_true(is_critical(svid, NID_key_usage));
    assert_int_equal(X509_check_ca((X509 *)svid), 0);
    assert_int_equal(X509_get_extension_flags(svid) & EXFLAG_CA, 0);
    assert_int_equal(X509_get_key_usage(svid), usage);
    assert_int_equal(X509_get_extended_key_usage(svid), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    assert_int_equal(ASN1_STRING_length(X509_get0_subject_key_id(svid)), 20);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id((X509 *)svid),
                                           X509_get0_subject_key_id((X509 *)ca)),
                     0);
    assert_int_equal(X509_get_ext_count(svid), 6);
}

static void check_chain(X509 *svid, X509 *ca, int purpose, int64_t now_s, int expected)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_CTX_init(context, store, svid, NULL), 1);
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    assert_int_equal(X509_VERIFY_PARAM_set_purpose(parameters, purpose), 1);
    (void)X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_time(parameters, now_s);
    (void)X509_verify_cert(context);
    assert_string_equal(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)),
                        X509_verify_cert_error_string(expected));
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
}

static EVP_PKEY *make_key(const char *kind)
{
    return strcmp(kind, "rsa") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen(kind);
}

static void spki_of(EVP_PKEY *key, struct buffer *ret_spki)
{
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    buffer_append(ret_spki, der, (size_t)size);
    OPENSSL_free(der);
}

static void test_certificates(void **state)
{
    (void)state;
    const struct {
        const char *ca_kind, *kind;
        enum key_type ca_type;
        uint32_t usage;
        const char *dns_names[3];
        const char *common_name;
    } cases[] = {
        {"P-256", "P-256", KEY_TYPE_EC_P256, KU_DIGITAL_SIGNATURE, {NULL}, ""},
        {"P-384", "P-384", KEY_TYPE_EC_P384, KU_DIGITAL_SIGNATURE, {"b.example", "a"}, "b.example"},
        {"rsa", "rsa", KEY_TYPE_RSA_2048, KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT, {"a"}, "a"},
        {"P-256",
         "P-384",
         KEY_TYPE_EC_P256,
         KU_DIGITAL_SIGNATURE,
         {"long.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.org"},
         ""},
    };
    int64_t now_s = 1800000000;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error failure;
        char name[256];
        uint8_t serial[X509_SERIAL_BYTES];
        _cleanup_(buffer_clear) struct buffer ca_der = {0}, der = {0}, spki = {0};
        _cleanup_(text_list_clear) struct text_list dns_names = {0};
        _cleanup_(evp_pkey_cleanup) EVP_PKEY *ca_key = make_key(cases[i].ca_kind);
        _cleanup_(evp_pkey_cleanup) EVP_PKEY *key = make_key(cases[i].kind);
        for (size_t j = 0; j < 3 && cases[i].dns_names[j]; j++) {
            text_list_add(&dns_names, cases[i].dns_names[j]);
        }
        const struct x509_ca_template ca_template = {.trust_domain = "example.org",
                                                     .key = ca_key,
                                                     .key_type = cases[i].ca_type,
                                                     .not_before_s = now_s - 10,
                                                     .expires_at_s = now_s + 86400};
        assert_int_equal(x509_make_ca(&ca_template, &ca_der, &failure), 0);
        _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&ca_der));
        check_ca(ca, now_s - 10, now_s + 86400);
        spki_of(key, &spki);
        const struct x509_svid_template template = {.spiffe_id = spiffe_id,
                                                    .dns_names = &dns_names,
                                                    .public_key = buffer_bytes(&spki),
                                                    .not_before_s = now_s - 5,
                                                    .expires_at_s = now_s + 3600,
                                                    .ca = ca,
                                                    .ca_key = ca_key,
                                                    .ca_key_type = cases[i].ca_type};
        assert_int_equal(x509_make_svid(&template, &der, serial, &failure), 0);
        _cleanup_(x509_cleanup) X509 *svid = parse(buffer_bytes(&der));
        check_svid(svid, ca, &dns_names, cases[i].usage);
        assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(svid), key), 1);
        assert_int_equal(seconds(X509_get0_notBefore(svid)), now_s - 5);
        assert_int_equal(seconds(X509_get0_notAfter(svid)), now_s + 3600);
        common_name(svid, name, sizeof(name));
        assert_string_equal(name, cases[i].common_name);
        check_chain(svid, ca, X509_PURPOSE_SSL_SERVER, now_s, X509_V_OK);
        check_chain(svid, ca, X509_PURPOSE_SSL_CLIENT, now_s, X509_V_OK);
        check_chain(svid, ca, X509_PURPOSE_SSL_CLIENT, now_s + 3601, X509_V_ERR_CERT_HAS_EXPIRED);
    }
}

/* A date past 2049 is a GeneralizedTime; both forms must come out right. */
static void test_far_dates(void **state)
{
    (void)state;
    struct error failure;
    _cleanup_(buffer_clear) struct buffer der = {0};
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key = make_key("P-256");
    const struct x509_ca_template template = {.trust_domain = "example.org",
                                              .key = key,
                                              .not_before_s = 2524607990,  /* 2049 */
                                              .expires_at_s = 2524694400}; /* 2050 */
    assert_int_equal(x509_make_ca(&template, &der, &failure), 0);
    _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&der));
    assert_int_equal(X509_get0_notBefore(ca)->type, V_ASN1_UTCTIME);
    assert_int_equal(X509_get0_notAfter(ca)->type, V_ASN1_GENERALIZEDTIME);
    assert_int_equal(seconds(X509_get0_notAfter(ca)), 2524694400);
}

static void test_bad_keys(void **state)
{
    (void)state;
    struct error failure;
    const struct text_list no_names = {0};
    _cleanup_(buffer_clear) struct buffer ca_der = {0}, der = {0};
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *ca_key = make_key("P-256");
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *small = EVP_RSA_gen(1024);
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *curve = EVP_EC_gen("secp256k1");
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    const struct x509_ca_template ca_template = {
        .trust_domain = "example.org", .key = ca_key, .expires_at_s = 1800000000};
    assert_int_equal(x509_make_ca(&ca_template, &ca_der, &failure), 0);
    _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&ca_der));
    struct x509_svid_template template = {.spiffe_id = spiffe_id,
                                          .dns_names = &no_names,
                                          .expires_at_s = 1800000000,
                                          .ca = ca,
                                          .ca_key = ca_key};
    EVP_PKEY *const keys[] = {small, curve, edwards, NULL, ca_key};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        uint8_t serial[X509_SERIAL_BYTES];
        _cleanup_(buffer_clear) struct buffer spki = {0};
        if (keys[i]) {
            spki_of(keys[i], &spki);
        }
        if (keys[i] == ca_key) {
            buffer_append_u8(&spki, 0); /* a good key with something after it */
        }
        template.public_key = buffer_bytes(&spki);
        assert_int_equal(x509_make_svid(&template, &der, serial, &failure), -1);
        assert_int_equal(failure.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(der.size, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_far_dates),
        cmocka_unit_test(test_bad_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
