/* Secrets sealed to a TPM, its registers and its counters. */
#include "tests/unit/attest_host/sealing.h"

#include "attest/host/seal_policy.h"
#include "tests/unit/pkcs11/process_memory.h"

static void every_size_comes_back(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    uint8_t bytes[SEAL_SECRET_MAX_BYTES + 1];
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(RAND_bytes(bytes, sizeof(bytes)), 1);
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        struct seal_request request = sealing_request("sha256:0,7");
        _cleanup_(buffer_clear) struct buffer file = {0};
        struct secret secret = {0};
        request.secret = (struct bytes){bytes, size};
        int result = seal_make(device, &request, &file, &err);
        if (size < 1 || size > SEAL_SECRET_MAX_BYTES) {
            assert_int_equal(result, -1);
            assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
            assert_int_equal(file.size, 0);
            continue;
        }
        assert_done(result, err);
        assert_in_range(file.size, 1, SEAL_FILE_MAX_BYTES);
        assert_done(seal_open(device, buffer_bytes(&file), &secret, &err), err);
        assert_true(bytes_is_equal(secret_bytes(&secret), request.secret));
        secret_clear(&secret);
    }
    tpm_device_close(device);
    device_assert_empty(swtpm->tcti);
}

static void registers_that_protect_nothing_are_refused(void **state)
{
    static const char *const texts[] = {"sha256:16", "sha256:0,23", "sha256:0+sha1:16"};
    const struct swtpm *swtpm = *state;
    struct error err;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct seal_request request = sealing_request(texts[i]);
        _cleanup_(buffer_clear) struct buffer file = {0};
        assert_int_equal(seal_make(device, &request, &file, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    struct seal_request request = {.secret = bytes_of_text(sealing_pin)};
    _cleanup_(buffer_clear) struct buffer file = {0};
    assert_int_equal(seal_make(device, &request, &file, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    tpm_device_close(device);
}

static void a_changed_register_is_named(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err = {.text = ""};
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request =
        sealing_request("sha256:0,7+sha384:1,2,3,4,5,6,7,8,9,10,11");
    sealing_make(swtpm->tcti, &request, &file);
    sealing_assert_opens(swtpm->tcti, &file);
    tpms_extend(swtpm->tcti, 12);
    sealing_assert_opens(swtpm->tcti, &file);
    tpms_extend(swtpm->tcti, 7);
    assert_int_equal(sealing_try(swtpm->tcti, &file, &err), ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "sha256:7 changed"));
}

static void a_reboot_into_the_same_state_opens_it(void **state)
{
    struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:0,7");
    tpms_reboot(swtpm);
    sealing_make(swtpm->tcti, &request, &file);
    tpms_extend(swtpm->tcti, 0);
    sealing_assert_refused(swtpm->tcti, &file, "sha256:0 changed");
    tpms_reboot(swtpm);
    sealing_assert_opens(swtpm->tcti, &file);
}

static void values_can_be_given(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct pcr_set later = {0};
    _cleanup_(buffer_clear) struct buffer file = {0};
    struct seal_request request = sealing_request("sha256:5");
    tpms_reboot(swtpm);
    tpms_extend(swtpm->tcti, 5);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_done(seal_read_pcrs(device, &request.selection, &later, &err), err);
    tpm_device_close(device);
    tpms_reboot(swtpm);
    request.pcrs = &later;
    sealing_make(swtpm->tcti, &request, &file);
    sealing_assert_refused(swtpm->tcti, &file, "sha256:5 changed");
    tpms_extend(swtpm->tcti, 5);
    sealing_assert_opens(swtpm->tcti, &file);
}

/* Measures something before a command: TPM2_PolicyPCR, so after the registers were read, or
 * TPM2_Unseal, so after the policy was satisfied. */
struct measuring {
    TPM2_CC code;
    unsigned index;
    unsigned times;
};

static bool measure_before(struct bus *bus, struct bus_message *command,
                           struct bus_message *ret_answer)
{
    struct measuring *measuring = bus->user;
    (void)ret_answer;
    if (bus_code(command) == measuring->code && measuring->times > 0) {
        measuring->times--;
        tpms_extend(bus->swtpm->tcti, measuring->index);
    }
    return false;
}

static void a_register_that_changes_in_between_is_noticed(void **state)
{
    static const TPM2_CC codes[] = {TPM2_CC_PolicyPCR, TPM2_CC_Unseal};
    const struct swtpm *swtpm = *state;
    struct bus bus;
    bus_new(&bus, swtpm);
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        _cleanup_(buffer_clear) struct buffer file = {0};
        const struct seal_request request = sealing_request("sha256:3");
        struct measuring another = {.code = codes[i], .index = 9, .times = 2};
        struct measuring its_own = {.code = codes[i], .index = 3, .times = 1};
        bus_set(&bus, NULL, NULL, NULL);
        sealing_make(swtpm->tcti, &request, &file);
        bus_set(&bus, measure_before, NULL, &another);
        sealing_assert_opens(bus.tcti, &file);
        assert_true(another.times < 2);
        bus_set(&bus, measure_before, NULL, &its_own);
        sealing_assert_refused(bus.tcti, &file, "sha256:3 changed");
        assert_int_equal(its_own.times, 0);
    }
    bus_free(&bus);
}

/* A register that never rests ends in an error. */
static void a_register_that_changes_always_ends_in_an_error(void **state)
{
    const struct swtpm *swtpm = *state;
    struct bus bus;
    struct measuring without_end = {.code = TPM2_CC_Unseal, .index = 9, .times = 1000};
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:2");
    sealing_make(swtpm->tcti, &request, &file);
    bus_new(&bus, swtpm);
    bus_set(&bus, measure_before, NULL, &without_end);
    sealing_assert_refused(bus.tcti, &file, "registers changed");
    bus_free(&bus);
}

static void another_tpm_does_not_open_it(void **state)
{
    const struct swtpm *swtpm = *state;
    struct swtpm other;
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:11");
    sealing_make(swtpm->tcti, &request, &file);
    swtpm_new(&other);
    sealing_assert_refused(other.tcti, &file, "another TPM sealed it");
    swtpm_remove(&other);
    sealing_assert_opens(swtpm->tcti, &file);
}

static void persist_rsa_primary(const char *tcti)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    TPM2_HANDLE handle = 0;
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    tpm_public_primary_template(TPM_PRIMARY_RSA_2048, &template);
    assert_int_equal(
        tpm_command_create_primary(&transport, TPM2_RH_OWNER, &template, &handle, &public), 0);
    assert_int_equal(Tss2_Sys_EvictControl(transport.sys, TPM2_RH_OWNER, handle, &empty_password,
                                           0x81000001, &answer),
                     0);
    assert_int_equal(tpm_command_flush(&transport, handle), 0);
    tpm_transport_close(&transport);
    free(transport.conf);
}

/* Somebody persists another storage primary, as provisioning tools do, and this one is preferred
 * for what is new. */
static void the_primary_of_before_is_found_again(void **state)
{
    struct swtpm swtpm;
    _cleanup_(buffer_clear) struct buffer file = {0};
    _cleanup_(buffer_clear) struct buffer later = {0};
    const struct seal_request request = sealing_request("sha256:11");
    (void)state;
    swtpm_new(&swtpm);
    sealing_make(swtpm.tcti, &request, &file);
    persist_rsa_primary(swtpm.tcti);
    sealing_make(swtpm.tcti, &request, &later);
    sealing_assert_opens(swtpm.tcti, &file);
    sealing_assert_opens(swtpm.tcti, &later);
    swtpm_remove(&swtpm);
}

struct losing {
    size_t place;
    bool has_lost;
};

static void lose_one_answer(struct bus *bus, const struct bus_message *command,
                            struct bus_message *answer)
{
    struct losing *losing = bus->user;
    (void)command;
    if (bus->commands == losing->place) {
        losing->has_lost = true;
        answer->size = 0;
    }
}

/* Whichever it is; also while the primary of before is looked for. What the lost answer spoke of
 * stays in a simulator, which has no resource manager, until it is reset. */
static void an_answer_that_is_lost_is_made_up_for(void **state)
{
    struct swtpm swtpm;
    struct bus bus;
    struct losing losing = {.has_lost = true};
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:11");
    (void)state;
    swtpm_new(&swtpm);
    sealing_make(swtpm.tcti, &request, &file);
    persist_rsa_primary(swtpm.tcti);
    bus_new(&bus, &swtpm);
    for (size_t place = 1; losing.has_lost; place++) {
        struct error err = {.text = ""};
        struct secret secret = {0};
        bus_set(&bus, NULL, NULL, NULL);
        tpms_reboot(&swtpm);
        struct tpm_device *device = tpms_open(bus.tcti);
        losing = (struct losing){.place = place};
        bus_set(&bus, NULL, lose_one_answer, &losing);
        if (seal_open(device, buffer_bytes(&file), &secret, &err) < 0) {
            fail_msg("answer %zu lost: %s", place, err.text);
        }
        assert_true(bytes_is_equal(secret_bytes(&secret), bytes_of_text(sealing_pin)));
        secret_clear(&secret);
        bus_set(&bus, NULL, NULL, NULL);
        tpm_device_close(device);
    }
    bus_free(&bus);
    swtpm_remove(&swtpm);
}

static void every_cut_and_every_changed_byte_is_refused(void **state)
{
    static const uint8_t changes[] = {0x01, 0x20, 0x80, 0x2d};
    const struct swtpm *swtpm = *state;
    struct error err;
    struct secret secret = {0};
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:0,7");
    sealing_make(swtpm->tcti, &request, &file);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    for (size_t i = 0; i < file.size; i++) {
        assert_int_equal(seal_open(device, (struct bytes){file.data, i}, &secret, &err), -1);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        for (size_t j = 0; j < ARRAY_SIZE(changes); j++) {
            file.data[i] ^= changes[j];
            assert_int_equal(seal_open(device, buffer_bytes(&file), &secret, &err), -1);
            assert_true(err.code == ERROR_DATA_LOSS || err.code == ERROR_FAILED_PRECONDITION);
            file.data[i] ^= changes[j];
        }
    }
    buffer_append_u8(&file, ' ');
    assert_int_equal(seal_open(device, buffer_bytes(&file), &secret, &err), -1);
    assert_null(secret.data);
    tpm_device_close(device);
}

static void every_changed_byte_of_the_object_is_found_by_the_tpm(void **state)
{
    const struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    const struct seal_request request = sealing_request("sha256:0,7");
    sealing_make(swtpm->tcti, &request, &text);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    for (size_t i = 0; i < file->private.size; i++) {
        file->private.buffer[i] ^= 0x10;
        assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
        file->private.buffer[i] ^= 0x10;
    }
    for (size_t i = 0; i < sizeof(file->public.publicArea); i++) {
        uint8_t *area = (uint8_t *)&file->public.publicArea;
        _cleanup_(buffer_clear) struct buffer changed = {0};
        struct error err;
        area[i] ^= 0x01;
        /* Bytes of the struct that are not of a keyed hash change nothing. */
        bool is_same = seal_file_encode(file, &changed, &err) == 0 &&
                       bytes_is_equal(buffer_bytes(&changed), buffer_bytes(&text));
        assert_int_equal(sealing_try_changed(device, file) == ERROR_OK, is_same);
        area[i] ^= 0x01;
    }
    assert_int_equal(sealing_try_changed(device, file), ERROR_OK);
    tpm_device_close(device);
    device_assert_empty(swtpm->tcti);
}

/* Whoever changes the file to suit the state that the host is in now gets nothing. */
static void a_file_that_lies_opens_nothing(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    struct seal_digest policy;
    struct pcr_set now = {0};
    _cleanup_(buffer_clear) struct buffer text = {0};
    const struct seal_request request = sealing_request("sha256:4");
    sealing_make(swtpm->tcti, &request, &text);
    tpms_extend(swtpm->tcti, 4);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(sealing_try_changed(device, file), ERROR_PERMISSION_DENIED);
    assert_done(seal_read_pcrs(device, &file->selection, &now, &err), err);
    file->states[0].pcrs = now;
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    assert_done(seal_policy_compute(file, &policy, &err), err);
    memcpy(file->public.publicArea.authPolicy.buffer, policy.data, sizeof(policy.data));
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    tpm_device_close(device);
}

static TSS2_RC unseal_by_password(struct tpm_device *device, const struct seal_file *file)
{
    static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                          .auths[0].sessionHandle = TPM2_RS_PW};
    TPM2B_SENSITIVE_DATA data = {0};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TPM2_HANDLE handle = 0;
    struct tpm_object *parent = &device->primary.object;
    assert_int_equal(tpm_device_session(device), 0);
    assert_int_equal(tpm_cache_acquire(&device->cache, parent), 0);
    assert_int_equal(tpm_command_load(&device->session, parent->handle, &parent->name,
                                      &file->public, &file->private, &handle),
                     0);
    TSS2_RC rc = Tss2_Sys_Unseal(device->transport.sys, handle, &empty_password, &data, &answer);
    assert_int_equal(tpm_command_flush(&device->transport, handle), 0);
    return rc;
}

