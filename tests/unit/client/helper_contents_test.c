#include "tests/unit/cmocka_all.h"

#include <openssl/asn1.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "client/helper_contents.h"
#include "lib/base/memory.h"
#include "proto/workload.pb-c.h"

static void read_string(const unsigned char **position, long *rest, int tag, const char *text)
{
    long size = 0;
    int found = 0, class = 0;
    const unsigned char *start = *position;
    assert_int_equal(ASN1_get_object(position, &size, &found, &class, *rest), 0);
    assert_int_equal(found, tag);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(*position, text, (size_t)size);
    *position += size;
    *rest -= *position - start;
}

/* Read by OpenSSL's own readers of PEM and DER, short and long lengths. */
static void a_uri_is_written_as_pkcs11_provider_reads_it(void **state)
{
    (void)state;
    char long_uri[400] = "pkcs11:token=signet;object=";
    memset(long_uri + strlen(long_uri), 'x', 300);
    const char *const uris[] = {"pkcs11:id=%01;type=private", long_uri};
    for (size_t i = 0; i < ARRAY_SIZE(uris); i++) {
        _cleanup_(buffer_clear) struct buffer pem = {0};
        char *name = NULL, *header = NULL;
        unsigned char *der = NULL;
        long size = 0, inner = 0;
        int tag = 0, class = 0;
        helper_contents_uri_pem(uris[i], &pem);
        BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
        assert_int_equal(PEM_read_bio(bio, &name, &header, &der, &size), 1);
        assert_string_equal(name, "PKCS#11 PROVIDER URI");
        const unsigned char *position = der;
        assert_int_equal(ASN1_get_object(&position, &inner, &tag, &class, size),
                         V_ASN1_CONSTRUCTED);
        assert_int_equal(tag, V_ASN1_SEQUENCE);
        assert_ptr_equal(position + inner, der + size);
        read_string(&position, &inner, V_ASN1_VISIBLESTRING, "PKCS#11 Provider URI v1.0");
        read_string(&position, &inner, V_ASN1_UTF8STRING, uris[i]);
        assert_int_equal(inner, 0);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
        (void)BIO_free(bio);
    }
}

/* A certificate of its own key that ends in so many seconds. */
static struct buffer make_certificate(long ends_in_s)
{
    struct buffer der = {0};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x509), -7200));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x509), ends_in_s));
    assert_int_equal(X509_set_pubkey(x509, key), 1);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    uint8_t *to = buffer_extend(&der, (size_t)i2d_X509(x509, NULL));
    (void)i2d_X509(x509, &to);
    X509_free(x509);
    EVP_PKEY_free(key);
    return der;
}

static size_t count_certificates(const struct buffer *pem)
{
    size_t count = 0;
    _cleanup_(free_cleanup) char *text = text_format("%.*s", (int)pem->size, pem->data);
    for (const char *at = text; (at = strstr(at, "BEGIN CERTIFICATE")); at++) {
        count++;
    }
    return count;
}

