/* Resets, crashes, lost handles, full slots, and every code that a TPM may answer. */
#include "tests/unit/pkcs11/tpm/bus.h"

#include "lib/base/clock.h"

/* Generous, for machines that do other things too; what is bounded at all stays far below. */
enum { KEYS = 5, TIME_LIMIT_MS = 30000 };

static void make_keys(void *device, struct driver_key *keys[KEYS])
{
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = device_key(device, i % 2 ? KEY_TYPE_EC_P384 : KEY_TYPE_EC_P256);
    }
}

static void assert_keys_sign(void *device, struct driver_key *keys[KEYS])
{
    for (size_t i = 0; i < KEYS; i++) {
        device_assert_signs(device, keys[i]);
    }
}

static void close_keys(void *device, struct driver_key *keys[KEYS])
{
    for (size_t i = 0; i < KEYS; i++) {
        keystore_driver_tpm.key_close(device, keys[i]);
    }
}

static void crash(struct swtpm *swtpm)
{
    swtpm_kill(swtpm, SIGKILL);
    swtpm_start(swtpm);
}

static void stop_and_start(struct swtpm *swtpm)
{
    swtpm_kill(swtpm, SIGTERM);
    swtpm_start(swtpm);
}

/* As a host that goes to sleep and wakes up. */
static void suspend_and_resume(struct swtpm *swtpm)
{
    struct tpm_transport transport = {.conf = swtpm->tcti};
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(Tss2_Sys_Shutdown(transport.sys, NULL, TPM2_SU_STATE, NULL), 0);
    tpm_transport_close(&transport);
    swtpm_kill(swtpm, SIGTERM);
    swtpm_start_flags(swtpm, "not-need-init,startup-state");
}

/* Nobody has sent TPM2_Startup: the driver does, as there is no firmware. */
static void crash_without_startup(struct swtpm *swtpm)
{
    swtpm_kill(swtpm, SIGKILL);
    swtpm_start_flags(swtpm, "not-need-init");
}

typedef void reset(struct swtpm *swtpm);

static void keys_outlive_resets(void **state)
{
    static reset *const resets[] = {crash, swtpm_reboot, stop_and_start, suspend_and_resume,
                                    crash_without_startup};
    struct swtpm *swtpm = *state;
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        struct error err;
        struct driver_key *keys[KEYS];
        void *device = device_open(swtpm->tcti, NULL);
        make_keys(device, keys);
        assert_keys_sign(device, keys);
        resets[i](swtpm);
        assert_keys_sign(device, keys);
        resets[i](swtpm);
        assert_done(keystore_driver_tpm.probe(device, &err), err);
        assert_keys_sign(device, keys);
        resets[i](swtpm);
        struct driver_key *later = device_key(device, KEY_TYPE_EC_P256);
        device_assert_signs(device, later);
        assert_keys_sign(device, keys);
        keystore_driver_tpm.key_close(device, later);
        close_keys(device, keys);
        keystore_driver_tpm.close(device);
        device_assert_empty(swtpm->tcti);
    }
}

