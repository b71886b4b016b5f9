/* What the embedded issuer asks before it signs, and certificates for attestation keys. */
#include <openssl/x509v3.h>

#include "agent/issuer/x509.h"
#include "tests/unit/issuer/fixture.h"

#define FINGERPRINT "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char spiffe_id[] = "spiffe://example.org/a";

static struct entry *add(struct fixture *fixture, const char *id, const char *selector)
{
    struct fixture_answer answer = fixture_add(fixture, fixture_entry(id, selector));
    assert_false(answer.is_failed);
    return fixture_find(fixture, id);
}

struct gate {
    bool is_shut;
    unsigned asked;
};

static int ask(void *user, struct error *err)
{
    struct gate *gate = user;
    gate->asked++;
    return gate->is_shut ? error_set(err, ERROR_FAILED_PRECONDITION, "PCR 7 has changed") : 0;
}

struct ak {
    struct ak_request request;
    bool is_done, is_failed;
    struct error failure;
};

static void ak_done(struct ak_request *request, const struct error *failure)
{
    struct ak *ak = request->user;
    ak->is_done = true;
    ak->is_failed = failure != NULL;
    if (failure) {
        ak->failure = *failure;
    }
}

static void certify(struct fixture *fixture, struct ak *ak, EVP_PKEY *key, uint32_t ttl_s)
{
    struct buffer spki = {0};
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    assert_true(size > 0);
    buffer_append(&spki, der, (size_t)size);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    *ak = (struct ak){.request = {.public_key = buffer_bytes(&spki),
                                  .ek_fingerprint = FINGERPRINT,
                                  .ttl_s = ttl_s,
                                  .done = ak_done,
                                  .user = ak}};
    fixture->issuer->operations->ak_certify(fixture->issuer, &ak->request);
    assert_false(ak->is_done);
    FIXTURE_UNTIL(fixture, ak->is_done);
    buffer_clear(&spki);
}

/* Nobody gets anything while it is shut; the node's own key is no identity, and is certified. */
static void test_gate(void **state)
{
    struct fixture *fixture = *state;
    struct gate gate = {.is_shut = true};
    const struct issuer_gate operations = {ask, &gate};
    struct fixture_x509 wanted = {0};
    struct ak ak;
    fixture_open(fixture);
    fixture->issuer->operations->set_gate(fixture->issuer, &operations);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_true(wanted.is_failed);
    assert_int_equal(wanted.failure.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(wanted.failure.text, "PCR 7 has changed"));
    fixture_x509_clear(&wanted);
    struct fixture_jwt jwt = {0};
    fixture_jwt(fixture, entry, "a", &jwt);
    assert_true(jwt.is_failed);
    assert_int_equal(jwt.failure.code, ERROR_FAILED_PRECONDITION);
    fixture_jwt_clear(&jwt);
    unsigned asked = gate.asked;
    certify(fixture, &ak, EVP_EC_gen("P-256"), 600);
    assert_false(ak.is_failed);
    assert_int_equal(gate.asked, asked);
    buffer_clear(&ak.request.chain);

    gate.is_shut = false;
    wanted = (struct fixture_x509){0};
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_false(wanted.is_failed);
    fixture_x509_clear(&wanted);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), 1);
}

/* Shut while the keystore was at it: what was signed is not given out. */
static int shut_after_first(void *user, struct error *err)
{
    struct gate *gate = user;
    gate->is_shut = gate->asked++ > 0;
    return gate->is_shut ? error_set(err, ERROR_FAILED_PRECONDITION, "just now") : 0;
}

static void test_gate_shuts_late(void **state)
{
    struct fixture *fixture = *state;
    struct gate gate = {0};
    const struct issuer_gate operations = {shut_after_first, &gate};
    struct fixture_x509 wanted = {0};
    fixture_open(fixture);
    fixture->issuer->operations->set_gate(fixture->issuer, &operations);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_true(wanted.is_failed);
    assert_non_null(strstr(wanted.failure.text, "just now"));
    assert_int_equal(wanted.request.chain.size, 0);
    fixture_x509_clear(&wanted);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), 0);
}

static void test_ak(void **state)
{
    struct fixture *fixture = *state;
    struct ak ak;
    fixture->now_s = clock_now_s();
    fixture_open(fixture);
    certify(fixture, &ak, EVP_EC_gen("P-256"), 600);
    assert_false(ak.is_failed);
    assert_int_equal(ak.request.expires_at_s, fixture->now_s + 600);
    const uint8_t *at = ak.request.chain.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)ak.request.chain.size);
    assert_non_null(certificate);
    assert_ptr_equal(at, ak.request.chain.data + ak.request.chain.size); /* never the root */
    char serial[128] = "";
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_serialNumber, serial,
                                    sizeof(serial));
    assert_string_equal(serial, FINGERPRINT);
    int is_critical = 0;
    EXTENDED_KEY_USAGE *usage =
        X509_get_ext_d2i(certificate, NID_ext_key_usage, &is_critical, NULL);
    char purpose[64] = "";
    assert_non_null(usage);
    assert_int_equal(sk_ASN1_OBJECT_num(usage), 1);
    (void)OBJ_obj2txt(purpose, sizeof(purpose), sk_ASN1_OBJECT_value(usage, 0), 1);
    assert_string_equal(purpose, "2.23.133.8.3");
    assert_true(is_critical);
    EXTENDED_KEY_USAGE_free(usage);
    assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_check_ca(certificate), 0);
    assert_int_equal(X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1), -1);
    X509_free(certificate);
    buffer_clear(&ak.request.chain);
    /* Not longer than the CA; and only keys that are worth it. */
    certify(fixture, &ak, EVP_RSA_gen(2048), UINT32_MAX / 2);
    assert_false(ak.is_failed);
    assert_true(ak.request.expires_at_s <= fixture->now_s + (int64_t)fixture->config.ca_ttl_s);
    buffer_clear(&ak.request.chain);
    certify(fixture, &ak, EVP_EC_gen("P-224"), 600);
    assert_true(ak.is_failed);
    assert_int_equal(ak.failure.code, ERROR_INVALID_ARGUMENT);
    fixture_close(fixture);
    /* It is no identity: not in the inventory. */
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gate, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_gate_shuts_late, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_ak, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
