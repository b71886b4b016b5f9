/* The embedded issuer as the agent uses it: SVIDs, the inventory, refusals, trouble. */
#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/resource.h>

#include "agent/issuer/x509.h"
#include "tests/unit/issuer/fixture.h"

DEFINE_CLEANUP(X509, x509, X509_free);

static const char spiffe_id[] = "spiffe://example.org/a";

static struct entry *add(struct fixture *fixture, const char *id, const char *selector)
{
    struct fixture_answer answer = fixture_add(fixture, fixture_entry(id, selector));
    if (answer.is_failed) {
        fail_msg("%s", answer.failure.text);
    }
    return fixture_find(fixture, id);
}

static X509 *parse(struct bytes der)
{
    struct error failure;
    X509 *certificate = NULL;
    assert_int_equal(x509_parse(der, &certificate, &failure), 0);
    return certificate;
}

/* Against the bundle that the issuer has told, now. */
static void check_chain(const struct fixture *fixture, struct bytes chain)
{
    _cleanup_(x509_cleanup) X509 *svid = parse(chain);
    X509_STORE *store = X509_STORE_new();
    for (size_t i = 0; i < fixture->bundle->authority_count; i++) {
        _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&fixture->bundle->authorities[i]));
        assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    }
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_CTX_init(context, store, svid, NULL), 1);
    (void)X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context),
                               issuer_clock_now_s(&fixture->clock));
    (void)X509_verify_cert(context);
    assert_string_equal(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)), "ok");
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
}

static void test_x509(void **state)
{
    struct fixture *fixture = *state;
    static const enum key_type ca_types[] = {KEY_TYPE_EC_P256, KEY_TYPE_EC_P384, KEY_TYPE_RSA_2048};
    fixture->now_s = 1800000000;
    for (size_t i = 0; i < ARRAY_SIZE(ca_types); i++) {
        /* The type is that of the next CA: the life of the one before is over. */
        fixture->now_s += 200000;
        fixture->config.ca_key_type = ca_types[i];
        fixture_open(fixture);
        struct entry *entry = fixture_find(fixture, spiffe_id);
        entry = entry ? entry : add(fixture, spiffe_id, "unix:uid:1");
        struct fixture_x509 wanted = {0};
        fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
        assert_false(wanted.is_failed);
        check_chain(fixture, buffer_bytes(&wanted.request.chain));
        assert_int_equal(wanted.request.not_before_s, fixture->now_s - 10);
        assert_int_equal(wanted.request.expires_at_s, fixture->now_s + 3600);
        assert_int_equal(strlen(wanted.request.serial), 32);
        fixture_x509_clear(&wanted);
        fixture_close(fixture);
        assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), i + 1);
    }
}

static void test_ttls(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        uint32_t entry_ttl_s, limit_s;
        int64_t life_s;
    } cases[] = {{0, 0, 3600},      {600, 0, 600},        {600, 60, 60},
                 {0, 7200, 3600},   {7200, 0, 7200},      {0, 1, 1},
                 {86000, 0, 86000}, {31536000, 0, 86400}, {31536000, 100000, 86400}};
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *id = text_format("spiffe://example.org/%zu", i);
        struct entry *entry = fixture_entry(id, "unix:uid:1");
        entry->x509_svid_ttl_s = cases[i].entry_ttl_s;
        struct fixture_x509 wanted = {.request.ttl_limit_s = cases[i].limit_s};
        assert_false(fixture_add(fixture, entry).is_failed);
        fixture_x509(fixture, fixture_find(fixture, id), EVP_EC_gen("P-256"), &wanted);
        assert_false(wanted.is_failed);
        _cleanup_(x509_cleanup) X509 *svid = parse(buffer_bytes(&wanted.request.chain));
        struct tm utc;
        assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(svid), &utc), 1);
        assert_int_equal(timegm(&utc), fixture->now_s + cases[i].life_s);
        assert_int_equal(wanted.request.expires_at_s, fixture->now_s + cases[i].life_s);
        fixture_x509_clear(&wanted);
    }
}

static json_t *decode_part(const char *start, size_t size)
{
    struct error failure;
    _cleanup_(buffer_clear) struct buffer text = {0};
    assert_int_equal(text_base64url_decode(start, size, &text, &failure), 0);
    json_t *value = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    return value;
}

