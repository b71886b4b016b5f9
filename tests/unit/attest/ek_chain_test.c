/* What lies between an EK certificate and the one that is believed. */
#include "tests/unit/attest/ek_world.h"

/* Of certificates between the EK's and the anchor. */
static void chain_is_judged(void **state)
{
    X509 *certificate = good_certificate();
    struct ek_trust *of_issuer = trust_of(world.issuer);
    struct ek_trust *of_stranger = trust_of(world.strange_root);
    struct ek_trust *of_ek = trust_of(certificate);
    const struct {
        const char *name;
        struct ek_trust *trust;
        X509 *chain[3];
        size_t count;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"issuer and root come along", world.trust, {world.issuer, world.root}, 2, ERROR_OK, ""},
        {"in another order", world.trust, {world.root, world.issuer}, 2, ERROR_OK, ""},
        {"the issuer is missing",
         world.trust,
         {NULL},
         0,
         ERROR_PERMISSION_DENIED,
         "unable to get local issuer certificate"},
        {"an issuer of the same name",
         world.trust,
         {world.strange_issuer},
         1,
         ERROR_PERMISSION_DENIED,
         "does not lead"},
        {"the issuer is the anchor", of_issuer, {NULL}, 0, ERROR_OK, ""},
        {"the certificate is the anchor", of_ek, {NULL}, 0, ERROR_OK, ""},
        {"another CA with its root",
         of_stranger,
         {world.issuer, world.root},
         2,
         ERROR_PERMISSION_DENIED,
         "does not lead"},
        {"nobody is believed",
         of_stranger,
         {world.issuer},
         1,
         ERROR_PERMISSION_DENIED,
         "does not lead"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct attempt attempt = {.ek = &world.ek,
                                  .certificate = certificate,
                                  .chain_count = cases[i].count,
                                  .now_s = EK_MAKER_NOW_S};
        memcpy(attempt.chain, cases[i].chain, sizeof(cases[i].chain));
        assert_judged(cases[i].trust, &attempt, cases[i].name, cases[i].code, cases[i].text);
    }
    ek_trust_free(of_issuer);
    ek_trust_free(of_stranger);
    ek_trust_free(of_ek);
    X509_free(certificate);
}

/* One certificate below the root, which an EK certificate is issued with. */
static void check_issuer(const char *name, const struct ek_maker_request *request,
                         enum error_code code, const char *text)
{
    struct ek_maker_request filled = *request;
    filled.issuer = world.root;
    filled.issuer_key = world.root_key;
    filled.key = world.other_key;
    filled.names = "";
    X509 *issuer = ek_maker_issue(&filled);
    X509 *certificate = ek_maker_issue(&(struct ek_maker_request){
        .issuer = issuer, .issuer_key = world.other_key, .key = world.ek_key});
    const struct attempt attempt = {.ek = &world.ek,
                                    .certificate = certificate,
                                    .chain = {issuer},
                                    .chain_count = 1,
                                    .now_s = EK_MAKER_NOW_S};
    assert_judged(world.trust, &attempt, name, code, text);
    X509_free(certificate);
    X509_free(issuer);
}

static void issuer_is_judged(void **state)
{
    static const struct {
        const char *name;
        struct ek_maker_request request;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"a CA",
         {.constraints = "critical,CA:TRUE", .usage = "keyCertSign", .purpose = ""},
         ERROR_OK,
         ""},
        {"no CA", {.usage = "keyCertSign", .purpose = ""}, ERROR_PERMISSION_DENIED, "invalid CA"},
        {"does not say that it is a CA",
         {.constraints = "", .usage = "keyCertSign", .purpose = ""},
         ERROR_PERMISSION_DENIED,
         "invalid CA"},
        {"an EK certificate, whose key signed another", {0}, ERROR_PERMISSION_DENIED, "CA"},
        {"expired",
         {.constraints = "critical,CA:TRUE",
          .usage = "keyCertSign",
          .purpose = "",
          .to_s = EK_MAKER_NOW_S - 1},
         ERROR_PERMISSION_DENIED,
         "expired"},
        {"critical attributes, which are for the EK alone",
         {.constraints = "critical,CA:TRUE",
          .usage = "keyCertSign",
          .purpose = "",
          .extension = {"2.5.29.9", true, EK_MAKER_SPECIFICATION,
                        sizeof(EK_MAKER_SPECIFICATION) - 1}},
         ERROR_PERMISSION_DENIED,
         "critical extension"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ek_maker_request request = cases[i].request;
        request.subject = cases[i].name;
        check_issuer(cases[i].name, &request, cases[i].code, cases[i].text);
    }
}

/* Longer than allowed, though every link is right. */
static void length_is_bounded(void **state)
{
    struct attempt attempt = {.ek = &world.ek, .now_s = EK_MAKER_NOW_S};
    X509 *above = world.root;
    EVP_PKEY *above_key = world.root_key;
    (void)state;
    for (size_t i = 0; i <= EK_CHAIN_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "ca %zu", i);
        attempt.chain[i] = ek_maker_issue_ca(above, above_key, world.issuer_key, name);
        above = attempt.chain[i];
        above_key = world.issuer_key;
        attempt.certificate = ek_maker_issue(&(struct ek_maker_request){
            .issuer = above, .issuer_key = above_key, .key = world.ek_key});
        attempt.chain_count = i + 1;
        assert_judged(world.trust, &attempt, name,
                      i < EK_CHAIN_MAX ? ERROR_OK : ERROR_INVALID_ARGUMENT, "at most");
        X509_free(attempt.certificate);
    }
    for (size_t i = 0; i <= EK_CHAIN_MAX; i++) {
        X509_free(attempt.chain[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_is_judged),
        cmocka_unit_test(issuer_is_judged),
        cmocka_unit_test(length_is_bounded),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
