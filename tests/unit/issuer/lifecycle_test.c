/* The life of the issuer's keys: days and weeks pass on a clock that the test sets. */
#include <openssl/x509v3.h>

#include "agent/issuer/schedule.h"
#include "agent/issuer/x509.h"
#include "lib/base/log.h"
#include "tests/unit/issuer/fixture.h"

DEFINE_CLEANUP(X509, x509, X509_free);

enum { DAY_S = 86400, BACKDATING_S = 10, LIFE_S = DAY_S + BACKDATING_S };

static const char spiffe_id[] = "spiffe://example.org/a";
static const int64_t start_s = 1800000000;

static struct entry *begin(struct fixture *fixture)
{
    fixture->now_s = start_s;
    fixture_open(fixture);
    assert_false(fixture_add(fixture, fixture_entry(spiffe_id, "unix:uid:1")).is_failed);
    fixture_look(fixture);
    return fixture_find(fixture, spiffe_id);
}

static void pass(struct fixture *fixture, int64_t seconds)
{
    fixture->now_s += seconds;
    fixture->monotonic_ms += (uint64_t)(seconds > 0 ? seconds : 0) * 1000;
}

static void pass_until(struct fixture *fixture, int64_t at_s)
{
    pass(fixture, at_s - fixture->now_s);
}

static X509 *parse(struct bytes der)
{
    struct error failure;
    X509 *certificate = NULL;
    assert_int_equal(x509_parse(der, &certificate, &failure), 0);
    return certificate;
}

/* An SVID, to be freed; NULL where the issuer could not. */
static X509 *issue(struct fixture *fixture, struct entry *entry)
{
    struct fixture_x509 wanted = {0};
    fixture_x509(fixture, entry, EVP_EC_gen("P-256"), &wanted);
    X509 *svid = NULL;
    if (wanted.is_failed) {
        assert_int_equal(wanted.failure.code, ERROR_UNAVAILABLE);
    } else {
        svid = parse(buffer_bytes(&wanted.request.chain));
    }
    fixture_x509_clear(&wanted);
    return svid;
}

/* Whether a verifier that has the newest bundle takes the SVID now. */
static bool is_valid(const struct fixture *fixture, X509 *svid)
{
    X509_STORE *store = X509_STORE_new();
    for (size_t i = 0; i < fixture->bundle->authority_count; i++) {
        _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&fixture->bundle->authorities[i]));
        assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    }
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_CTX_init(context, store, svid, NULL), 1);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context), fixture->now_s);
    bool result = X509_verify_cert(context) == 1;
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return result;
}

/* Which authority of the bundle has signed it; -1 for none. */
static int signer_of(const struct fixture *fixture, X509 *svid)
{
    for (size_t i = 0; i < fixture->bundle->authority_count; i++) {
        _cleanup_(x509_cleanup) X509 *ca = parse(buffer_bytes(&fixture->bundle->authorities[i]));
        if (X509_verify(svid, X509_get0_pubkey(ca)) == 1) {
            return (int)i;
        }
    }
    return -1;
}

/* Which authority of the bundle signs now. */
static int current_signer(struct fixture *fixture, struct entry *entry)
{
    _cleanup_(x509_cleanup) X509 *svid = issue(fixture, entry);
    assert_non_null(svid);
    return signer_of(fixture, svid);
}

static int64_t expiry(const X509 *svid)
{
    struct tm utc;
    assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(svid), &utc), 1);
    return timegm(&utc);
}

static void check_bundle(const struct fixture *fixture, size_t count)
{
    assert_int_equal(fixture->bundle->authority_count, count);
    assert_int_equal(fixture->bundle->jwt_key_count, count);
}

/* Each moment of a succession, and none a second early. */
static void test_moments(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    check_bundle(fixture, 1);
    pass_until(fixture, start_s - BACKDATING_S + LIFE_S / 2 - 1);
    fixture_look(fixture);
    check_bundle(fixture, 1);
    pass(fixture, 1);
    fixture_look(fixture);
    check_bundle(fixture, 2);
    assert_int_equal(current_signer(fixture, entry), 0);
    pass_until(fixture, start_s - BACKDATING_S + LIFE_S * 2 / 3 - 1);
    fixture_look(fixture);
    assert_int_equal(current_signer(fixture, entry), 0);
    pass(fixture, 1);
    fixture_look(fixture);
    assert_int_equal(current_signer(fixture, entry), 1);
    check_bundle(fixture, 2);
    assert_int_equal(soft_count_keys(&fixture->soft), 4);
    /* The old one stays to its end, in the bundle and across a restart. */
    pass_until(fixture, start_s + DAY_S - 1);
    fixture_reopen(fixture);
    fixture_look(fixture);
    _cleanup_(free_cleanup) char *first = memory_copy_text(fixture->bundle->jwt_keys[0].kid);
    assert_int_equal(fixture->bundle->authority_count, 3); /* with the one after the next */
    pass(fixture, 1);
    fixture_look(fixture);
    check_bundle(fixture, 2);
    for (size_t i = 0; i < fixture->bundle->jwt_key_count; i++) {
        assert_string_not_equal(fixture->bundle->jwt_keys[i].kid, first);
    }
    assert_int_equal(soft_count_keys(&fixture->soft), 4);
    assert_int_equal(atomic_load(&fixture->soft.destroyed), 2);
}

