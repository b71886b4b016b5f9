#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <poll.h>

#include "pkcs11/queue.h"
#include "tests/unit/pkcs11/fake_driver.h"

struct fixture {
    struct fake fake;
    struct keystore *keystore;
    struct key *key;
};

/* queue_limit 0: the default. */
static struct keystore *start_with(struct fake *fake, size_t queue_limit, size_t flow_limit)
{
    struct keystore *keystore = NULL;
    const struct keystore_config config = {.name = "fake",
                                           .driver = &fake_driver,
                                           .driver_config = fake,
                                           .queue_limit = queue_limit,
                                           .flow_limit = flow_limit};
    assert_int_equal(keystore_new(&config, &keystore, NULL), 0);
    return keystore;
}

static struct keystore *start(struct fake *fake)
{
    return start_with(fake, 32, 4);
}

static void set_up_with(struct fixture *fixture, unsigned workers)
{
    fake_init(&fixture->fake);
    fixture->fake.workers = workers;
    fixture->keystore = start(&fixture->fake);
    assert_int_equal(keystore_key_generate(fixture->keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &fixture->key, NULL),
                     0);
    FAKE_SET(&fixture->fake, history_size = 0);
}

static void tear_down(struct fixture *fixture)
{
    if (fixture->key) {
        key_unref(fixture->key);
    }
    keystore_free(fixture->keystore);
    assert_int_equal(fixture->fake.closed, 1);
    fake_destroy(&fixture->fake);
}

static int sign(struct key *key, char mark, enum keystore_priority priority, uint64_t flow,
                struct error *err)
{
    uint8_t digest[32] = {(uint8_t)mark};
    uint8_t signature[SIGNATURE_MAX_BYTES];
    size_t size = 0;
    const struct sign_request request = {.scheme = SIGN_SCHEME_ECDSA,
                                         .digest = SIGN_DIGEST_SHA256,
                                         .value = {digest, sizeof(digest)}};
    TRY(key_sign(key, &request, priority, flow, signature, &size, err));
    assert_int_equal(size, sizeof(digest));
    assert_memory_equal(signature, digest, size);
    return 0;
}

/* A job that signs once for each character of marks, and counts itself as done, with the fake's
 * lock. It may be gone from then on. */
struct sign_job {
    struct keystore_job job;
    struct fixture *fixture;
    const char *marks;
    int *done;
};

static void run_sign_job(struct keystore_job *job)
{
    struct sign_job *sign_job = container_of(job, struct sign_job, job);
    for (const char *mark = sign_job->marks; *mark; mark++) {
        if (sign(sign_job->fixture->key, *mark, KEYSTORE_PRIORITY_BACKGROUND, 0, NULL) < 0) {
            abort();
        }
    }
    struct fake *fake = &sign_job->fixture->fake;
    (void)pthread_mutex_lock(&fake->lock);
    ++*sign_job->done;
    (void)pthread_cond_broadcast(&fake->change);
    (void)pthread_mutex_unlock(&fake->lock);
}

enum { JOBS_MAX = 2 + 2 * QUEUE_BACKGROUND_PATIENCE };

struct plan {
    const char *marks;
    enum keystore_priority priority;
    uint64_t flow;
};

/* Submits the jobs while the first command is held, lets all run, and gives the order of commands.
 */
static void run_plan(struct fixture *fixture, const struct plan *plan, size_t count,
                     char *ret_order)
{
    struct sign_job jobs[JOBS_MAX];
    int done = 0;
    FAKE_SET(&fixture->fake, is_stopped = true);
    for (size_t i = 0; i < count; i++) {
        jobs[i] = (struct sign_job){
            .job = {.run = run_sign_job, .priority = plan[i].priority, .flow = plan[i].flow},
            .fixture = fixture,
            .marks = plan[i].marks,
            .done = &done};
        assert_int_equal(keystore_submit(fixture->keystore, &jobs[i].job, NULL), 0);
        if (i == 0) {
            FAKE_UNTIL(&fixture->fake, fixture->fake.inside == 1);
        }
    }
    struct keystore_status status;
    keystore_status(fixture->keystore, &status);
    assert_int_equal(status.waiting, count - 1);
    FAKE_SET(&fixture->fake, is_stopped = false);
    FAKE_UNTIL(&fixture->fake, done == (int)count);
    memcpy(ret_order, fixture->fake.history, fixture->fake.history_size);
    ret_order[fixture->fake.history_size] = '\0';
}

