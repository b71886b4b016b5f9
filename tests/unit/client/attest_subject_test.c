#include "client/attest_subject.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

/* names: as openssl.cnf has them; NULL: no such extension. */
static void make_certificate(const char *names, struct buffer *ret_der)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 0x1234);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    if (names) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    int size = i2d_X509(certificate, NULL);
    uint8_t *position = buffer_extend(ret_der, (size_t)size);
    assert_int_equal(i2d_X509(certificate, &position), size);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void the_one_uri_is_the_identity(void **state)
{
    (void)state;
    static const struct {
        const char *names, *id;
    } cases[] = {
        {"URI:spiffe://example.org/web", "spiffe://example.org/web"},
        {"DNS:web,URI:spiffe://example.org/web", "spiffe://example.org/web"},
        {"URI:spiffe://example.org/a,URI:spiffe://example.org/b", NULL},
        {"URI:https://example.org/web", NULL},
        {"DNS:web", NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(attest_subject_clear) struct attest_subject subject = {0};
        _cleanup_(buffer_clear) struct buffer der = {0};
        make_certificate(cases[i].names, &der);
        attest_subject_read(buffer_bytes(&der), &subject);
        assert_string_equal(subject.serial, "1234");
        if (cases[i].id) {
            assert_string_equal(subject.spiffe_id, cases[i].id);
        } else {
            assert_null(subject.spiffe_id);
        }
    }
}

static void what_is_no_certificate_has_no_subject(void **state)
{
    (void)state;
    _cleanup_(attest_subject_clear) struct attest_subject subject = {0};
    attest_subject_read((struct bytes){0}, &subject);
    assert_null(subject.spiffe_id);
    assert_null(subject.serial);
    attest_subject_read(bytes_of_text("0\x03zzz"), &subject);
    assert_null(subject.spiffe_id);
    assert_null(subject.serial);
}

static void a_trust_domain_is_compared_whole(void **state)
{
    (void)state;
    static const struct {
        const char *id, *trust_domain;
        bool is_of;
    } cases[] = {
        {"spiffe://example.org/web", "example.org", true},
        {"spiffe://example.org", "example.org", true},
        {"spiffe://example.org.evil/web", "example.org", false},
        {"spiffe://example.or/web", "example.org", false},
        {"spiffe:///web", "", false},
        {NULL, "example.org", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct attest_subject subject = {.spiffe_id = (char *)cases[i].id};
        assert_int_equal(attest_subject_is_of(&subject, cases[i].trust_domain), cases[i].is_of);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_uri_is_the_identity),
        cmocka_unit_test(what_is_no_certificate_has_no_subject),
        cmocka_unit_test(a_trust_domain_is_compared_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
