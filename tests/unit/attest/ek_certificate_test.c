/* EK certificates by a CA that is believed, each different from a good one in one way, as real ones
 * and forged ones differ. */
#include "tests/unit/attest/ek_world.h"

/* One certificate for the EK by the issuer, each different from a good one in one way. */
static const struct {
    const char *name;
    struct ek_maker_request request;
    enum error_code code;
    const char *text;
} certificates[] = {
    {"as it should be", {0}, ERROR_OK, ""},
    {"with a subject", {.subject = "lab"}, ERROR_OK, ""},
    {"no key usage, no basic constraints", {.usage = "", .constraints = ""}, ERROR_OK, ""},
    {"several purposes", {.purpose = "clientAuth,2.23.133.8.1"}, ERROR_OK, ""},
    {"critical otherName of unknown kind",
     {.names = "critical,otherName:1.3.6.1.4.1.99999.1;UTF8:lab"},
     ERROR_OK,
     ""},
    {"critical registeredID", {.names = "critical,RID:1.2.3.4"}, ERROR_OK, ""},
    {"critical specification",
     {.extension = {"2.5.29.9", true, EK_MAKER_SPECIFICATION, sizeof(EK_MAKER_SPECIFICATION) - 1}},
     ERROR_OK,
     ""},
    {"specification with a byte left over",
     {.extension = {"2.5.29.9", true, EK_MAKER_SPECIFICATION, sizeof(EK_MAKER_SPECIFICATION)}},
     ERROR_PERMISSION_DENIED,
     "critical extension"},
    {"specification of nothing",
     {.extension = {"2.5.29.9", true, "\x30\x00", 2}},
     ERROR_PERMISSION_DENIED,
     "critical extension"},
    {"critical extension that nobody knows",
     {.extension = {"1.3.6.1.4.1.99999.2", true, "\x05\x00", 2}},
     ERROR_PERMISSION_DENIED,
     "critical extension"},
    {"extension that nobody knows",
     {.extension = {"1.3.6.1.4.1.99999.2", false, "\x05\x00", 2}},
     ERROR_OK,
     ""},
    {"basic constraints that cannot be read",
     {.constraints = "", .extension = {"2.5.29.19", true, "\x30\x03\x02\x01", 4}},
     ERROR_PERMISSION_DENIED,
     ""},
    {"names that cannot be read",
     {.names = "", .extension = {"2.5.29.17", true, "\x30\x05junk", 6}},
     ERROR_PERMISSION_DENIED,
     ""},
    {"two lists of purposes",
     {.extension = {"2.5.29.37", false, "\x30\x07\x06\x05\x67\x81\x05\x08\x01", 9}},
     ERROR_PERMISSION_DENIED,
     "2.23.133.8.1"},
    {"platform certificate",
     {.purpose = EK_MAKER_PLATFORM_PURPOSE},
     ERROR_PERMISSION_DENIED,
     "2.23.133.8.1"},
    {"any purpose", {.purpose = "anyExtendedKeyUsage"}, ERROR_PERMISSION_DENIED, "2.23.133.8.1"},
    {"no purpose", {.purpose = ""}, ERROR_PERMISSION_DENIED, "2.23.133.8.1"},
    {"a CA", {.constraints = "critical,CA:TRUE"}, ERROR_PERMISSION_DENIED, "a CA's"},
    {"signs certificates",
     {.usage = "keyCertSign", .constraints = ""},
     ERROR_PERMISSION_DENIED,
     "a CA's"},
    {"expired", {.to_s = EK_MAKER_NOW_S - 1}, ERROR_PERMISSION_DENIED, "expired"},
    {"not valid yet", {.from_s = EK_MAKER_NOW_S + 1}, ERROR_PERMISSION_DENIED, "not yet valid"},
};

static void certificate_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(certificates); i++) {
        struct ek_maker_request request = certificates[i].request;
        request.issuer = world.issuer;
        request.issuer_key = world.issuer_key;
        request.key = world.ek_key;
        struct attempt attempt = {.ek = &world.ek,
                                  .certificate = ek_maker_issue(&request),
                                  .chain = {world.issuer},
                                  .chain_count = 1,
                                  .now_s = EK_MAKER_NOW_S};
        /* Twice: the second time may come from what was found before. */
        for (int round = 0; round < 2; round++) {
            assert_judged(world.trust, &attempt, certificates[i].name, certificates[i].code,
                          certificates[i].text);
        }
        attempt.ek = &world.other;
        assert_judged(world.trust, &attempt, certificates[i].name, ERROR_PERMISSION_DENIED,
                      "another key");
        X509_free(attempt.certificate);
    }
}