/* Three weeks, looked at every half hour: there is always an issuer, the bundle stays small, and
 * whatever was issued is valid until it says it ends. */
static void test_weeks(void **state)
{
    enum { STEP_S = 1800, STEPS = 21 * DAY_S / STEP_S, KEPT = 8 };
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    X509 *svids[KEPT] = {NULL};
    for (size_t i = 0; i < STEPS; i++) {
        pass(fixture, STEP_S);
        fixture_look(fixture);
        assert_true(fixture->bundle->authority_count <= 3);
        assert_true(fixture->bundle->jwt_key_count <= 3);
        X509 **slot = &svids[i % KEPT];
        X509_free(*slot);
        *slot = issue(fixture, entry);
        assert_non_null(*slot);
        assert_int_equal(expiry(*slot), fixture->now_s + 3600);
        for (size_t j = 0; j < KEPT && svids[j]; j++) {
            assert_int_equal(is_valid(fixture, svids[j]), expiry(svids[j]) > fixture->now_s);
        }
    }
    for (size_t i = 0; i < KEPT; i++) {
        X509_free(svids[i]);
    }
    assert_true(soft_count_keys(&fixture->soft) <= 6);
    /* One succession in two thirds of a day. */
    assert_in_range(atomic_load(&fixture->soft.generated), 2 * 30, 2 * 44);
}

/* Nobody looks: what is issued late ends with its authority, and then nothing is issued. */
static void test_clamped(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    pass_until(fixture, start_s + DAY_S - 100);
    _cleanup_(x509_cleanup) X509 *svid = issue(fixture, entry);
    assert_int_equal(expiry(svid), start_s + DAY_S);
    struct fixture_jwt wanted = {0};
    fixture_jwt(fixture, entry, "a", &wanted);
    assert_int_equal(wanted.request.expires_at_s, start_s + DAY_S);
    fixture_jwt_clear(&wanted);
    pass(fixture, 100);
    fixture_jwt(fixture, entry, "a", &wanted);
    assert_true(wanted.is_failed);
    assert_int_equal(wanted.failure.code, ERROR_UNAVAILABLE);
    fixture_jwt_clear(&wanted);
    /* That request has set the succession going. */
    FIXTURE_UNTIL(fixture, !issuer_embedded_is_busy(fixture->issuer));
    fixture_jwt(fixture, entry, "a", &wanted);
    assert_false(wanted.is_failed);
    assert_int_equal(wanted.request.expires_at_s, fixture->now_s + 300);
    fixture_jwt_clear(&wanted);
}

static void test_clock_forward(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    pass(fixture, INT64_C(10) * DAY_S);
    assert_null(issue(fixture, entry));
    fixture_look(fixture);
    _cleanup_(x509_cleanup) X509 *svid = issue(fixture, entry);
    assert_non_null(svid);
    assert_true(is_valid(fixture, svid));
    check_bundle(fixture, 1);
    assert_int_equal(soft_count_keys(&fixture->soft), 2);
}

static void test_clock_back_and_forth(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    for (unsigned i = 0; i < 5; i++) {
        /* A day back: nothing that is not valid yet is issued. */
        fixture->now_s = start_s - DAY_S;
        fixture->monotonic_ms += 600000;
        if (i == 0) {
            assert_null(issue(fixture, entry));
        }
        fixture_look(fixture);
        _cleanup_(x509_cleanup) X509 *early = issue(fixture, entry);
        assert_non_null(early);
        assert_true(is_valid(fixture, early));
        /* And forth: the one from before signs again, no further is made. */
        fixture->now_s = start_s;
        fixture->monotonic_ms += 600000;
        fixture_look(fixture);
        _cleanup_(x509_cleanup) X509 *again = issue(fixture, entry);
        assert_non_null(again);
        assert_true(is_valid(fixture, again));
    }
    assert_true(atomic_load(&fixture->soft.generated) <= 2 * 6);
    assert_true(fixture->bundle->authority_count <= 3);
}