/* RFC 7515 5.2 with the key that the bundle has for the kid. */
static void verify_jws(const struct fixture *fixture, const char *token, const char *algorithm)
{
    struct error failure;
    const char *claims = strchr(token, '.') + 1, *signature = strchr(claims, '.') + 1;
    json_t *header = decode_part(token, (size_t)(claims - token - 1));
    assert_string_equal(json_string_value(json_object_get(header, "alg")), algorithm);
    assert_string_equal(json_string_value(json_object_get(header, "typ")), "JWT");
    const char *kid = json_string_value(json_object_get(header, "kid"));
    EVP_PKEY *key = NULL;
    for (size_t i = 0; i < fixture->bundle->jwt_key_count; i++) {
        if (strcmp(fixture->bundle->jwt_keys[i].kid, kid) == 0) {
            key = fixture->bundle->jwt_keys[i].public_key;
        }
    }
    assert_non_null(key);
    _cleanup_(buffer_clear) struct buffer raw = {0};
    assert_int_equal(text_base64url_decode(signature, strlen(signature), &raw, &failure), 0);
    uint8_t *der = NULL;
    int size = (int)raw.size;
    if (algorithm[0] == 'E') {
        int half = (int)raw.size / 2;
        assert_int_equal(half, strcmp(algorithm, "ES256") == 0 ? 32 : 48);
        ECDSA_SIG *parsed = ECDSA_SIG_new();
        assert_int_equal(ECDSA_SIG_set0(parsed, BN_bin2bn(raw.data, half, NULL),
                                        BN_bin2bn(raw.data + half, half, NULL)),
                         1);
        size = i2d_ECDSA_SIG(parsed, &der);
        ECDSA_SIG_free(parsed);
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const EVP_MD *digest = strcmp(algorithm, "ES384") == 0 ? EVP_sha384() : EVP_sha256();
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, digest, NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(context, der ? der : raw.data, (size_t)size,
                                      (const uint8_t *)token, (size_t)(signature - token - 1)),
                     1);
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    json_decref(header);
}

static void test_jwt(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum key_type type;
        const char *algorithm;
    } cases[] = {
        {KEY_TYPE_EC_P256, "ES256"}, {KEY_TYPE_EC_P384, "ES384"}, {KEY_TYPE_RSA_2048, "RS256"}};
    fixture->now_s = 1800000000;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fixture->now_s += 200000;
        fixture->config.jwt_key_type = cases[i].type;
        fixture_open(fixture);
        struct entry *entry = fixture_find(fixture, spiffe_id);
        entry = entry ? entry : add(fixture, spiffe_id, "unix:uid:1");
        struct fixture_jwt wanted = {0};
        text_list_add(&wanted.request.audience, "first \"quoted\"");
        fixture_jwt(fixture, entry, "second", &wanted);
        assert_false(wanted.is_failed);
        verify_jws(fixture, wanted.request.token, cases[i].algorithm);
        const char *claims = strchr(wanted.request.token, '.') + 1;
        json_t *body = decode_part(claims, strcspn(claims, "."));
        assert_string_equal(json_string_value(json_object_get(body, "sub")), spiffe_id);
        assert_int_equal(json_integer_value(json_object_get(body, "iat")), fixture->now_s);
        assert_int_equal(json_integer_value(json_object_get(body, "exp")), fixture->now_s + 300);
        assert_int_equal(strlen(json_string_value(json_object_get(body, "jti"))), 32);
        const json_t *audience = json_object_get(body, "aud");
        assert_int_equal(json_array_size(audience), 2);
        assert_string_equal(json_string_value(json_array_get(audience, 0)), "first \"quoted\"");
        assert_string_equal(json_string_value(json_array_get(audience, 1)), "second");
        assert_int_equal(json_object_size(body), 5);
        _cleanup_(free_cleanup) char *sql =
            text_format("SELECT count(*) FROM issued WHERE kind = 'jwt' AND serial = '%s'",
                        json_string_value(json_object_get(body, "jti")));
        json_decref(body);
        fixture_jwt_clear(&wanted);
        fixture_close(fixture);
        assert_int_equal(fixture_query(fixture, sql), 1);
    }
    /* One audience is an array too; none is refused. */
    fixture_open(fixture);
    struct fixture_jwt wanted = {0};
    fixture_jwt(fixture, fixture_find(fixture, spiffe_id), NULL, &wanted);
    assert_true(wanted.is_failed);
    assert_int_equal(wanted.failure.code, ERROR_INVALID_ARGUMENT);
    fixture_jwt_clear(&wanted);
    fixture_jwt(fixture, fixture_find(fixture, spiffe_id), "", &wanted);
    assert_true(wanted.is_failed);
    fixture_jwt_clear(&wanted);
}

