/* Heads: signed when they should be, by a key that lasts, never at the cost of records. */
#include "tests/unit/agent_audit/fixture.h"

#include "audit/head.h"
#include "pkcs11/memory/memory.h"

static struct audit_status status_of(struct fixture *fixture)
{
    struct audit_status status;
    audit_status(fixture->audit, &status);
    return status;
}

/* Checks each head of the log by itself: signed by its key, and of a record that is there with that
 * hash. Returns their number. */
static size_t check_heads(const struct fixture *fixture)
{
    enum { RECORDS_MAX = 1 << 18 };
    struct audit_link *links = memory_new_array(RECORDS_MAX, sizeof(*links));
    struct audit_reader *reader = NULL;
    struct error err;
    struct audit_line line;
    bool has_line = true;
    size_t heads = 0;
    assert_int_equal(audit_reader_open(fixture->log_folder, &reader, &err), 0);
    while (audit_reader_next(reader, &has_line, &line, &err) == 0 && has_line) {
        struct audit_link claimed;
        struct bytes body;
        struct audit_head head;
        bool is_head = false;
        assert_int_equal(audit_record_parse(line.text, &claimed, &body, &err), 0);
        assert_true(claimed.sequence < RECORDS_MAX);
        links[claimed.sequence] = claimed;
        assert_int_equal(audit_head_parse(body, &is_head, &head, &err), 0);
        if (is_head) {
            _cleanup_(buffer_clear) struct buffer key = {0};
            assert_true(head.link.sequence < claimed.sequence);
            assert_memory_equal(head.link.hash, links[head.link.sequence].hash, AUDIT_HASH_BYTES);
            assert_int_equal(audit_reader_key(reader, head.key_id, &key, &err), 0);
            assert_int_equal(audit_head_verify(&head, buffer_bytes(&key), &err), 0);
            heads++;
        }
    }
    audit_reader_close(reader);
    free(links);
    return heads;
}

static void start_and_stop_are_signed(void **state)
{
    struct fixture *fixture = *state;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    struct audit_status status = status_of(fixture);
    assert_int_equal(status.signed_link.sequence, 1);
    assert_int_equal(strlen(status.key_id), 40);
    assert_true(fixture_commit(fixture, "one"));
    fixture_stop(fixture);
    assert_int_equal(check_heads(fixture), 2);
    struct audit_verdict verdict = log_assert_whole(fixture, 0);
    assert_int_equal(verdict.heads, 2);
    assert_int_equal(verdict.signed_last.sequence, verdict.last.sequence - 1);
}

/* After the interval, if there was something to sign; not again when there was not. */
static void time_brings_a_head(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.head_interval_s = 1;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(fixture_commit(fixture, "one"));
        uint64_t wanted = status_of(fixture).link.sequence;
        FIXTURE_WAIT(fixture, status_of(fixture).signed_link.sequence >= wanted);
    }
    uint64_t quiet_ms = clock_monotonic_ms() + 2500;
    uint64_t records = status_of(fixture).link.sequence;
    while (clock_monotonic_ms() < quiet_ms) {
        fixture_turn(fixture);
    }
    assert_int_equal(status_of(fixture).link.sequence, records);
    fixture_stop(fixture);
    assert_in_range(check_heads(fixture), 4, 5);
    (void)log_assert_whole(fixture, 0);
}

static void each_file_begins_with_a_head(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.log.file_max_bytes = 4000;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    for (unsigned i = 0; i < 100; i++) {
        fixture_write(fixture, "many at once");
    }
    assert_true(fixture_commit(fixture, "last"));
    fixture_stop(fixture);
    struct audit_verdict verdict = log_assert_whole(fixture, 0);
    assert_true(verdict.files > 5);
    assert_int_equal(check_heads(fixture), verdict.heads);
    assert_true(log_count(fixture, "signet.head.reason", "file") >= verdict.files - 2);
}

static void a_lost_keystore_is_waited_for_aside(void **state)
{
    struct fixture *fixture = *state;
    fixture_open_keystore(fixture);
    atomic_store(&fixture->hardware.is_down, true);
    uint64_t start_ms = clock_monotonic_ms();
    fixture_start(fixture);
    assert_true(clock_monotonic_ms() - start_ms < 4000);
    assert_true(fixture_commit(fixture, "unsigned yet"));
    assert_int_equal(status_of(fixture).signed_link.sequence, 0);
    assert_string_equal(status_of(fixture).key_id, "");
    assert_int_equal(fixture->failures, 0);
    atomic_store(&fixture->hardware.is_down, false);
    FIXTURE_WAIT(fixture, status_of(fixture).signed_link.sequence > 0);
    fixture_stop(fixture);
    assert_int_equal(check_heads(fixture), 2);
    (void)log_assert_whole(fixture, 0);
}