#define USE KEYSTORE_PRIORITY_USE
#define ISSUE KEYSTORE_PRIORITY_ISSUE
#define BACKGROUND KEYSTORE_PRIORITY_BACKGROUND

static const struct {
    const char *what;
    struct plan plan[12];
    size_t count;
    const char *expected;
} plans[] = {
    {"urgent first",
     {{"0", USE, 1}, {"c", BACKGROUND, 1}, {"b", ISSUE, 1}, {"a", USE, 1}},
     4,
     "0abc"},
    {"callers take turns",
     {{"0", USE, 9}, {"a", USE, 1}, {"b", USE, 1}, {"c", USE, 1}, {"x", USE, 2}},
     5,
     "0axbc"},
    {"a signature waits for one command of a long job only",
     {{"123", BACKGROUND, 0}, {"a", USE, 1}, {"b", USE, 2}},
     3,
     "1ab23"},
    {"issuing does not get into a long job", {{"123", BACKGROUND, 0}, {"a", ISSUE, 0}}, 2, "123a"},
    {"nothing gets into a signature", {{"12", USE, 1}, {"a", USE, 2}}, 2, "12a"},
};

static void test_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
        struct fixture fixture;
        char order[FAKE_HISTORY + 1];
        set_up_with(&fixture, 1);
        run_plan(&fixture, plans[i].plan, plans[i].count, order);
        assert_string_equal(order, plans[i].expected);
        assert_int_equal(fixture.fake.most_inside, 1);
        tear_down(&fixture);
    }
}

/* However many signatures wait. */
static void test_background_work_has_its_turn(void **state)
{
    (void)state;
    struct fixture fixture;
    struct plan plan[JOBS_MAX] = {{"0", USE, 1}, {"b", BACKGROUND, 0}};
    char order[FAKE_HISTORY + 1];
    for (size_t i = 2; i < JOBS_MAX; i++) {
        plan[i] = (struct plan){"s", USE, i % 4 + 1};
    }
    fake_init(&fixture.fake);
    fixture.keystore = start_with(&fixture.fake, 0, 0);
    assert_int_equal(keystore_key_generate(fixture.keystore, KEY_TYPE_EC_P256, NULL,
                                           KEYSTORE_PRIORITY_ISSUE, &fixture.key, NULL),
                     0);
    FAKE_SET(&fixture.fake, history_size = 0);
    run_plan(&fixture, plan, JOBS_MAX, order);
    /* And once more before its one command. */
    assert_int_equal(strchr(order, 'b') - order,
                     1 + QUEUE_BACKGROUND_PATIENCE + QUEUE_ISSUE_PATIENCE);
    tear_down(&fixture);
}