static void there_is_no_way_around_the_policy(void **state)
{
    const struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    const struct seal_request request = sealing_request("sha256:0,7");
    sealing_make(swtpm->tcti, &request, &text);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(unseal_by_password(device, file) & 0xffff, TPM2_RC_AUTH_UNAVAILABLE);
    tpm_device_close(device);
}

static void overhear(struct bus *bus, const struct bus_message *command, struct bus_message *answer)
{
    struct buffer *heard = bus->user;
    buffer_append(heard, command->data, command->size);
    buffer_append(heard, answer->data, answer->size);
}

static bool has_heard(const struct buffer *heard)
{
    return memmem(heard->data, heard->size, sealing_pin, 16) != NULL;
}

static void the_wires_never_carry_the_secret(void **state)
{
    const struct swtpm *swtpm = *state;
    struct bus bus;
    _cleanup_(buffer_clear) struct buffer heard = {0};
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:1");
    bus_new(&bus, swtpm);
    bus_set(&bus, NULL, overhear, &heard);
    sealing_make(bus.tcti, &request, &file);
    sealing_assert_opens(bus.tcti, &file);
    bus_free(&bus);
    assert_true(heard.size > 1000);
    assert_false(has_heard(&heard));
    assert_null(memmem(file.data, file.size, sealing_pin, 16));
}

