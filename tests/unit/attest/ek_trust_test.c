/* Who is believed: templates, hashes, and what was found good before. */
#include "tests/unit/attest/ek_world.h"

#include <pthread.h>
#include <time.h>

/* Whatever the certificate says: only an EK that is just as the template. */
static void template_is_needed(void **state)
{
    X509 *certificate = good_certificate();
    static const TPMA_OBJECT changed[] = {
        TPMA_OBJECT_FIXEDTPM,   TPMA_OBJECT_FIXEDPARENT, TPMA_OBJECT_SENSITIVEDATAORIGIN,
        TPMA_OBJECT_RESTRICTED, TPMA_OBJECT_DECRYPT,     TPMA_OBJECT_SIGN_ENCRYPT,
        TPMA_OBJECT_NODA,       TPMA_OBJECT_USERWITHAUTH};
    (void)state;
    TPMT_PUBLIC ek = world.ek;
    const struct attempt attempt = {.ek = &ek,
                                    .certificate = certificate,
                                    .chain = {world.issuer},
                                    .chain_count = 1,
                                    .now_s = EK_MAKER_NOW_S};
    for (size_t i = 0; i < ARRAY_SIZE(changed); i++) {
        ek = world.ek;
        ek.objectAttributes ^= changed[i];
        assert_judged(world.trust, &attempt, "attributes", ERROR_PERMISSION_DENIED, "template");
    }
    ek = world.ek;
    ek.authPolicy.buffer[31] ^= 1;
    assert_judged(world.trust, &attempt, "policy", ERROR_PERMISSION_DENIED, "template");
    ek = world.ek;
    ek.authPolicy.size = 0;
    assert_judged(world.trust, &attempt, "no policy", ERROR_PERMISSION_DENIED, "template");
    ek = world.ek;
    ek.nameAlg = TPM2_ALG_SHA384;
    assert_judged(world.trust, &attempt, "nameAlg", ERROR_PERMISSION_DENIED, "template");
    ek = world.ek;
    ek.parameters.eccDetail.symmetric.keyBits.aes = 256;
    assert_judged(world.trust, &attempt, "cipher", ERROR_PERMISSION_DENIED, "template");
    ek = world.ek;
    ek.unique.ecc.y.buffer[0] ^= 1;
    assert_judged(world.trust, &attempt, "not on the curve", ERROR_INVALID_ARGUMENT, "valid key");
    X509_free(certificate);
}

static char *fingerprint(const TPMT_PUBLIC *ek)
{
    struct error err;
    uint8_t digest[HASH_MAX_BYTES];
    _cleanup_(buffer_clear) struct buffer spki = {0};
    assert_done(public_spki(ek, &spki, &err), err);
    const struct bytes part = buffer_bytes(&spki);
    assert_done(hash_compute(hash_by_name("sha256"), &part, 1, digest, &err), err);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){digest, 32});
    return text_format("sha256:%s", hex);
}

static void hashes_are_believed(void **state)
{
    struct error err;
    const char *how = NULL;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    _cleanup_(free_cleanup) char *text = fingerprint(&world.ek);
    const struct bytes junk = bytes_of_text("junk");
    (void)state;
    assert_int_equal(ek_trust_count(trust), 0);
    assert_done(ek_trust_add_hash(trust, text, &err), err);
    assert_done(ek_trust_add_hash(trust, text, &err), err);
    assert_int_equal(ek_trust_count(trust), 1);
    assert_done(
        ek_trust_judge(trust, &world.ek, (struct bytes){0}, NULL, 0, EK_MAKER_NOW_S, &how, &err),
        err);
    assert_string_equal(how, "hash");
    assert_done(ek_trust_judge(trust, &world.ek, junk, NULL, 0, EK_MAKER_NOW_S, &how, &err), err);
    assert_string_equal(how, "hash");
    assert_int_equal(
        ek_trust_judge(trust, &world.other, (struct bytes){0}, NULL, 0, EK_MAKER_NOW_S, &how, &err),
        -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_int_equal(ek_trust_judge(trust, &world.other, junk, NULL, 0, EK_MAKER_NOW_S, &how, &err),
                     -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "no manufacturer's CA"));
    TPMT_PUBLIC weak = world.ek;
    weak.objectAttributes &= ~TPMA_OBJECT_RESTRICTED;
    assert_int_equal(
        ek_trust_judge(trust, &weak, (struct bytes){0}, NULL, 0, EK_MAKER_NOW_S, &how, &err), -1);
}