/* Nobody waits for a signature but for a moment. */
static void a_hanging_signature_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.head_interval_s = 1;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    uint64_t before = status_of(fixture).signed_link.sequence;
    atomic_store(&hardware_hangs, true);
    uint64_t slowest_ms = 0;
    uint64_t until_ms = clock_monotonic_ms() + 3000;
    while (clock_monotonic_ms() < until_ms) {
        uint64_t start_ms = clock_monotonic_ms();
        assert_true(fixture_commit(fixture, "meanwhile"));
        slowest_ms = MAX(slowest_ms, clock_monotonic_ms() - start_ms);
    }
    assert_true(slowest_ms < 2500);
    assert_int_equal(status_of(fixture).signed_link.sequence, before);
    atomic_store(&hardware_hangs, false);
    FIXTURE_WAIT(fixture, status_of(fixture).signed_link.sequence > before);
    fixture_stop(fixture);
    assert_true(check_heads(fixture) >= 3);
    (void)log_assert_whole(fixture, 0);
}

/* A signature that takes its time comes late in its file; the log is whole all the same. */
static void late_heads_of_files_will_do(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.log.file_max_bytes = 4000;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    atomic_store(&hardware_hangs, true);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(fixture_commit(fixture, "meanwhile"));
    }
    atomic_store(&hardware_hangs, false);
    FIXTURE_WAIT(fixture, status_of(fixture).signed_link.sequence > 1);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(fixture_commit(fixture, "after"));
    }
    fixture_stop(fixture);
    assert_int_equal(check_heads(fixture), log_assert_whole(fixture, 0).heads);
}

static void stop_does_not_wait_for_a_keystore_that_hangs(void **state)
{
    struct fixture *fixture = *state;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    atomic_store(&hardware_hangs, true);
    fixture_write(fixture, "the last one");
    uint64_t start_ms = clock_monotonic_ms();
    fixture_stop(fixture);
    assert_in_range(clock_monotonic_ms() - start_ms, 3000, 7000);
    assert_int_equal(log_count(fixture, "signet.detail", "the last one"), 1);
    assert_int_equal(log_count(fixture, "event.action", "stopped"), 1);
    atomic_store(&hardware_hangs, false);
    /* The thread left behind gives its key back. */
    struct keystore_status status;
    uint64_t deadline_ms = clock_monotonic_ms() + FIXTURE_PATIENCE_MS;
    do {
        (void)poll(NULL, 0, 10);
        keystore_status(fixture->keystore, &status);
    } while (status.signatures < 2 && clock_monotonic_ms() < deadline_ms);
    fixture_start(fixture);
    _cleanup_(free_cleanup) char *detail = log_last(fixture, "started", "signet.detail");
    assert_non_null(strstr(detail, "could not sign"));
}

static void the_key_is_the_same_in_the_next_run(void **state)
{
    struct fixture *fixture = *state;
    char key_id[41];
    for (unsigned run = 0; run < 3; run++) {
        fixture_open_keystore(fixture);
        fixture_start(fixture);
        struct audit_status status = status_of(fixture);
        if (run > 0) {
            assert_string_equal(status.key_id, key_id);
        }
        memcpy(key_id, status.key_id, sizeof(key_id));
        fixture_stop(fixture);
        fixture_close_keystore(fixture);
    }
    assert_int_equal(soft_count_keys(&fixture->hardware), 1);
    assert_int_equal(log_count(fixture, "event.action", "audit-log"), 1);
}

static void write_key_file(const struct fixture *fixture, const char *text)
{
    struct error err;
    _cleanup_(free_cleanup) char *path = file_join(fixture->log_folder, "head.key");
    assert_int_equal(file_write_atomic(path, bytes_of_text(text), 0600, &err), 0);
}

static void lose_key(struct fixture *fixture)
{
    fixture_remove_folder(fixture->key_folder);
    assert_int_equal(mkdir(fixture->key_folder, 0700), 0);
}

static void spoil_file(struct fixture *fixture)
{
    write_key_file(fixture, "not json");
}

static void shorten_id(struct fixture *fixture)
{
    write_key_file(fixture, "{\"keystore\":\"hsm\",\"id\":\"00\",\"reference\":\"\"}");
}

static void remove_file(struct fixture *fixture)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture->log_folder, "head.key");
    assert_int_equal(unlink(path), 0);
}

static void name_other_keystore(struct fixture *fixture)
{
    write_key_file(fixture, "{\"keystore\":\"tpm\",\"id\":\"00112233445566778899aabbccddeeff\","
                            "\"reference\":\"AAAA\"}");
}

static void die_before_reference(struct fixture *fixture)
{
    write_key_file(fixture, "{\"keystore\":\"hsm\",\"id\":\"00112233445566778899aabbccddeeff\","
                            "\"reference\":\"\"}");
}