static void certificates_go_where_they_were_asked(void **state)
{
    (void)state;
    static const struct {
        struct helper_output output;
        size_t certificates, authorities;
    } cases[] = {
        {{.name = NULL}, 2, 2},
        {{.has_intermediates_in_bundle = true}, 1, 3},
        {{.may_omit_expired = true}, 2, 1},
        {{.has_federated_bundles = true}, 2, 3},
        {{.has_federated_bundles = true, .may_omit_expired = true}, 2, 2},
    };
    _cleanup_(buffer_clear) struct buffer valid = make_certificate(3600);
    _cleanup_(buffer_clear) struct buffer expired = make_certificate(-3600);
    _cleanup_(buffer_clear) struct buffer chain = {0};
    _cleanup_(buffer_clear) struct buffer bundle = {0};
    buffer_append(&chain, valid.data, valid.size);
    buffer_append(&chain, valid.data, valid.size);
    buffer_append(&bundle, valid.data, valid.size);
    buffer_append(&bundle, expired.data, expired.size);
    Workload__X509SVIDResponse__FederatedBundlesEntry entry =
        WORKLOAD__X509_SVIDRESPONSE__FEDERATED_BUNDLES_ENTRY__INIT;
    Workload__X509SVIDResponse__FederatedBundlesEntry *entries[] = {&entry};
    entry.value = (ProtobufCBinaryData){valid.size, valid.data};
    Workload__X509SVIDResponse response = WORKLOAD__X509_SVIDRESPONSE__INIT;
    response.n_federated_bundles = 1;
    response.federated_bundles = entries;
    const struct helper_identity identity = {{.spiffe_id = "spiffe://example.org/a",
                                              .chain = buffer_bytes(&chain),
                                              .bundle = buffer_bytes(&bundle),
                                              .key_uri = "pkcs11:id=%01",
                                              .hint = "",
                                              .protection = "hardware",
                                              .keystore = "tpm"},
                                             &response.base};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
        struct error error = {0};
        assert_int_equal(helper_contents_x509(&cases[i].output, &identity, &contents, &error), 0);
        assert_int_equal(count_certificates(&contents.files[HELPER_CERTIFICATE]),
                         cases[i].certificates);
        assert_int_equal(count_certificates(&contents.files[HELPER_BUNDLE]), cases[i].authorities);
        assert_int_equal(contents.files[HELPER_KEY].size, 0);
        assert_true(bytes_is_equal(buffer_bytes(&contents.files[HELPER_KEY_URI]),
                                   bytes_of_text("pkcs11:id=%01\n")));
    }
}

static void a_bundle_without_a_valid_authority_is_refused(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer expired = make_certificate(-3600);
    const struct helper_output output = {.may_omit_expired = true};
    const struct helper_identity identity = {{.spiffe_id = "spiffe://example.org/a",
                                              .chain = buffer_bytes(&expired),
                                              .bundle = buffer_bytes(&expired),
                                              .key_uri = "pkcs11:id=%01"},
                                             NULL};
    _cleanup_(helper_contents_clear) struct helper_contents contents = {0};
    struct error error = {0};
    assert_int_equal(helper_contents_x509(&output, &identity, &contents, &error), -1);
    assert_non_null(strstr(error.text, "no certificate that is valid"));
}

static void jwt_bundles_stand_by_trust_domain(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        bool is_right;
    } cases[] = {{"{\"keys\": []}", true}, {"[]", false}, {"{", false}, {"", false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer json = {0};
        _cleanup_(free_cleanup) char *set = memory_copy_text(cases[i].set);
        Workload__JWTBundlesResponse__BundlesEntry entry =
            WORKLOAD__JWTBUNDLES_RESPONSE__BUNDLES_ENTRY__INIT;
        Workload__JWTBundlesResponse__BundlesEntry *entries[] = {&entry};
        Workload__JWTBundlesResponse response = WORKLOAD__JWTBUNDLES_RESPONSE__INIT;
        struct error error = {0};
        entry.key = (char *)"spiffe://example.org";
        entry.value = (ProtobufCBinaryData){strlen(set), (uint8_t *)set};
        response.n_bundles = 1;
        response.bundles = entries;
        int result = helper_contents_jwt_bundle(&response.base, &json, &error);
        assert_int_equal(result, cases[i].is_right ? 0 : -1);
        if (cases[i].is_right) {
            json_t *document = json_loadb((const char *)json.data, json.size, 0, NULL);
            const json_t *found = json_object_get(document, "spiffe://example.org");
            assert_true(json_is_array(json_object_get(found, "keys")));
            json_decref(document);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uri_is_written_as_pkcs11_provider_reads_it),
        cmocka_unit_test(certificates_go_where_they_were_asked),
        cmocka_unit_test(a_bundle_without_a_valid_authority_is_refused),
        cmocka_unit_test(jwt_bundles_stand_by_trust_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