static uint32_t lockout_counter(const char *tcti)
{
    uint32_t counter = UINT32_MAX;
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    assert_int_equal(tpm_command_property(&transport, TPM2_PT_LOCKOUT_COUNTER, &counter), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
    return counter;
}

static void ten_crashes_do_not_lock_the_tpm(void **state)
{
    struct swtpm *swtpm = *state;
    struct driver_key *keys[KEYS];
    void *device = device_open(swtpm->tcti, NULL);
    make_keys(device, keys);
    for (size_t i = 0; i < 10; i++) {
        assert_keys_sign(device, keys);
        crash(swtpm);
    }
    assert_keys_sign(device, keys);
    assert_int_equal(lockout_counter(swtpm->tcti), 0);
    close_keys(device, keys);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void a_tpm_that_is_away_is_unavailable_and_comes_back(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct driver_key *key = NULL;
    void *device = device_open(swtpm->tcti, NULL);
    struct driver_key *good = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, good);
    swtpm_kill(swtpm, SIGKILL);
    uint64_t before_ms = clock_monotonic_ms();
    assert_int_equal(device_try_sign(device, good, &err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "tcti"));
    assert_false(good->is_lost);
    assert_int_equal(keystore_driver_tpm.probe(device, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(keystore_driver_tpm.key_generate(device, KEY_TYPE_EC_P256, NULL, &key, &err),
                     -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_in_range(clock_monotonic_ms() - before_ms, 0, TIME_LIMIT_MS);
    swtpm_start(swtpm);
    assert_done(keystore_driver_tpm.probe(device, &err), err);
    device_assert_signs(device, good);
    keystore_driver_tpm.key_close(device, good);
    swtpm_kill(swtpm, SIGKILL);
    keystore_driver_tpm.close(device);
    swtpm_start(swtpm);
    device_assert_empty(swtpm->tcti);
}

static void opening_without_a_tpm_says_what_to_do(void **state)
{
    static const char *const bad[] = {"swtpm:path=/nonexistent/sock", "nonsense:x",
                                      "device:/nonexistent/tpmrm0"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err;
        void *device = NULL;
        const struct tpm_config config = {bad[i], NULL};
        assert_int_equal(keystore_driver_tpm.open(&config, "test", &device, &err), -1);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(err.text, bad[i]));
        assert_non_null(strstr(err.text, "setting"));
    }
}

/* Flushes everything in the TPM: objects, sessions or both. */
static void flush_all(const char *tcti, bool objects, bool sessions)
{
    const TPM2_HANDLE first[] = {TPM_HANDLES_TRANSIENT, TPM_HANDLES_LOADED_SESSION};
    const bool chosen[] = {objects, sessions};
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    for (size_t kind = 0; kind < ARRAY_SIZE(first); kind++) {
        TPML_HANDLE handles = {0};
        assert_int_equal(tpm_command_handles(&transport, first[kind], &handles), 0);
        for (size_t i = 0; chosen[kind] && i < handles.count; i++) {
            assert_int_equal(tpm_command_flush(&transport, handles.handle[i]), 0);
        }
    }
    tpm_transport_close(&transport);
    free(transport.conf);
}

static void what_others_flush_is_loaded_again(void **state)
{
    struct swtpm *swtpm = *state;
    struct driver_key *keys[KEYS];
    struct tpm_device *device = device_open(swtpm->tcti, NULL);
    make_keys(device, keys);
    for (unsigned what = 1; what <= 3; what++) {
        assert_keys_sign(device, keys);
        flush_all(swtpm->tcti, what & 1, what & 2);
        assert_keys_sign(device, keys);
        flush_all(swtpm->tcti, what & 1, what & 2);
        struct driver_key *later = device_key(device, KEY_TYPE_EC_P256);
        device_assert_signs(device, later);
        keystore_driver_tpm.key_close(device, later);
    }
    close_keys(device, keys);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

/* After a reset two drivers load their keys in turn, each finding its handles taken by the
 * other. */
static void two_drivers_share_a_tpm_across_resets(void **state)
{
    struct swtpm *swtpm = *state;
    struct driver_key *keys[2];
    void *devices[2];
    for (size_t i = 0; i < 2; i++) {
        devices[i] = device_open(swtpm->tcti, NULL);
        keys[i] = device_key(devices[i], KEY_TYPE_EC_P256);
        device_assert_signs(devices[i], keys[i]);
    }
    for (size_t round = 0; round < 20; round++) {
        if (round % 4 == 3) {
            crash(swtpm);
        }
        device_assert_signs(devices[round % 2], keys[round % 2]);
        device_assert_signs(devices[1 - round % 2], keys[1 - round % 2]);
    }
    for (size_t i = 0; i < 2; i++) {
        keystore_driver_tpm.key_close(devices[i], keys[i]);
        keystore_driver_tpm.close(devices[i]);
    }
}

/* As a process that is killed: nothing is flushed. */
static void use_and_die(const struct swtpm *swtpm, const char *pin)
{
    struct driver_key *keys[KEYS];
    struct tpm_device *device = device_open(swtpm->tcti, pin);
    make_keys(device, keys);
    assert_keys_sign(device, keys);
    tpm_cache_forget_all(&device->cache, false);
    tpm_session_end(&device->session, false);
    close_keys(device, keys);
    keystore_driver_tpm.close(device);
}

static void leftovers_of_killed_processes_are_flushed(void **state)
{
    struct swtpm *swtpm = *state;
    struct driver_key *keys[KEYS];
    char pin[96];
    (void)snprintf(pin, sizeof(pin), "%s/pin", swtpm->folder);
    for (size_t i = 0; i < 5; i++) {
        use_and_die(swtpm, pin);
    }
    assert_int_equal(device_load_of(swtpm->tcti).objects, 3);
    void *device = device_open(swtpm->tcti, pin);
    make_keys(device, keys);
    assert_keys_sign(device, keys);
    close_keys(device, keys);
    keystore_driver_tpm.close(device);
    (void)unlink(pin);
    flush_all(swtpm->tcti, true, true);
}

static void objects_of_others_are_left_alone(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    TPM2_HANDLE handles[3];
    struct tpm_transport transport = {.conf = swtpm->tcti};
    void *device = device_open(swtpm->tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    device_assert_signs(device, key);
    flush_all(swtpm->tcti, true, false);

    /* Of the template of our keys, but not children of the primary. */
    tpm_public_key_template(KEY_TYPE_EC_P256, &template);
    assert_int_equal(tpm_transport_open(&transport), 0);
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        assert_int_equal(
            tpm_command_create_primary(&transport, TPM2_RH_OWNER, &template, &handles[i], &public),
            0);
    }
    assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "object slots"));
    assert_int_equal(device_load_of(swtpm->tcti).objects, 3);
    /* One slot is too few to load a key below its parent, two are enough. */
    assert_int_equal(tpm_command_flush(&transport, handles[0]), 0);
    assert_int_equal(device_try_sign(device, key, &err), ERROR_UNAVAILABLE);
    assert_int_equal(tpm_command_flush(&transport, handles[1]), 0);
    device_assert_signs(device, key);
    assert_int_equal(tpm_command_read_public(&transport, handles[2], &public, NULL), 0);
    assert_int_equal(tpm_command_flush(&transport, handles[2]), 0);
    tpm_transport_close(&transport);
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    device_assert_empty(swtpm->tcti);
}

static void count_full_slots(struct bus *bus, const struct bus_message *command,
                             struct bus_message *answer)
{
    (void)command;
    size_t *count = bus->user;
    *count += bus_u32(answer, 6) == TPM2_RC_OBJECT_MEMORY;
}

/* With the TPM to itself the driver knows what fits and never runs into the limit. */
static void slots_are_freed_before_they_are_missed(void **state)
{
    struct bus bus;
    struct driver_key *keys[KEYS];
    size_t count = 0;
    bus_new(&bus, *state);
    bus_set(&bus, NULL, count_full_slots, &count);
    void *device = device_open(bus.tcti, NULL);
    /* Used for the first time when the others have pushed the primary out of its slot. */
    struct driver_key *late = device_key(device, KEY_TYPE_EC_P256);
    make_keys(device, keys);
    assert_keys_sign(device, keys);
    assert_keys_sign(device, keys);
    assert_int_equal(((struct tpm_device *)device)->primary.object.handle, 0);
    device_assert_signs(device, late);
    keystore_driver_tpm.key_close(device, late);
    close_keys(device, keys);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    assert_int_equal(count, 0);
}

/* Answers a command with a code, a number of times. */
struct injection {
    TPM2_CC command;
    TSS2_RC rc;
    size_t times;
    size_t seen; /* commands of that kind */
};

static bool inject(struct bus *bus, struct bus_message *command, struct bus_message *ret_answer)
{
    struct injection *injection = bus->user;
    if (bus_code(command) != injection->command || injection->seen++ >= injection->times) {
        return false;
    }
    bus_error(ret_answer, injection->rc);
    return true;
}

enum { ALWAYS = 1000000 };

static const struct {
    TPM2_CC command;
    TSS2_RC rc;
    size_t times;
    enum error_code expected;
    size_t commands_max;
    const char *text;
} injections[] = {
    {TPM2_CC_Sign, 0x922, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x922, 5, ERROR_OK, 6, NULL},
    {TPM2_CC_Sign, 0x922, ALWAYS, ERROR_UNAVAILABLE, 12, "(0x922)"},
    {TPM2_CC_Sign, 0x908, 2, ERROR_OK, 3, NULL},
    {TPM2_CC_Sign, 0x909, 2, ERROR_OK, 3, NULL},
    {TPM2_CC_Sign, 0x90a, 2, ERROR_OK, 3, NULL},
    {TPM2_CC_Sign, 0x920, 2, ERROR_OK, 3, NULL},
    {TPM2_CC_Sign, 0x923, 2, ERROR_OK, 3, NULL},
    /* Never a second try: each might lock for longer. */
    {TPM2_CC_Sign, 0x921, ALWAYS, ERROR_UNAVAILABLE, 1, "tpm2_dictionarylockout -c"},
    {TPM2_CC_Sign, 0x98e, ALWAYS, ERROR_FAILED_PRECONDITION, 1, "authorization value"},
    {TPM2_CC_Sign, 0x9a2, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x9a2, ALWAYS, ERROR_FAILED_PRECONDITION, 4, "password"},
    {TPM2_CC_Sign, 0x902, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x902, ALWAYS, ERROR_UNAVAILABLE, 4, "object slots"},
    {TPM2_CC_Sign, 0xb0902, 1, ERROR_OK, 2, NULL}, /* from a resource manager */
    {TPM2_CC_Sign, 0x904, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x901, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x901, ALWAYS, ERROR_UNAVAILABLE, 4, "saved session"},
    {TPM2_CC_Sign, 0x905, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x910, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x910, ALWAYS, ERROR_UNAVAILABLE, 4, "(0x910)"},
    {TPM2_CC_Sign, 0x918, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x184, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x18b, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x100, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x101, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Sign, 0x101, ALWAYS, ERROR_UNAVAILABLE, 4, "power cycle"},
    {TPM2_CC_Sign, 0x2d2, ALWAYS, ERROR_INTERNAL, 1, "(0x2d2)"},
    {TPM2_CC_Sign, 0xb0001, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_StartAuthSession, 0x903, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_StartAuthSession, 0x903, ALWAYS, ERROR_UNAVAILABLE, 4, "session slots"},
    {TPM2_CC_StartAuthSession, 0x905, ALWAYS, ERROR_UNAVAILABLE, 4, "session handles"},
    {TPM2_CC_StartAuthSession, 0x901, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_StartAuthSession, 0x922, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_StartAuthSession, 0x910, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_ContextLoad, 0x1df, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_ContextLoad, 0x902, 1, ERROR_OK, 3, NULL},
    {TPM2_CC_ContextLoad, 0x922, 1, ERROR_OK, 3, NULL},
    {TPM2_CC_ContextLoad, 0x1c5, ALWAYS, ERROR_OK, 2, NULL}, /* never works: load the blob */
    {TPM2_CC_ContextSave, 0x902, ALWAYS, ERROR_OK, 4, NULL},
    {TPM2_CC_FlushContext, 0x1c4, ALWAYS, ERROR_OK, 99, NULL},
    {TPM2_CC_Load, 0x902, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Load, 0x902, ALWAYS, ERROR_UNAVAILABLE, 12, "object slots"},
    {TPM2_CC_Load, 0x910, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_Load, 0x1df, ALWAYS, ERROR_DATA_LOSS, 1, "make a new key"},
    {TPM2_CC_CreatePrimary, 0x922, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_CreatePrimary, 0x902, 1, ERROR_OK, 2, NULL},
    {TPM2_CC_ReadClock, 0x101, ALWAYS, ERROR_OK, 0, NULL},
};

/* Before each: no session, no loaded object; contexts only where their loading is the point. */
static void forget(struct tpm_device *device, struct driver_key *key, TPM2_CC command)
{
    bool has_context = command == TPM2_CC_ContextLoad || command == TPM2_CC_Sign;
    tpm_session_end(&device->session, true);
    tpm_cache_evict_all(&device->cache, has_context);
    if (!has_context) {
        buffer_clear(&container_of(key, struct tpm_key, base)->object.context);
        buffer_clear(&device->primary.object.context);
    }
}

static void codes_are_reacted_to(void **state)
{
    struct bus bus;
    bus_new(&bus, *state);
    struct tpm_device *device = device_open(bus.tcti, NULL);
    struct driver_key *key = device_key(device, KEY_TYPE_EC_P256);
    for (size_t i = 0; i < ARRAY_SIZE(injections); i++) {
        struct error err = {0};
        struct injection injection = {injections[i].command, injections[i].rc, injections[i].times,
                                      0};
        device_assert_signs(device, key);
        forget(device, key, injections[i].command);
        uint64_t before_ms = clock_monotonic_ms();
        bus_set(&bus, inject, NULL, &injection);
        enum error_code code = device_try_sign(device, key, &err);
        bus_set(&bus, NULL, NULL, NULL);
        uint64_t took_ms = clock_monotonic_ms() - before_ms;
        if (code != injections[i].expected || injection.seen > injections[i].commands_max ||
            (code != ERROR_OK && !strstr(err.text, injections[i].text)) ||
            took_ms > TIME_LIMIT_MS || key->is_lost != (code == ERROR_DATA_LOSS)) {
            fail_msg("0x%x to command 0x%x, %zu times: %s after %zu commands in %llu ms: %s",
                     injection.rc, injection.command, injection.times, error_code_name(code),
                     injection.seen, (unsigned long long)took_ms, err.text);
        }
        key->is_lost = false;
        device_assert_signs(device, key);
    }
    keystore_driver_tpm.key_close(device, key);
    keystore_driver_tpm.close(device);
    bus_free(&bus);
    flush_all(((struct swtpm *)*state)->tcti, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_outlive_resets),
        cmocka_unit_test(ten_crashes_do_not_lock_the_tpm),
        cmocka_unit_test(a_tpm_that_is_away_is_unavailable_and_comes_back),
        cmocka_unit_test(opening_without_a_tpm_says_what_to_do),
        cmocka_unit_test(what_others_flush_is_loaded_again),
        cmocka_unit_test(two_drivers_share_a_tpm_across_resets),
        cmocka_unit_test(objects_of_others_are_left_alone),
        cmocka_unit_test(leftovers_of_killed_processes_are_flushed),
        cmocka_unit_test(slots_are_freed_before_they_are_missed),
        cmocka_unit_test(codes_are_reacted_to),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
