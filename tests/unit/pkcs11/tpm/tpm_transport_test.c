/* A TPM that does not answer in time, or never, and what a damaged answer does. */
#include "tests/unit/pkcs11/tpm/bus.h"

#include "lib/base/clock.h"

enum { LIMIT_MS = 200, GENEROUS_MS = 10000 };

/* A bus that keeps its silence until it is told. */
struct silence {
    int release[2];
    TPM2_CC command; /* from this command on; 0: any */
};

static bool keep_silent(struct bus *bus, struct bus_message *command,
                        struct bus_message *ret_answer)
{
    struct silence *silence = bus->user;
    (void)ret_answer;
    if (silence->command == 0 || silence->command == bus_code(command)) {
        struct pollfd polled = {silence->release[0], POLLIN, 0};
        (void)poll(&polled, 1, -1);
    }
    return false;
}

static void silence_begin(struct silence *silence, struct bus *bus, TPM2_CC command)
{
    silence->command = command;
    assert_int_equal(pipe2(silence->release, O_CLOEXEC), 0);
    bus_set(bus, keep_silent, NULL, silence);
}

static void silence_end(struct silence *silence, struct bus *bus)
{
    assert_int_equal(write(silence->release[1], "", 1), 1);
    bus_set(bus, NULL, NULL, NULL);
    (void)close(silence->release[0]);
    (void)close(silence->release[1]);
}

static void assert_overdue(struct tpm_device *device, struct driver_key *key, unsigned times)
{
    struct error err = {0};
    uint64_t before_ms = clock_monotonic_ms();
    assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    uint64_t took_ms = clock_monotonic_ms() - before_ms;
    assert_non_null(strstr(err.text, "has not answered"));
    assert_true(took_ms >= LIMIT_MS);
    assert_true(took_ms < (uint64_t)times * LIMIT_MS + GENEROUS_MS / 2);
}

static void a_silent_tpm_is_given_up_and_comes_back(void **state)
{
    static const TPM2_CC commands[] = {0, TPM2_CC_Sign, TPM2_CC_ReadClock};
    struct bus bus;
    struct error err = {0};
    bus_new(&bus, *state);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct silence silence;
        silence_begin(&silence, &bus, commands[i]);
        device->transport.limit_ms = LIMIT_MS;
        if (commands[i] == TPM2_CC_ReadClock) {
            assert_int_equal(keystore_driver_tpm.probe(device, &err), -1);
            assert_non_null(strstr(err.text, "TPM2_ReadClock"));
            assert_non_null(strstr(err.text, "has not answered"));
        } else {
            assert_overdue(device, key, 1);
            /* Nothing but a probe finds out that it is back. */
            assert_overdue(device, key, 1);
        }
        silence_end(&silence, &bus);
        device->transport.limit_ms = GENEROUS_MS;
        assert_done(keystore_driver_tpm.probe(device, &err), err);
        device_assert_signs(device, key);
    }
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

/* Closing waits for one answer at most, however much there is to flush. */
static void closing_does_not_wait_for_each_flush(void **state)
{
    struct bus bus;
    struct driver_key *keys[3];
    struct silence silence;
    bus_new(&bus, *state);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        keys[i] = device_key(device, KEY_TYPE_EC_P256);
        device_assert_signs(device, keys[i]);
    }
    device->transport.limit_ms = GENEROUS_MS / 4;
    silence_begin(&silence, &bus, 0);
    uint64_t before_ms = clock_monotonic_ms();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        keystore_driver_tpm.key_close(device, keys[i]);
    }
    keystore_driver_tpm.close(device);
    assert_true(clock_monotonic_ms() - before_ms < GENEROUS_MS / 2);
    silence_end(&silence, &bus);
    bus_free(&bus);
}

/* A slow TPM is not a silent one: what takes less than the limit is waited for. */
static bool be_slow(struct bus *bus, struct bus_message *command, struct bus_message *ret_answer)
{
    (void)bus;
    (void)command;
    (void)ret_answer;
    (void)poll(NULL, 0, LIMIT_MS / 4);
    return false;
}