static void oaep_key_is_understood(void **state)
{
    struct ek_maker_request request = {.issuer = world.issuer,
                                       .issuer_key = world.issuer_key,
                                       .key = world.rsa_key,
                                       .usage = "keyEncipherment"};
    struct attempt attempt = {.chain = {world.issuer}, .chain_count = 1, .now_s = EK_MAKER_NOW_S};
    (void)state;
    for (int is_marked = 0; is_marked < 2; is_marked++) {
        request.is_for_oaep = is_marked;
        request.issuer_key = world.issuer_key;
        attempt.certificate = ek_maker_issue(&request);
        attempt.ek = &world.rsa;
        assert_judged(world.trust, &attempt, "RSA", ERROR_OK, "");
        attempt.ek = &world.ek;
        assert_judged(world.trust, &attempt, "RSA", ERROR_PERMISSION_DENIED, "another key");
        X509_free(attempt.certificate);
        request.issuer_key = world.other_key;
        attempt.certificate = ek_maker_issue(&request);
        attempt.ek = &world.rsa;
        assert_judged(world.trust, &attempt, "forged RSA", ERROR_PERMISSION_DENIED, "sign");
        X509_free(attempt.certificate);
    }
}

/* Nothing else of such a certificate is let pass. */
static void oaep_certificate_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(certificates); i++) {
        struct ek_maker_request request = certificates[i].request;
        request.issuer = world.issuer;
        request.issuer_key = world.issuer_key;
        request.key = world.rsa_key;
        request.is_for_oaep = true;
        struct attempt attempt = {.ek = &world.rsa,
                                  .certificate = ek_maker_issue(&request),
                                  .chain = {world.issuer},
                                  .chain_count = 1,
                                  .now_s = EK_MAKER_NOW_S};
        assert_judged(world.trust, &attempt, certificates[i].name, certificates[i].code,
                      certificates[i].text);
        X509_free(attempt.certificate);
    }
}

static void weak_signature_is_refused(void **state)
{
    const struct ek_maker_request request = {.issuer = world.issuer,
                                             .issuer_key = world.issuer_key,
                                             .key = world.ek_key,
                                             .md = EVP_sha1()};
    struct attempt attempt = {.ek = &world.ek,
                              .certificate = ek_maker_issue(&request),
                              .chain = {world.issuer},
                              .chain_count = 1,
                              .now_s = EK_MAKER_NOW_S};
    (void)state;
    assert_judged(world.trust, &attempt, "SHA-1", ERROR_PERMISSION_DENIED, "too weak");
    X509_free(attempt.certificate);
}

/* The same certificate with the last byte of its signature changed. */
static void forged_signature_is_refused(void **state)
{
    struct error err;
    const char *how = NULL;
    X509 *certificate = good_certificate();
    _cleanup_(buffer_clear) struct buffer der = {0};
    _cleanup_(buffer_clear) struct buffer issuer = {0};
    (void)state;
    ek_maker_der(certificate, &der);
    ek_maker_der(world.issuer, &issuer);
    const struct bytes chain = buffer_bytes(&issuer);
    der.data[der.size - 1] ^= 1;
    assert_int_equal(ek_trust_judge(world.trust, &world.ek, buffer_bytes(&der), &chain, 1,
                                    EK_MAKER_NOW_S, &how, &err),
                     -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "signature"));
    X509_free(certificate);
}

static void padding_is_left_alone(void **state)
{
    static const uint8_t fills[] = {0x00, 0xff, 0x30};
    struct attempt attempt = {.ek = &world.ek,
                              .certificate = good_certificate(),
                              .chain = {world.issuer},
                              .chain_count = 1,
                              .now_s = EK_MAKER_NOW_S};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fills); i++) {
        buffer_reset(&attempt.padding);
        memset(buffer_extend(&attempt.padding, 100), fills[i], 100);
        assert_judged(world.trust, &attempt, "padding", ERROR_OK, "");
    }
    buffer_clear(&attempt.padding);
    X509_free(attempt.certificate);
}

static void cut_and_junk_are_refused(void **state)
{
    struct error err;
    const char *how = NULL;
    X509 *certificate = good_certificate();
    _cleanup_(buffer_clear) struct buffer der = {0};
    (void)state;
    ek_maker_der(certificate, &der);
    X509_free(certificate);
    for (size_t size = 1; size < der.size; size += 7) {
        assert_int_equal(ek_trust_judge(world.trust, &world.ek, (struct bytes){der.data, size},
                                        NULL, 0, EK_MAKER_NOW_S, &how, &err),
                         -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    const struct bytes junk = bytes_of_text("\x30\x03junk");
    assert_int_equal(
        ek_trust_judge(world.trust, &world.ek, junk, NULL, 0, EK_MAKER_NOW_S, &how, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    assert_int_equal(ek_trust_judge(world.trust, &world.ek, buffer_bytes(&der), &junk, 1,
                                    EK_MAKER_NOW_S, &how, &err),
                     -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificate_is_judged),       cmocka_unit_test(oaep_key_is_understood),
        cmocka_unit_test(oaep_certificate_is_judged),  cmocka_unit_test(weak_signature_is_refused),
        cmocka_unit_test(forged_signature_is_refused), cmocka_unit_test(padding_is_left_alone),
        cmocka_unit_test(cut_and_junk_are_refused),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