static void test_inventory(void **state)
{
    struct fixture *fixture = *state;
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    struct fixture_x509 wanted = {0};
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    uint8_t digest[32];
    (void)EVP_Digest(wanted.spki.data, wanted.spki.size, digest, NULL, EVP_sha256(), NULL);
    _cleanup_(free_cleanup) char *key_id = text_hex((struct bytes){digest, KEY_ID_BYTES});
    _cleanup_(free_cleanup) char *sql = text_format(
        "SELECT count(*) FROM issued JOIN authority ON state = 'active' AND authority.kind = 'x509'"
        " WHERE serial = '%s' AND issued.kind = 'x509' AND spiffe_id = '%s' AND entry_id = '%s' AND"
        " key_id = '%s' AND protection = 'hardware' AND issued.not_before = %ld AND "
        "issued.expires_at = %ld AND issued_at = %ld",
        wanted.request.serial, spiffe_id, entry->id, key_id, (long)wanted.request.not_before_s,
        (long)wanted.request.expires_at_s, (long)fixture->now_s);
    /* The certificate has that very serial number. */
    _cleanup_(x509_cleanup) X509 *svid = parse(buffer_bytes(&wanted.request.chain));
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(svid), NULL);
    uint8_t serial[16];
    assert_int_equal(BN_bn2binpad(number, serial, 16), 16);
    BN_free(number);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){serial, 16});
    assert_string_equal(hex, wanted.request.serial);
    fixture_x509_clear(&wanted);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, sql), 1);
}

/* Rows leave the inventory a month after their SVID expired. */
static void test_pruning(void **state)
{
    struct fixture *fixture = *state;
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    struct fixture_x509 wanted = {0};
    fixture_x509(fixture, add(fixture, spiffe_id, "unix:uid:1"), EVP_EC_gen("P-256"), &wanted);
    fixture_x509_clear(&wanted);
    fixture->now_s += 3600 + 30 * 86400 - 1;
    fixture_reopen(fixture);
    fixture_look(fixture);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), 1);
    fixture->now_s += 3;
    fixture->monotonic_ms += 3600000;
    fixture_open(fixture);
    fixture_look(fixture);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), 0);
}

static int refuse(struct fixture *fixture, struct error *failure)
{
    int result = fixture_try_open(fixture, failure);
    assert_null(fixture->issuer);
    return result;
}

static void test_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct error failure;
    struct keystore_driver guarded = soft_driver;
    guarded.protection = KEY_PROTECTION_GUARDED;
    fixture->driver = &guarded;
    fixture->driver_config = &fixture->soft;
    assert_int_equal(refuse(fixture, &failure), -1);
    assert_int_equal(failure.code, ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(failure.text, "pkcs11"));
    keystore_free(fixture->keystore);
    fixture->keystore = NULL;
    fixture->driver = NULL;
    fixture->config.jwt_svid_ttl_s = fixture->config.ca_ttl_s + 1;
    assert_int_equal(refuse(fixture, &failure), -1);
    assert_non_null(strstr(failure.text, "jwt_svid_ttl"));
    fixture->config.jwt_svid_ttl_s = 300;
    /* Hardware that cannot make keys: no issuer, and no key left behind by the next one. */
    atomic_store(&fixture->soft.fails_to_make, true);
    assert_int_equal(refuse(fixture, &failure), -1);
    assert_non_null(strstr(failure.text, "told to fail"));
    assert_int_equal(soft_count_keys(&fixture->soft), 1);
    atomic_store(&fixture->soft.fails_to_make, false);
    fixture_open(fixture);
    assert_int_equal(soft_count_keys(&fixture->soft), 2);
    fixture_close(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM authority"), 2);
    fixture->config.trust_domain = "example.com";
    assert_int_equal(refuse(fixture, &failure), -1);
    assert_non_null(strstr(failure.text, "example.org"));
    fixture->config.trust_domain = "example.org";
    fixture->config.data_dir = "/nonexistent/folder";
    assert_int_equal(refuse(fixture, &failure), -1);
    assert_non_null(strstr(failure.text, "/nonexistent/folder"));
}

static void test_hardware_down(void **state)
{
    struct fixture *fixture = *state;
    struct issuer_health health;
    fixture_open(fixture);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    fixture->issuer->operations->health(fixture->issuer, &health);
    assert_true(health.is_ready);
    atomic_store(&fixture->soft.is_down, true);
    struct fixture_x509 wanted = {0};
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_true(wanted.is_failed);
    assert_int_equal(wanted.failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(wanted.failure.text, "switched off"));
    assert_non_null(strstr(wanted.failure.text, spiffe_id));
    fixture_x509_clear(&wanted);
    fixture->issuer->operations->health(fixture->issuer, &health);
    assert_false(health.is_ready);
    assert_non_null(strstr(health.reason, "switched off"));
    atomic_store(&fixture->soft.is_down, false);
    struct keystore_status status = {.state = KEYSTORE_STATE_LOST};
    for (unsigned i = 0; i < 3000 && status.state == KEYSTORE_STATE_LOST; i++) {
        (void)usleep(10000);
        keystore_status(fixture->keystore, &status);
    }
    fixture->issuer->operations->health(fixture->issuer, &health);
    assert_true(health.is_ready);
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_false(wanted.is_failed);
    fixture_x509_clear(&wanted);
}