static void a_slow_tpm_is_waited_for(void **state)
{
    struct bus bus;
    bus_new(&bus, *state);
    bus_set(&bus, be_slow, NULL, NULL);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    device->transport.limit_ms = GENEROUS_MS;
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

static const struct {
    const char *name;
    uint8_t size[4]; /* in the header of the answer */
    size_t bytes;    /* that are sent */
} damages[] = {
    {"no header", {0, 0, 0, 10}, 0},          {"half a header", {0, 0, 0, 10}, 5},
    {"less than a header", {0, 0, 0, 9}, 10}, {"nothing", {0, 0, 0, 0}, 10},
    {"cut short", {0, 0, 0, 100}, 50},        {"more than any answer", {0, 0, 0x10, 1}, 4096},
    {"huge", {0xff, 0xff, 0xff, 0xff}, 10},
};

static bool damage(struct bus *bus, struct bus_message *command, struct bus_message *ret_answer)
{
    const size_t *number = bus->user;
    (void)command;
    *ret_answer = (struct bus_message){.data = {0x80, 0x01}, .size = damages[*number].bytes};
    memcpy(ret_answer->data + 2, damages[*number].size, sizeof(damages[*number].size));
    return true;
}

static void damaged_answers_are_errors(void **state)
{
    struct bus bus;
    bus_new(&bus, *state);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        struct error err = {0};
        device_assert_signs(device, key);
        bus_set(&bus, damage, NULL, &i);
        enum error_code code = device_try_sign(device, key, &err);
        bus_set(&bus, NULL, NULL, NULL);
        if (code != ERROR_UNAVAILABLE) {
            fail_msg("%s: %s: %s", damages[i].name, error_code_name(code), err.text);
        }
    }
    device_assert_signs(device, key);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
}

static void lose_start(struct bus *bus, const struct bus_message *command,
                       struct bus_message *answer)
{
    size_t *left = bus->user;
    if (bus_code(command) == TPM2_CC_StartAuthSession && *left > 0) {
        (*left)--;
        answer->size = 0;
    }
}

static bool refuse_flush(struct bus *bus, struct bus_message *command,
                         struct bus_message *ret_answer)
{
    (void)bus;
    if (bus_code(command) != TPM2_CC_FlushContext) {
        return false;
    }
    bus_error(ret_answer, TPM2_RC_SESSION_MEMORY);
    return true;
}

/* Of a session that was started while its answer got lost nobody knows the handle; of one that
 * could not be flushed nobody would ask again. */
static void no_session_is_left_behind(void **state)
{
    const struct swtpm *swtpm = *state;
    struct bus bus;
    size_t losses = 2;
    bus_new(&bus, swtpm);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    tpm_session_end(&device->session, true);
    size_t others = device_load_of(swtpm->tcti).sessions; /* of tests whose TPM was silent */
    bus_set(&bus, NULL, lose_start, &losses);
    device_assert_signs(device, key);
    assert_int_equal(losses, 0);
    assert_int_equal(device_load_of(swtpm->tcti).sessions, others + 1);

    bus_set(&bus, refuse_flush, NULL, NULL);
    tpm_session_end(&device->session, true);
    assert_int_equal(device_load_of(swtpm->tcti).sessions, others + 1);
    bus_set(&bus, NULL, NULL, NULL);
    device_assert_signs(device, key);
    assert_int_equal(device_load_of(swtpm->tcti).sessions, others + 1);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    assert_int_equal(device_load_of(swtpm->tcti).sessions, others);
    bus_free(&bus);
}

/* Nobody accepts: the queue of the socket fills up, and connecting would wait without end. */
static void a_full_queue_of_connections_is_given_up(void **state)
{
    const struct swtpm *swtpm = *state;
    struct tpm_transport transport = {.limit_ms = LIMIT_MS};
    TPMS_CLOCK_INFO clock;
    char path[96];
    char conf[128];
    int clients[4];
    (void)snprintf(path, sizeof(path), "%s/full", swtpm->folder);
    (void)snprintf(conf, sizeof(conf), "swtpm:path=%s", path);
    struct sockaddr_un address = swtpm_address(path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 0), 0);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(clients[i], (struct sockaddr *)&address, sizeof(address));
    }
    transport.conf = conf;
    assert_int_equal(tpm_transport_open(&transport), TSS2_RC_SUCCESS);
    assert_int_equal(tpm_command_read_clock(&transport, &clock), TPM_RC_OVERDUE);
    assert_int_equal(tpm_command_read_clock(&transport, &clock), TPM_RC_OVERDUE);
    tpm_transport_close(&transport);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        (void)close(clients[i]);
    }
    (void)close(listener);
    (void)unlink(path);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    struct tpm_transport transport = {0};
    char conf[256] = "swtpm:path=/";
    (void)state;
    memset(conf + strlen(conf), 'x', 200);
    transport.conf = conf;
    assert_int_equal(tpm_transport_open(&transport), TSS2_TCTI_RC_BAD_VALUE);
    tpm_transport_close(&transport);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_tpm_is_given_up_and_comes_back),
        cmocka_unit_test(closing_does_not_wait_for_each_flush),
        cmocka_unit_test(a_slow_tpm_is_waited_for),
        cmocka_unit_test(damaged_answers_are_errors),
        cmocka_unit_test(no_session_is_left_behind),
        cmocka_unit_test(a_full_queue_of_connections_is_given_up),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
