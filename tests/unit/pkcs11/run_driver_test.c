/* Functions of rooms above that run with the driver's own state. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <poll.h>

#include "tests/unit/pkcs11/fake_driver.h"

static struct keystore *start(struct fake *fake)
{
    struct keystore *keystore = NULL;
    const struct keystore_config config = {
        .name = "fake", .driver = &fake_driver, .driver_config = fake};
    fake_init(fake);
    assert_int_equal(keystore_new(&config, &keystore, NULL), 0);
    return keystore;
}

static void stop(struct fake *fake, struct keystore *keystore)
{
    keystore_free(keystore);
    assert_int_equal(fake->closed, 1);
    fake_destroy(fake);
}

/* What a function is to answer, and what it saw. */
struct visit {
    struct keystore *keystore;
    struct fake *fake;
    enum error_code answer;
    unsigned runs;
    struct key *key;
    char mark; /* 0: no command of the hardware */
};

static int run(void *state, void *argument, struct error *err)
{
    struct visit *visit = argument;
    assert_ptr_equal(state, visit->fake);
    fake_check_thread(state);
    visit->runs++;
    if (visit->mark) {
        TRY(fake_command(state, (uint8_t)visit->mark, err));
    }
    return visit->answer == ERROR_OK ? 0 : error_set(err, visit->answer, "as it was told");
}

static int visit_driver(struct visit *visit, struct error *ret_err)
{
    return keystore_run_driver(visit->keystore, &fake_driver, KEYSTORE_PRIORITY_BACKGROUND, run,
                               visit, ret_err);
}

/* Only hardware that does not answer is a failure of the hardware. */
static void answers_are_passed_on(void **state)
{
    static const enum error_code answers[] = {ERROR_OK, ERROR_NOT_FOUND, ERROR_PERMISSION_DENIED,
                                              ERROR_INTERNAL, ERROR_FAILED_PRECONDITION};
    struct fake fake;
    struct keystore *keystore = start(&fake);
    struct keystore_status status;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct error err = {0};
        struct visit visit = {.keystore = keystore, .fake = &fake, .answer = answers[i]};
        assert_int_equal(visit_driver(&visit, &err), answers[i] == ERROR_OK ? 0 : -1);
        assert_int_equal(err.code, answers[i]);
        assert_int_equal(visit.runs, 1);
        assert_int_equal(visit_driver(&visit, NULL), answers[i] == ERROR_OK ? 0 : -1);
    }
    keystore_status(keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_READY);
    assert_int_equal(status.failures, 0);
    stop(&fake, keystore);
}

static void hardware_that_does_not_answer_is_lost(void **state)
{
    struct fake fake;
    struct error err = {0};
    struct keystore *keystore = start(&fake);
    struct visit visit = {.keystore = keystore, .fake = &fake, .mark = 'x'};
    struct keystore_status status;
    (void)state;
    FAKE_SET(&fake, is_lost = true);
    assert_int_equal(visit_driver(&visit, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "the cable is out"));
    keystore_status(keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_LOST);
    assert_int_equal(status.failures, 1);
    /* Nothing runs before the hardware is back. */
    assert_int_equal(visit_driver(&visit, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(visit.runs, 1);
    FAKE_SET(&fake, is_lost = false);
    for (int i = 0; status.state == KEYSTORE_STATE_LOST && i < FAKE_WAIT_S * 1000; i++) {
        (void)poll(NULL, 0, 1);
        keystore_status(keystore, &status);
    }
    assert_int_equal(visit_driver(&visit, &err), 0);
    assert_int_equal(visit.runs, 2);
    stop(&fake, keystore);
}

static void another_driver_is_refused(void **state)
{
    static const struct keystore_driver other = {.name = "other"};
    struct fake fake;
    struct error err = {0};
    struct keystore *keystore = start(&fake);
    struct visit visit = {.keystore = keystore, .fake = &fake};
    (void)state;
    assert_int_equal(
        keystore_run_driver(keystore, &other, KEYSTORE_PRIORITY_USE, run, &visit, &err), -1);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "'other'"));
    assert_int_equal(visit.runs, 0);
    stop(&fake, keystore);
}

static int run_adopt(void *state, void *argument, struct error *err)
{
    struct visit *visit = argument;
    struct driver_key *driver_key = NULL;
    TRY(fake_driver.key_generate(state, KEY_TYPE_EC_P384, NULL, &driver_key, err));
    visit->key = keystore_adopt(visit->keystore, driver_key);
    assert_ptr_equal(key_driver_key(visit->key), driver_key);
    return 0;
}

static void a_key_that_was_made_there_is_as_others(void **state)
{
    struct fake fake;
    struct error err = {0};
    uint8_t digest[32] = {'s'};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {
        .scheme = SIGN_SCHEME_ECDSA, .digest = SIGN_DIGEST_SHA256, .value = {digest, 32}};
    struct keystore *keystore = start(&fake);
    struct visit visit = {.keystore = keystore, .fake = &fake};
    (void)state;
    assert_int_equal(keystore_run_driver(keystore, &fake_driver, KEYSTORE_PRIORITY_ISSUE, run_adopt,
                                         &visit, &err),
                     0);
    assert_int_equal(key_type(visit.key), KEY_TYPE_EC_P384);
    assert_int_equal(
        key_sign(visit.key, &request, KEYSTORE_PRIORITY_USE, 1, signature, &size, &err), 0);
    key_unref(visit.key);
    stop(&fake, keystore);
    assert_memory_equal(fake.history, "GsC", 3);
}

/* A job may call it without a wait. */
struct job {
    struct keystore_job job;
    struct visit visit;
    atomic_bool is_done;
};

static void run_job(struct keystore_job *argument)
{
    struct job *job = container_of(argument, struct job, job);
    assert_int_equal(visit_driver(&job->visit, NULL), 0);
    atomic_store(&job->is_done, true);
    FAKE_SET(job->visit.fake, changes++);
}

static void a_worker_does_it_at_once(void **state)
{
    struct fake fake;
    struct keystore *keystore = start(&fake);
    struct job job = {.job = {.run = run_job, .priority = KEYSTORE_PRIORITY_BACKGROUND},
                      .visit = {.keystore = keystore, .fake = &fake}};
    (void)state;
    assert_int_equal(keystore_submit(keystore, &job.job, NULL), 0);
    FAKE_UNTIL(&fake, atomic_load(&job.is_done));
    assert_int_equal(job.visit.runs, 1);
    stop(&fake, keystore);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_passed_on),
        cmocka_unit_test(hardware_that_does_not_answer_is_lost),
        cmocka_unit_test(another_driver_is_refused),
        cmocka_unit_test(a_key_that_was_made_there_is_as_others),
        cmocka_unit_test(a_worker_does_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