/* The disk takes nothing more: nothing is answered that is not stored, health says why, and it goes
 * on when there is room again. */
static void test_disk_full(void **state)
{
    struct fixture *fixture = *state;
    struct issuer_health health;
    struct rlimit before, none = {.rlim_cur = 1};
    fixture->now_s = 1800000000;
    fixture_open(fixture);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    fixture_look(fixture);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    struct fixture_x509 wanted = {0};
    struct fixture_answer removed, added;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    removed = fixture_remove_entry(fixture, entry->id);
    added = fixture_add(fixture, fixture_entry("spiffe://example.org/b", "unix:uid:1"));
    fixture->issuer->operations->health(fixture->issuer, &health);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(wanted.is_failed && removed.is_failed && added.is_failed);
    assert_int_equal(wanted.failure.code, ERROR_UNAVAILABLE);
    assert_int_equal(wanted.request.chain.size, 0);
    assert_false(health.is_ready);
    assert_non_null(strstr(health.reason, "issuer.sqlite"));
    assert_int_equal(fixture->entry_count, 1);
    fixture_x509_clear(&wanted);
    /* Noticed by itself. */
    fixture_look(fixture);
    fixture->issuer->operations->health(fixture->issuer, &health);
    assert_true(health.is_ready);
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    assert_false(wanted.is_failed);
    fixture_x509_clear(&wanted);
    (void)add(fixture, "spiffe://example.org/b", "unix:uid:1");
    assert_false(fixture_remove_entry(fixture, entry->id).is_failed);
    fixture_reopen(fixture);
    assert_int_equal(fixture->entry_count, 1);
    assert_non_null(fixture_find(fixture, "spiffe://example.org/b"));
}

static void test_stop(void **state)
{
    struct fixture *fixture = *state;
    fixture_open(fixture);
    struct entry *entry = add(fixture, spiffe_id, "unix:uid:1");
    struct fixture_x509 wanted[32] = {0}, late = {0};
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        fixture_x509_want(fixture, entry, EVP_EC_gen("P-256"), &wanted[i]);
    }
    fixture->issuer->operations->stop(fixture->issuer, fixture_on_stopped, fixture);
    fixture_x509_want(fixture, entry, EVP_EC_gen("P-256"), &late);
    FIXTURE_UNTIL(fixture, fixture->is_stopped);
    fixture->issuer = NULL;
    /* Each was answered; who got an SVID is in the inventory. */
    int64_t issued = 0;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        assert_true(wanted[i].is_there);
        issued += !wanted[i].is_failed;
        assert_true(!wanted[i].is_failed || wanted[i].failure.code == ERROR_CANCELLED);
        fixture_x509_clear(&wanted[i]);
    }
    assert_true(late.is_failed);
    assert_int_equal(late.failure.code, ERROR_CANCELLED);
    fixture_x509_clear(&late);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM issued"), issued);
    fixture->is_stopped = false;
    while (fixture->entry_count > 0) {
        entry_unref(fixture->entries[--fixture->entry_count]);
    }
    bundle_unref(fixture->bundle);
}

/* One entry cannot fill the queue; another is served all the same. */
static void test_bounds(void **state)
{
    struct fixture *fixture = *state;
    fixture_open(fixture);
    struct entry *greedy = add(fixture, spiffe_id, "unix:uid:1");
    struct entry *other = add(fixture, "spiffe://example.org/b", "unix:uid:1");
    enum { COUNT = 300 };
    struct fixture_x509 *wanted = memory_new_array(COUNT, sizeof(*wanted)), modest = {0};
    for (size_t i = 0; i < COUNT; i++) {
        fixture_x509_want(fixture, greedy, EVP_EC_gen("P-256"), &wanted[i]);
    }
    fixture_x509(fixture, other, EVP_EC_gen("P-256"), &modest);
    assert_false(modest.is_failed);
    size_t refused = 0;
    for (size_t i = 0; i < COUNT; i++) {
        FIXTURE_UNTIL(fixture, wanted[i].is_there);
        refused += wanted[i].is_failed;
        assert_true(!wanted[i].is_failed || wanted[i].failure.code == ERROR_RESOURCE_EXHAUSTED);
        fixture_x509_clear(&wanted[i]);
    }
    (void)refused; /* how many depends on the speed of the worker */
    fixture_x509_clear(&modest);
    free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_x509, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_ttls, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_jwt, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_inventory, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_pruning, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_hardware_down, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stop, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