static void a_key_that_is_gone_is_replaced_and_told(void **state)
{
    static const struct {
        void (*spoil)(struct fixture *fixture);
        const char *told;
    } cases[] = {{lose_key, "opening"},
                 {spoil_file, "does not name a key"},
                 {shorten_id, "does not name a key"},
                 {remove_file, "there was none"},
                 {name_other_keystore, "the keystore \"tpm\""},
                 {die_before_reference, "while the one before was being made"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        (void)fixture_setup(state);
        struct fixture *fixture = *state;
        fixture_open_keystore(fixture);
        fixture_start(fixture);
        fixture_stop(fixture);
        cases[i].spoil(fixture);
        fixture_start(fixture);
        _cleanup_(free_cleanup) char *message = log_last(fixture, "audit-log", "message");
        assert_non_null(strstr(message, cases[i].told));
        assert_non_null(strstr(message, status_of(fixture).key_id));
        assert_int_equal(log_count(fixture, "event.action", "audit-log"), 2);
        fixture_stop(fixture);
        assert_int_equal(check_heads(fixture), 4);
        (void)log_assert_whole(fixture, 0);
        (void)fixture_teardown(state);
    }
}

/* Also while the agent runs. */
static void a_key_lost_on_the_way_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.head_interval_s = 1;
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    struct audit_status before = status_of(fixture);
    lose_key(fixture);
    atomic_store(&fixture->hardware.loses_keys, true);
    assert_true(fixture_commit(fixture, "one"));
    FIXTURE_WAIT(fixture, !fixture->hardware.loses_keys || atomic_load(&disk_syncs) > 0);
    uint64_t until_ms = clock_monotonic_ms() + 1500;
    while (clock_monotonic_ms() < until_ms) {
        fixture_turn(fixture);
    }
    atomic_store(&fixture->hardware.loses_keys, false);
    FIXTURE_WAIT(fixture, status_of(fixture).signed_link.sequence > before.signed_link.sequence);
    assert_string_not_equal(status_of(fixture).key_id, before.key_id);
    fixture_stop(fixture);
    assert_int_equal(check_heads(fixture), 3);
}

/* In guarded memory no key lasts: each run has its own. */
static void a_keystore_that_forgets_will_do(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct keystore *memory = NULL;
    const struct keystore_config config = {.name = "memory", .driver = &keystore_driver_memory};
    assert_int_equal(keystore_new(&config, &memory, &err), 0);
    fixture->config.keystore = memory;
    for (unsigned run = 0; run < 2; run++) {
        fixture_start(fixture);
        fixture_stop(fixture);
    }
    keystore_free(memory);
    assert_int_equal(check_heads(fixture), 4);
    assert_int_equal(log_count(fixture, "event.action", "audit-log"), 2);
    (void)log_assert_whole(fixture, 0);
}

static void without_a_keystore_there_are_none(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned run = 0; run < 2; run++) {
        fixture->config.head_interval_s = 1;
        fixture_start(fixture);
        assert_true(fixture_commit(fixture, "one"));
        fixture_stop(fixture);
    }
    assert_int_equal(check_heads(fixture), 0);
    _cleanup_(free_cleanup) char *detail = log_last(fixture, "started", "signet.detail");
    assert_string_equal(detail, "signet " SIGNET_VERSION);
}

static void damage_is_told_as_a_failure(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    _cleanup_(buffer_clear) struct buffer text = {0};
    _cleanup_(free_cleanup) char *path = file_join(fixture->log_folder, "audit-000001.jsonl");
    fixture_open_keystore(fixture);
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "changed"));
    fixture_stop(fixture);
    assert_int_equal(buffer_read_file(path, 1 << 20, &text, &err), 0);
    uint8_t *place = memmem(text.data, text.size, "\"changed\"", strlen("\"changed\""));
    assert_non_null(place);
    place[1] = 'C';
    assert_int_equal(file_write_atomic(path, buffer_bytes(&text), 0600, &err), 0);
    fixture_start(fixture);
    assert_true(fixture_commit(fixture, "after"));
    fixture_stop(fixture);
    _cleanup_(free_cleanup) char *outcome = log_last(fixture, "started", "event.outcome");
    _cleanup_(free_cleanup) char *reason = log_last(fixture, "started", "event.reason");
    assert_string_equal(outcome, "failure");
    assert_non_null(strstr(reason, "does not follow"));
    assert_int_equal(log_count(fixture, "signet.detail", "after"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(start_and_stop_are_signed),
        FIXTURE_TEST(time_brings_a_head),
        FIXTURE_TEST(each_file_begins_with_a_head),
        FIXTURE_TEST(a_lost_keystore_is_waited_for_aside),
        FIXTURE_TEST(a_hanging_signature_holds_up_nobody),
        FIXTURE_TEST(late_heads_of_files_will_do),
        FIXTURE_TEST(stop_does_not_wait_for_a_keystore_that_hangs),
        FIXTURE_TEST(the_key_is_the_same_in_the_next_run),
        cmocka_unit_test(a_key_that_is_gone_is_replaced_and_told),
        FIXTURE_TEST(a_key_lost_on_the_way_is_replaced),
        FIXTURE_TEST(a_keystore_that_forgets_will_do),
        FIXTURE_TEST(without_a_keystore_there_are_none),
        FIXTURE_TEST(damage_is_told_as_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