/* A small step back, as NTP makes them, changes nothing. */
static void test_clock_slightly_back(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    fixture->now_s -= BACKDATING_S;
    fixture_look(fixture);
    _cleanup_(x509_cleanup) X509 *svid = issue(fixture, entry);
    assert_true(is_valid(fixture, svid));
    assert_int_equal(atomic_load(&fixture->soft.generated), 2);
}

static void test_lost_key(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    _cleanup_(x509_cleanup) X509 *before = issue(fixture, entry);
    atomic_store(&fixture->soft.loses_keys, true);
    pass(fixture, 60);
    assert_null(issue(fixture, entry));
    atomic_store(&fixture->soft.loses_keys, false);
    FIXTURE_UNTIL(fixture, !issuer_embedded_is_busy(fixture->issuer));
    pass(fixture, 60);
    fixture_look(fixture);
    _cleanup_(x509_cleanup) X509 *after = issue(fixture, entry);
    assert_non_null(after);
    assert_true(is_valid(fixture, after));
    /* What the lost one signed is as good as before. */
    assert_true(is_valid(fixture, before));
    assert_int_not_equal(signer_of(fixture, before), signer_of(fixture, after));
    pass(fixture, DAY_S);
    fixture_look(fixture);
    assert_int_equal(signer_of(fixture, before), -1);
}

/* Hardware that loses each key at its first use is not asked for keys without end. */
static void test_lost_keys_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    atomic_store(&fixture->soft.loses_keys, true);
    for (unsigned i = 0; i < 600; i++) {
        pass(fixture, 1);
        assert_null(issue(fixture, entry));
        fixture_look(fixture);
    }
    assert_in_range(atomic_load(&fixture->soft.generated), 4, 40);
    assert_true(fixture->bundle->authority_count <= 17);
}

/* Hardware that forgets now and then does not let the bundle grow without end. */
static void test_bundle_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    for (unsigned i = 0; i < 2 * SCHEDULE_PUBLISHED_MAX; i++) {
        atomic_store(&fixture->soft.loses_keys, true);
        assert_null(issue(fixture, entry));
        atomic_store(&fixture->soft.loses_keys, false);
        pass(fixture, 900);
        fixture_look(fixture);
        assert_true(fixture->bundle->authority_count <= SCHEDULE_PUBLISHED_MAX);
        _cleanup_(x509_cleanup) X509 *svid = issue(fixture, entry);
        assert_non_null(svid);
        assert_true(is_valid(fixture, svid));
    }
    assert_int_equal(fixture->bundle->authority_count, SCHEDULE_PUBLISHED_MAX);
}

/* A key that came under an authority's ID from elsewhere never signs for it. */
static void test_exchanged_key(void **state)
{
    struct fixture *fixture = *state;
    (void)begin(fixture);
    fixture_close(fixture);
    DIR *folder = opendir(fixture->keys_dir);
    for (struct dirent *item; (item = readdir(folder)) != NULL;) {
        if (strlen(item->d_name) == 32) {
            struct error failure;
            _cleanup_(free_cleanup) char *path = file_join(fixture->keys_dir, item->d_name);
            EVP_PKEY *key = EVP_EC_gen("P-256");
            uint8_t *der = NULL;
            int size = i2d_PrivateKey(key, &der);
            const struct bytes contents = {der, (size_t)size};
            assert_int_equal(file_write_atomic(path, contents, 0600, &failure), 0);
            OPENSSL_free(der);
            EVP_PKEY_free(key);
        }
    }
    (void)closedir(folder);
    fixture_open(fixture);
    check_bundle(fixture, 2);
    _cleanup_(x509_cleanup) X509 *svid = issue(fixture, fixture_find(fixture, spiffe_id));
    assert_int_equal(signer_of(fixture, svid), 1);
}

/* As after data_dir was copied to another host, or the hardware was replaced. */
static void test_other_hardware(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    _cleanup_(x509_cleanup) X509 *before = issue(fixture, entry);
    uint64_t sequence = fixture->bundle->sequence;
    fixture_close(fixture);
    (void)nftw(fixture->keys_dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(fixture->keys_dir, 0700), 0);
    pass(fixture, 60);
    fixture_open(fixture);
    check_bundle(fixture, 2);
    assert_true(fixture->bundle->sequence > sequence);
    entry = fixture_find(fixture, spiffe_id);
    _cleanup_(x509_cleanup) X509 *after = issue(fixture, entry);
    assert_true(is_valid(fixture, after));
    assert_true(is_valid(fixture, before));
    assert_int_not_equal(signer_of(fixture, before), signer_of(fixture, after));
    /* From there on it goes its way. */
    pass(fixture, DAY_S);
    fixture_look(fixture);
    check_bundle(fixture, 1);
    assert_int_equal(soft_count_keys(&fixture->soft), 2);
}

