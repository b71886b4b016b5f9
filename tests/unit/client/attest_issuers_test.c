#include "client/attest_issuers.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "client/certificate.h"
#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

static struct buffer der, other;

static void make_certificate(long serial, struct buffer *ret_der)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    int size = i2d_X509(certificate, NULL);
    uint8_t *position = buffer_extend(ret_der, (size_t)size);
    assert_int_equal(i2d_X509(certificate, &position), size);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int set_up(void **state)
{
    (void)state;
    make_certificate(1, &der);
    make_certificate(2, &other);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_clear(&der);
    buffer_clear(&other);
    return 0;
}

static void expect_count(const char *text, int count, const char *trust_domain)
{
    _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
    struct error error = {0};
    if (attest_issuers_parse(bytes_of_text(text), &issuers, &error) < 0) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(sk_X509_num(issuers.certificates), count);
    if (trust_domain) {
        assert_string_equal(issuers.trust_domain, trust_domain);
    } else {
        assert_null(issuers.trust_domain);
    }
}

/* The caller frees it. */
static char *pem_text(void)
{
    struct buffer pem = {0};
    pem_append(&pem, "CERTIFICATE", buffer_bytes(&der));
    buffer_append_text(&pem, "a remark between them\n");
    pem_append(&pem, "CERTIFICATE", buffer_bytes(&other));
    buffer_append_u8(&pem, 0);
    return (char *)pem.data;
}

static void every_form_of_a_bundle_is_read(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *pem = pem_text();
    _cleanup_(free_cleanup) char *base64 = text_base64(buffer_bytes(&der));
    _cleanup_(free_cleanup) char *spiffe = text_format(
        " \n{\"keys\":[{\"use\":\"jwt-svid\",\"kty\":\"EC\"},"
        "{\"use\":\"x509-svid\",\"kty\":\"EC\",\"x5c\":[\"%s\"]}],\"spiffe_sequence\":1}",
        base64);
    _cleanup_(buffer_clear) struct buffer escaped = {0};
    for (const char *at = pem; *at; at++) {
        buffer_append_text(&escaped, *at == '\n' ? "\\n" : "");
        buffer_append(&escaped, at, *at == '\n' ? 0 : 1);
    }
    buffer_append_u8(&escaped, 0);
    _cleanup_(free_cleanup) char *shown =
        text_format("{\"trust_domain\":\"example.org\",\"x509_authorities\":[\"%s\"]}",
                    (const char *)escaped.data);
    expect_count(pem, 2, NULL);
    expect_count(spiffe, 1, NULL);
    expect_count(shown, 2, "example.org");
}

static void what_is_no_bundle_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "nothing",
        "{",
        "{}",
        "[]",
        "{\"keys\":[]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":{\"use\":\"x509-svid\"}}",
        "{\"keys\":[{\"use\":\"x509-svid\"}]}",
        "{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[]}]}",
        "{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[7]}]}",
        "{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"====\"]}]}",
        "{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"AAAA\"]}]}",
        "{\"keys\":[{\"use\":\"jwt-svid\",\"x5c\":[\"AAAA\"]}]}",
        "{\"x509_authorities\":[\"AAAA\"]}",
        "{\"x509_authorities\":[[]]}",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
        struct error error = {0};
        assert_int_equal(attest_issuers_parse(bytes_of_text(cases[i]), &issuers, &error), -1);
        assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        assert_null(issuers.certificates);
    }
}

static void certificates_behind_each_other_are_all_taken(void **state)
{
    (void)state;
    _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
    _cleanup_(buffer_clear) struct buffer both = {0};
    struct error error = {0};
    buffer_append(&both, der.data, der.size);
    buffer_append(&both, other.data, other.size);
    assert_int_equal(attest_issuers_add_der(&issuers, buffer_bytes(&both), &error), 0);
    assert_int_equal(sk_X509_num(issuers.certificates), 2);
    buffer_append_u8(&both, 0);
    assert_int_equal(attest_issuers_add_der(&issuers, buffer_bytes(&both), &error), -1);
}

static void their_number_is_bounded(void **state)
{
    (void)state;
    _cleanup_(attest_issuers_clear) struct attest_issuers issuers = {0};
    struct error error = {0};
    for (int i = 0; i < ATTEST_ISSUERS_MAX; i++) {
        assert_int_equal(attest_issuers_add_der(&issuers, buffer_bytes(&der), &error), 0);
    }
    assert_int_equal(attest_issuers_add_der(&issuers, buffer_bytes(&der), &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_bundle_is_read),
        cmocka_unit_test(what_is_no_bundle_is_refused),
        cmocka_unit_test(certificates_behind_each_other_are_all_taken),
        cmocka_unit_test(their_number_is_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