/* Nobody on the wires can have it sealed to a state of theirs. */
static void lie_about_registers(struct bus *bus, const struct bus_message *command,
                                struct bus_message *answer)
{
    (void)bus;
    if (bus_code(command) == TPM2_CC_PCR_Read && answer->size > 120) {
        answer->data[60] ^= 1;
    }
}

static void registers_that_were_made_up_are_noticed(void **state)
{
    const struct swtpm *swtpm = *state;
    struct bus bus;
    struct error err;
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request("sha256:1,2");
    bus_new(&bus, swtpm);
    struct tpm_device *device = tpms_open(bus.tcti);
    bus_set(&bus, NULL, lie_about_registers, NULL);
    assert_int_equal(seal_make(device, &request, &file, &err), -1);
    assert_non_null(strstr(err.text, "not authentic"));
    bus_set(&bus, NULL, NULL, NULL);
    tpm_device_close(device);
    bus_free(&bus);
}

/* Nothing of it stays in memory, neither here nor in what the library keeps. */
static void nothing_of_it_stays_in_memory(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    struct secret original = {0};
    struct secret opened = {0};
    _cleanup_(buffer_clear) struct buffer file = {0};
    struct seal_request request = sealing_request("sha256:1");
    assert_done(secret_new(32, &original, &err), err);
    assert_int_equal(RAND_bytes(original.data, 32), 1);
    struct needle needle = needle_of(original.data, original.size);
    request.secret = secret_bytes(&original);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_done(seal_make(device, &request, &file, &err), err);
    secret_clear(&original);
#ifndef PROCESS_MEMORY_IS_SANITIZED
    assert_int_equal(process_memory_count(&needle), 0);
#endif
    assert_done(seal_open(device, buffer_bytes(&file), &opened, &err), err);
    assert_true(is_needle_at(opened.data + (32 - NEEDLE_BYTES) / 2, needle.big_endian));
    secret_clear(&opened);
#ifndef PROCESS_MEMORY_IS_SANITIZED
    assert_int_equal(process_memory_count(&needle), 0);
#endif
    tpm_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(registers_that_protect_nothing_are_refused),
        cmocka_unit_test(a_changed_register_is_named),
        cmocka_unit_test(a_reboot_into_the_same_state_opens_it),
        cmocka_unit_test(values_can_be_given),
        cmocka_unit_test(a_register_that_changes_in_between_is_noticed),
        cmocka_unit_test(a_register_that_changes_always_ends_in_an_error),
        cmocka_unit_test(another_tpm_does_not_open_it),
        cmocka_unit_test(the_primary_of_before_is_found_again),
        cmocka_unit_test(an_answer_that_is_lost_is_made_up_for),
        cmocka_unit_test(every_cut_and_every_changed_byte_is_refused),
        cmocka_unit_test(every_changed_byte_of_the_object_is_found_by_the_tpm),
        cmocka_unit_test(a_file_that_lies_opens_nothing),
        cmocka_unit_test(there_is_no_way_around_the_policy),
        cmocka_unit_test(the_wires_never_carry_the_secret),
        cmocka_unit_test(registers_that_were_made_up_are_noticed),
        cmocka_unit_test(nothing_of_it_stays_in_memory),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