/* A certificate that leads nowhere does no harm to a key that is listed. */
static void hash_helps_a_certificate(void **state)
{
    struct error err;
    const char *how = NULL;
    struct ek_trust *trust = trust_of(world.strange_root);
    _cleanup_(free_cleanup) char *text = fingerprint(&world.ek);
    struct attempt attempt = {
        .ek = &world.ek, .certificate = good_certificate(), .now_s = EK_MAKER_NOW_S};
    (void)state;
    assert_judged(trust, &attempt, "stranger", ERROR_PERMISSION_DENIED, "does not lead");
    assert_done(ek_trust_add_hash(trust, text, &err), err);
    assert_int_equal(ek_trust_count(trust), 2);
    assert_done(judge(trust, &attempt, &how, &err), err);
    assert_string_equal(how, "hash");
    X509_free(attempt.certificate);
    ek_trust_free(trust);
}

static void hash_forms(void **state)
{
    static const char *const wrong[] = {
        "",
        "sha256:",
        "sha256:00",
        "00000000000000000000000000000000000000000000000000000000000000",
        "sha1:0000000000000000000000000000000000000000000000000000000000000000",
        "sha256:000000000000000000000000000000000000000000000000000000000000000",
        "sha256:000000000000000000000000000000000000000000000000000000000000000g",
        "sha256:00000000000000000000000000000000000000000000000000000000000000000000",
        "sha256:00:00000000000000000000000000000000000000000000000000000000000000",
    };
    struct error err;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = ek_trust_new();
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(ek_trust_add_hash(trust, wrong[i], &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    assert_int_equal(ek_trust_count(trust), 0);
}

/* What was found good is good for the time of the certificates alone. */
static void memory_knows_the_time(void **state)
{
    struct attempt attempt = {.ek = &world.ek,
                              .certificate = good_certificate(),
                              .chain = {world.issuer},
                              .chain_count = 1,
                              .now_s = EK_MAKER_NOW_S};
    (void)state;
    assert_judged(world.trust, &attempt, "now", ERROR_OK, "");
    attempt.now_s = EK_MAKER_NOW_S + EK_MAKER_YEAR_S + 1;
    assert_judged(world.trust, &attempt, "later", ERROR_PERMISSION_DENIED, "expired");
    attempt.now_s = EK_MAKER_NOW_S - EK_MAKER_YEAR_S - 1;
    assert_judged(world.trust, &attempt, "before", ERROR_PERMISSION_DENIED, "not yet valid");
    attempt.now_s = EK_MAKER_NOW_S;
    attempt.chain_count = 0;
    assert_judged(world.trust, &attempt, "another chain", ERROR_PERMISSION_DENIED, "unable");
    X509_free(attempt.certificate);
}

enum { TIMED_ROUNDS = 200 };

/* Of this thread, whatever else the machine does. */
static uint64_t cpu_us(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t judge_often(const struct attempt *attempt, bool is_fresh)
{
    const uint64_t start_us = cpu_us();
    for (int i = 0; i < TIMED_ROUNDS; i++) {
        struct attempt again = *attempt;
        /* Padding makes it another one. */
        if (is_fresh) {
            buffer_append_u8(&again.padding, (uint8_t)i);
            buffer_append_u8(&again.padding, (uint8_t)(i >> 8));
        }
        assert_judged(world.trust, &again, "again", ERROR_OK, "");
        if (is_fresh) {
            buffer_clear(&again.padding);
        }
    }
    return cpu_us() - start_us;
}

static void second_time_is_cheap(void **state)
{
    const struct attempt attempt = {.ek = &world.ek,
                                    .certificate = good_certificate(),
                                    .chain = {world.issuer},
                                    .chain_count = 1,
                                    .now_s = EK_MAKER_NOW_S};
    (void)state;
    const uint64_t fresh_us = judge_often(&attempt, true);
    const uint64_t known_us = judge_often(&attempt, false);
    print_message("%d judgements: %llu us, known before: %llu us\n", TIMED_ROUNDS,
                  (unsigned long long)fresh_us, (unsigned long long)known_us);
    assert_true(known_us * 4 <= fresh_us);
    X509_free(attempt.certificate);
}

static void *judge_beside(void *user)
{
    struct attempt attempt = *(const struct attempt *)user;
    for (int i = 0; i < 100; i++) {
        struct error err;
        const char *how = NULL;
        buffer_append_u8(&attempt.padding, (uint8_t)i);
        if (judge(world.trust, &attempt, &how, &err) < 0) {
            break;
        }
    }
    const bool is_done = attempt.padding.size == 100;
    buffer_clear(&attempt.padding);
    return is_done ? user : NULL;
}

static void several_threads_judge(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct attempt attempt = {.ek = &world.ek,
                              .certificate = good_certificate(),
                              .chain = {world.issuer},
                              .chain_count = 1,
                              .now_s = EK_MAKER_NOW_S};
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, judge_beside, &attempt), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &attempt);
    }
    X509_free(attempt.certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(template_is_needed),       cmocka_unit_test(hashes_are_believed),
        cmocka_unit_test(hash_helps_a_certificate), cmocka_unit_test(hash_forms),
        cmocka_unit_test(memory_knows_the_time),    cmocka_unit_test(second_time_is_cheap),
        cmocka_unit_test(several_threads_judge),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