static void test_opening_fails(void **state)
{
    (void)state;
    struct fake fake;
    struct keystore *keystore = NULL;
    struct error err = {0};
    const struct keystore_config config = {
        .name = "hsm", .driver = &fake_driver, .driver_config = &fake};
    fake_init(&fake);
    fake.refuses_to_open = true;
    assert_int_equal(keystore_new(&config, &keystore, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_string_equal(err.text, "opening keystore hsm: there is no such token");
    assert_int_equal(fake.closed, 0);
    fake_destroy(&fake);
}

static void test_status_and_key(void **state)
{
    (void)state;
    struct fixture fixture;
    struct keystore_status status;
    set_up_with(&fixture, 1);
    struct key *key = fixture.key;
    assert_string_equal(keystore_name(fixture.keystore), "fake");
    assert_int_equal(keystore_protection(fixture.keystore), KEY_PROTECTION_HARDWARE);
    assert_int_equal(sign(key, 'a', USE, 1, NULL), 0);
    assert_int_equal(keystore_probe(fixture.keystore, NULL), 0);
    keystore_status(fixture.keystore, &status);
    assert_int_equal(status.state, KEYSTORE_STATE_READY);
    assert_string_equal(status.reason, "");
    assert_int_equal(status.signatures, 1);
    assert_int_equal(status.generations, 1);
    assert_int_equal(status.failures, 0);
    assert_int_equal(status.waiting, 0);
    assert_int_equal(key_uses(key), 1);
    assert_int_equal(key_type(key), KEY_TYPE_EC_P256);
    assert_ptr_equal(key_keystore(key), fixture.keystore);
    assert_true(key_is_alive(key));
    assert_true(bytes_is_equal(key_public_der(key), bytes_of_text("not a real key")));
    tear_down(&fixture);
}

static void test_wrong_requests(void **state)
{
    (void)state;
    static const struct {
        enum sign_scheme scheme;
        enum sign_digest digest;
        size_t size;
    } wrong[] = {
        {SIGN_SCHEME_RSA_PSS, SIGN_DIGEST_SHA256, 32},
        {SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA256, 20},
        {SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA384, 32},
        {SIGN_SCHEME_ECDSA, SIGN_DIGEST_SHA512, 0},
        {SIGN_SCHEME_RSA_PKCS1, SIGN_DIGEST_SHA512, 64},
    };
    struct fixture fixture;
    set_up_with(&fixture, 1);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        uint8_t digest[64] = {0};
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t size = 0;
        struct error err = {0};
        const struct sign_request request = {
            wrong[i].scheme, wrong[i].digest, {digest, wrong[i].size}};
        assert_int_equal(key_sign(fixture.key, &request, USE, 1, signature, &size, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    assert_int_equal(fixture.fake.history_size, 0);
    tear_down(&fixture);
}

static void test_lasting_key(void **state)
{
    (void)state;
    struct fixture fixture;
    struct key *key = NULL;
    const uint8_t id[16] = "0123456789abcde";
    _cleanup_(buffer_clear) struct buffer reference = {0};
    struct error err = {0};
    set_up_with(&fixture, 1);
    assert_int_equal(
        keystore_key_generate(fixture.keystore, KEY_TYPE_RSA_2048, id, BACKGROUND, &key, NULL), 0);
    key_reference(key, &reference);
    assert_int_equal(reference.size, 16);
    key_unref(take_ptr(key));
    assert_int_equal(keystore_key_open(fixture.keystore, KEY_TYPE_RSA_2048, id,
                                       buffer_bytes(&reference), &key, NULL),
                     0);
    key_unref(take_ptr(key));
    assert_int_equal(keystore_key_open(fixture.keystore, KEY_TYPE_RSA_2048, id,
                                       (struct bytes){NULL, 0}, &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(keystore_destroy_id(fixture.keystore, id, NULL), 0);
    tear_down(&fixture);
}

static void test_the_last_reference_closes(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 1);
    struct key *second = key_ref(fixture.key);
    key_unref(take_ptr(fixture.key));
    assert_int_equal(sign(second, 'a', USE, 1, NULL), 0);
    key_unref(second);
    FAKE_UNTIL(&fixture.fake, fixture.fake.history_size == 2 && fixture.fake.history[1] == 'C');
    tear_down(&fixture);
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture fixture;
    struct sign_job jobs[6];
    int done = 0;
    struct error err = {0};
    set_up_with(&fixture, 1);
    FAKE_SET(&fixture.fake, is_stopped = true);
    for (size_t i = 0; i < 6; i++) {
        jobs[i] = (struct sign_job){.job = {.run = run_sign_job, .flow = i ? 7 : 0},
                                    .fixture = &fixture,
                                    .marks = "a",
                                    .done = &done};
        assert_int_equal(keystore_submit(fixture.keystore, &jobs[i].job, &err), i == 5 ? -1 : 0);
        if (i == 0) {
            FAKE_UNTIL(&fixture.fake, fixture.fake.inside == 1);
        }
    }
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    assert_int_equal(sign(fixture.key, 'x', USE, 7, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    FAKE_SET(&fixture.fake, is_stopped = false);
    FAKE_UNTIL(&fixture.fake, done == 5);
    assert_int_equal(sign(fixture.key, 'x', USE, 7, NULL), 0);
    tear_down(&fixture);
}

struct message_job {
    struct keystore_job job;
    bool has_run, is_delivered;
};

static void run_message_job(struct keystore_job *job)
{
    container_of(job, struct message_job, job)->has_run = true;
}

static void deliver(struct mailbox_message *message)
{
    container_of(message, struct message_job, job.message)->is_delivered = true;
}

static void test_mailbox(void **state)
{
    (void)state;
    struct fixture fixture;
    struct mailbox *mailbox = NULL;
    struct message_job job = {
        .job = {.run = run_message_job, .message.deliver = deliver, .priority = ISSUE}};
    set_up_with(&fixture, 1);
    assert_int_equal(mailbox_new(&mailbox, NULL), 0);
    job.job.mailbox = mailbox;
    assert_int_equal(keystore_submit(fixture.keystore, &job.job, NULL), 0);
    struct pollfd readable = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
    assert_int_equal(poll(&readable, 1, FAKE_WAIT_S * 1000), 1);
    mailbox_deliver(mailbox);
    assert_true(job.has_run);
    assert_true(job.is_delivered);
    tear_down(&fixture);
    mailbox_free(mailbox);
}

struct closing {
    struct fixture *fixture;
    pthread_t free_thread, generate_thread;
    struct message_job waiting[4];
    int generate_result;
    struct error generate_err;
};

static void *free_keystore(void *argument)
{
    struct closing *closing = argument;
    keystore_free(closing->fixture->keystore);
    return NULL;
}

static void *generate_in_vain(void *argument)
{
    struct closing *closing = argument;
    struct key *key = NULL;
    closing->generate_result = keystore_key_generate(closing->fixture->keystore, KEY_TYPE_EC_P256,
                                                     NULL, ISSUE, &key, &closing->generate_err);
    return NULL;
}

static void wait_until_waiting(struct keystore *keystore, size_t count)
{
    struct keystore_status status = {0};
    for (int i = 0; status.waiting != count && i < FAKE_WAIT_S * 1000; i++) {
        keystore_status(keystore, &status);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(status.waiting, count);
}

/* A job of a full flow is refused, for another reason once the keystore is closing. */
static void wait_until_closing(struct keystore *keystore)
{
    struct message_job refused = {.job = {.run = run_message_job, .flow = 7}};
    struct error err = {0};
    for (int i = 0; err.code != ERROR_CANCELLED && i < FAKE_WAIT_S * 1000; i++) {
        assert_int_equal(keystore_submit(keystore, &refused.job, &err), -1);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(err.code, ERROR_CANCELLED);
}

static void hold_and_fill(struct closing *closing, struct mailbox *mailbox)
{
    struct fixture *fixture = closing->fixture;
    FAKE_SET(&fixture->fake, is_stopped = true);
    key_unref(take_ptr(fixture->key)); /* the job in hand: closing it */
    FAKE_UNTIL(&fixture->fake, fixture->fake.inside == 1);
    for (size_t i = 0; i < ARRAY_SIZE(closing->waiting); i++) {
        closing->waiting[i].job = (struct keystore_job){
            .run = run_message_job, .message.deliver = deliver, .mailbox = mailbox, .flow = 7};
        assert_int_equal(keystore_submit(fixture->keystore, &closing->waiting[i].job, NULL), 0);
    }
}

/* The job in hand ends, the others are delivered without having run, and who waits gets Cancelled.
 */
static void test_free_with_work_waiting(void **state)
{
    (void)state;
    struct fixture fixture;
    struct mailbox *mailbox = NULL;
    struct closing closing = {.fixture = &fixture};
    set_up_with(&fixture, 1);
    assert_int_equal(mailbox_new(&mailbox, NULL), 0);
    hold_and_fill(&closing, mailbox);
    assert_int_equal(pthread_create(&closing.generate_thread, NULL, generate_in_vain, &closing), 0);
    wait_until_waiting(fixture.keystore, 5);
    assert_int_equal(pthread_create(&closing.free_thread, NULL, free_keystore, &closing), 0);
    wait_until_closing(fixture.keystore);
    FAKE_SET(&fixture.fake, is_stopped = false);
    (void)pthread_join(closing.generate_thread, NULL);
    (void)pthread_join(closing.free_thread, NULL);
    assert_int_equal(closing.generate_result, -1);
    assert_int_equal(closing.generate_err.code, ERROR_CANCELLED);
    mailbox_deliver(mailbox);
    for (size_t i = 0; i < ARRAY_SIZE(closing.waiting); i++) {
        assert_false(closing.waiting[i].has_run);
        assert_true(closing.waiting[i].is_delivered);
    }
    assert_int_equal(fixture.fake.closed, 1);
    mailbox_free(mailbox);
    fake_destroy(&fixture.fake);
}

/* Generates and signs within a job, on this keystore and on another one. */
struct nested_job {
    struct keystore_job job;
    struct keystore *keystore;
    struct keystore *other;
    int result;
    struct mailbox_message message;
};

static int generate_and_sign(struct keystore *keystore)
{
    struct key *key = NULL;
    TRY(keystore_key_generate(keystore, KEY_TYPE_EC_P384, NULL, BACKGROUND, &key, NULL));
    int result = sign(key, 'n', BACKGROUND, 0, NULL);
    key_unref(key);
    return result;
}

static void run_nested_job(struct keystore_job *job)
{
    struct nested_job *nested = container_of(job, struct nested_job, job);
    nested->result =
        generate_and_sign(nested->keystore) < 0 || generate_and_sign(nested->other) < 0 ? -1 : 0;
}

static void ignore_message(struct mailbox_message *message)
{
    (void)message;
}

static void test_work_within_a_job(void **state)
{
    (void)state;
    struct fixture fixture;
    struct fixture other;
    struct mailbox *mailbox = NULL;
    set_up_with(&fixture, 1);
    set_up_with(&other, 1);
    assert_int_equal(mailbox_new(&mailbox, NULL), 0);
    struct nested_job nested = {.job = {.run = run_nested_job,
                                        .mailbox = mailbox,
                                        .message.deliver = ignore_message,
                                        .priority = ISSUE},
                                .keystore = fixture.keystore,
                                .other = other.keystore,
                                .result = -1};
    assert_int_equal(keystore_submit(fixture.keystore, &nested.job, NULL), 0);
    struct pollfd readable = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
    assert_int_equal(poll(&readable, 1, FAKE_WAIT_S * 1000), 1);
    mailbox_deliver(mailbox);
    assert_int_equal(nested.result, 0);
    tear_down(&fixture);
    tear_down(&other);
    mailbox_free(mailbox);
}

/* With two workers and two pieces of background work, one worker stays free for signatures. */
static void test_background_leaves_a_worker(void **state)
{
    (void)state;
    struct fixture fixture;
    struct sign_job jobs[3];
    int done = 0;
    struct keystore_status status;
    set_up_with(&fixture, 2);
    FAKE_SET(&fixture.fake, is_stopped = true);
    FAKE_SET(&fixture.fake, entered_size = 0);
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = (struct sign_job){
            .job = {.run = run_sign_job, .priority = i < 2 ? BACKGROUND : USE, .flow = i},
            .fixture = &fixture,
            .marks = i < 2 ? "b" : "u",
            .done = &done};
        assert_int_equal(keystore_submit(fixture.keystore, &jobs[i].job, NULL), 0);
        /* The first is in its command: what comes now cannot go before it any more. */
        FAKE_UNTIL(&fixture.fake, fixture.fake.inside >= 1);
    }
    FAKE_UNTIL(&fixture.fake, fixture.fake.inside == 2);
    assert_memory_equal(fixture.fake.entered, "bu", 2);
    keystore_status(fixture.keystore, &status);
    assert_int_equal(status.waiting, 1);
    FAKE_SET(&fixture.fake, is_stopped = false);
    FAKE_UNTIL(&fixture.fake, done == 3);
    assert_int_equal(fixture.fake.most_inside, 2);
    tear_down(&fixture);
}

/* Where nobody else wants anything, the caller signs itself; where a worker is at work, that one
 * does. */
static void test_who_signs(void **state)
{
    (void)state;
    struct fixture fixture;
    int done = 0;
    sigset_t blocked;
    set_up_with(&fixture, 1);
    /* The worker may be busy yet with having made the key. */
    for (unsigned i = 0; i < 100000 && fixture.fake.foreign_signatures == 0; i++) {
        assert_int_equal(sign(fixture.key, 'a', USE, 1, NULL), 0);
    }
    assert_int_equal(fixture.fake.foreign_signatures, 1);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGTERM));
    struct sign_job job = {.job = {.run = run_sign_job, .priority = BACKGROUND},
                           .fixture = &fixture,
                           .marks = "0123456789",
                           .done = &done};
    unsigned before = fixture.fake.foreign_signatures;
    FAKE_SET(&fixture.fake, is_stopped = true);
    assert_int_equal(keystore_submit(fixture.keystore, &job.job, NULL), 0);
    FAKE_UNTIL(&fixture.fake, fixture.fake.inside == 1);
    FAKE_SET(&fixture.fake, is_stopped = false);
    FAKE_UNTIL(&fixture.fake, done == 1);
    assert_int_equal(fixture.fake.foreign_signatures, before);
    assert_int_equal(fixture.fake.most_inside, 1);
    tear_down(&fixture);
}

/* Many callers and long jobs at the same time: never more commands at once than workers. */
static void *sign_many(void *argument)
{
    struct fixture *fixture = argument;
    for (int i = 0; i < 500; i++) {
        if (sign(fixture->key, 'm', i % 2 ? USE : ISSUE, 0, NULL) < 0) {
            abort();
        }
    }
    return NULL;
}

static void test_never_more_at_once_than_workers(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct fixture fixture;
        pthread_t threads[6];
        int done = 0;
        struct sign_job jobs[8];
        set_up_with(&fixture, workers);
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, sign_many, &fixture), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
            jobs[i] = (struct sign_job){.job = {.run = run_sign_job, .priority = BACKGROUND},
                                        .fixture = &fixture,
                                        .marks = "bbbbbbbbbbbbbbbb",
                                        .done = &done};
            assert_int_equal(keystore_submit(fixture.keystore, &jobs[i].job, NULL), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
            (void)pthread_join(threads[i], NULL);
        }
        FAKE_UNTIL(&fixture.fake, done == ARRAY_SIZE(jobs));
        assert_true(fixture.fake.most_inside <= workers);
        assert_int_equal(key_uses(fixture.key), 6 * 500 + 8 * 16);
        tear_down(&fixture);
    }
}

static const struct {
    const char *text;
    int expected; /* a type, or -1 */
} names[] = {
    {"ec-p256", KEY_TYPE_EC_P256},
    {"ec-p384", KEY_TYPE_EC_P384},
    {"rsa-2048", KEY_TYPE_RSA_2048},
    {"EC-P256", -1},
    {"", -1},
    {"rsa-1024", -1},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        enum key_type type = KEY_TYPE_EC_P256;
        struct error err = {0};
        int result = key_type_parse(names[i].text, &type, &err);
        assert_int_equal(result, names[i].expected < 0 ? -1 : 0);
        if (result == 0) {
            assert_int_equal(type, names[i].expected);
            assert_string_equal(key_type_name(type), names[i].text);
        } else {
            assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        }
    }
    assert_string_equal(key_protection_name(KEY_PROTECTION_DELIVERED), "delivered");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_background_work_has_its_turn),
        cmocka_unit_test(test_opening_fails),
        cmocka_unit_test(test_status_and_key),
        cmocka_unit_test(test_wrong_requests),
        cmocka_unit_test(test_lasting_key),
        cmocka_unit_test(test_the_last_reference_closes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_mailbox),
        cmocka_unit_test(test_free_with_work_waiting),
        cmocka_unit_test(test_work_within_a_job),
        cmocka_unit_test(test_background_leaves_a_worker),
        cmocka_unit_test(test_who_signs),
        cmocka_unit_test(test_never_more_at_once_than_workers),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