/* A restart in each state of a succession keeps signer, bundle and sequence. */
static void test_restarts(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    for (unsigned i = 0; i < 24; i++) {
        pass(fixture, DAY_S / 12);
        fixture_look(fixture);
        int signer = current_signer(fixture, entry);
        uint64_t sequence = fixture->bundle->sequence;
        _cleanup_(free_cleanup) char *jwks = memory_copy_text(fixture->bundle->jwks);
        unsigned generated = atomic_load(&fixture->soft.generated);
        fixture_reopen(fixture);
        fixture_look(fixture);
        entry = fixture_find(fixture, spiffe_id);
        assert_int_equal(current_signer(fixture, entry), signer);
        assert_int_equal(fixture->bundle->sequence, sequence);
        assert_string_equal(fixture->bundle->jwks, jwks);
        assert_int_equal(atomic_load(&fixture->soft.generated), generated);
    }
}

/* A key that cannot be made is tried again after a while, longer each time; nothing is left of the
 * tries, and the issuer works on. */
static void test_failing_hardware(void **state)
{
    struct fixture *fixture = *state;
    struct entry *entry = begin(fixture);
    pass(fixture, DAY_S / 2);
    atomic_store(&fixture->soft.fails_to_make, true);
    unsigned before = atomic_load(&fixture->soft.generated);
    fixture_look(fixture);
    assert_int_equal(atomic_load(&fixture->soft.generated), before + 2);
    /* No time passes, no further try. */
    for (unsigned i = 0; i < 10; i++) {
        fixture_look(fixture);
    }
    assert_int_equal(atomic_load(&fixture->soft.generated), before + 2);
    assert_int_equal(current_signer(fixture, entry), 0);
    for (unsigned i = 0; i < 300; i++) {
        pass(fixture, 1);
        fixture_look(fixture);
    }
    unsigned tries = atomic_load(&fixture->soft.generated) - before;
    assert_in_range(tries, 6, 24);
    assert_int_equal(soft_count_keys(&fixture->soft), 2);
    atomic_store(&fixture->soft.fails_to_make, false);
    pass(fixture, 120);
    fixture_look(fixture);
    check_bundle(fixture, 2);
}

/* Keys that cannot be destroyed are bounded in number too, and go when they can. */
static void test_stubborn_keys(void **state)
{
    struct fixture *fixture = *state;
    (void)begin(fixture);
    pass(fixture, DAY_S / 2);
    atomic_store(&fixture->soft.fails_to_make, true);
    atomic_store(&fixture->soft.fails_to_destroy, true);
    for (unsigned i = 0; i < 200; i++) {
        pass(fixture, 60);
        fixture_look(fixture);
    }
    assert_int_equal(soft_count_keys(&fixture->soft), 2 + 2 * 8);
    atomic_store(&fixture->soft.fails_to_make, false);
    atomic_store(&fixture->soft.fails_to_destroy, false);
    for (unsigned i = 0; i < 40; i++) {
        pass(fixture, 60);
        fixture_look(fixture);
    }
    assert_int_equal(soft_count_keys(&fixture->soft), 4);
    check_bundle(fixture, 2);
}

/* A life of seconds, on the real clock and timers, as labs and demonstrations use it. */
static void test_short_life(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.ca_ttl_s = 3;
    fixture->config.x509_svid_ttl_s = fixture->config.jwt_svid_ttl_s = 1;
    fixture_open(fixture);
    FIXTURE_UNTIL(fixture, atomic_load(&fixture->soft.destroyed) >= 2);
    assert_false(fixture_add(fixture, fixture_entry(spiffe_id, "unix:uid:1")).is_failed);
    _cleanup_(x509_cleanup) X509 *svid = NULL;
    /* Where the machine stalls the authority may have ended, and the next one is on its way. */
    uint64_t end_ms = clock_monotonic_ms() + FIXTURE_WAIT_MS;
    while (!svid && clock_monotonic_ms() < end_ms) {
        svid = issue(fixture, fixture_find(fixture, spiffe_id));
        FIXTURE_UNTIL(fixture, !issuer_embedded_is_busy(fixture->issuer));
    }
    assert_non_null(svid);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moments, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_weeks, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_clamped, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_clock_forward, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_clock_back_and_forth, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_clock_slightly_back, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_lost_key, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_lost_keys_bounded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bundle_bounded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_exchanged_key, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_other_hardware, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_restarts, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_failing_hardware, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stubborn_keys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_short_life, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
