/* Counters in NV, and files that are void once their counter has gone on. */
#include "tests/unit/attest_host/sealing.h"

#include "pkcs11/tpm/tpm_nv.h"
#include "pkcs11/tpm/tpm_nv_counter.h"

enum { INDEX = COUNTER_INDEX_DEFAULT, OTHER_INDEX = 0x01800010 };

static const TSS2L_SYS_AUTH_COMMAND empty_password = {.count = 1,
                                                      .auths[0].sessionHandle = TPM2_RS_PW};

static uint64_t open_counter(const char *tcti, uint32_t index, bool is_new)
{
    struct error err;
    uint64_t value = 0;
    bool was_new = false;
    struct tpm_device *device = tpms_open(tcti);
    assert_done(counter_open(device, index, &value, &was_new, &err), err);
    assert_int_equal(was_new, is_new);
    tpm_device_close(device);
    device_assert_empty(tcti);
    return value;
}

static uint64_t step(const char *tcti, uint32_t index)
{
    struct error err;
    uint64_t value = 0;
    struct tpm_device *device = tpms_open(tcti);
    assert_done(counter_step(device, index, &value, &err), err);
    tpm_device_close(device);
    return value;
}

static struct tpm_transport raw(const char *tcti)
{
    struct tpm_transport transport = {.conf = memory_copy_text(tcti)};
    assert_int_equal(tpm_transport_open(&transport), 0);
    return transport;
}

static void raw_close(struct tpm_transport *transport)
{
    tpm_transport_close(transport);
    free(transport->conf);
}

static void undefine(const char *tcti, uint32_t index)
{
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    struct tpm_transport transport = raw(tcti);
    assert_int_equal(
        Tss2_Sys_NV_UndefineSpace(transport.sys, TPM2_RH_OWNER, index, &empty_password, &answer),
        0);
    raw_close(&transport);
}

static void define(const char *tcti, uint32_t index, TPMA_NV attributes)
{
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    const TPM2B_AUTH no_auth = {0};
    TPM2B_NV_PUBLIC public = {
        .nvPublic = {
            .nvIndex = index, .nameAlg = TPM2_ALG_SHA256, .attributes = attributes, .dataSize = 8}};
    struct tpm_transport transport = raw(tcti);
    assert_int_equal(Tss2_Sys_NV_DefineSpace(transport.sys, TPM2_RH_OWNER, &empty_password,
                                             &no_auth, &public, &answer),
                     0);
    raw_close(&transport);
}

static void set_owner_password(const char *tcti, const char *from, const char *to)
{
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TSS2L_SYS_AUTH_COMMAND auth = empty_password;
    TPM2B_AUTH password = {.size = (uint16_t)strlen(to)};
    memcpy(password.buffer, to, password.size);
    auth.auths[0].hmac.size = (uint16_t)strlen(from);
    memcpy(auth.auths[0].hmac.buffer, from, strlen(from));
    struct tpm_transport transport = raw(tcti);
    assert_int_equal(
        Tss2_Sys_HierarchyChangeAuth(transport.sys, TPM2_RH_OWNER, &auth, &password, &answer), 0);
    raw_close(&transport);
}

static void it_only_goes_up(void **state)
{
    struct swtpm *swtpm = *state;
    uint64_t first = open_counter(swtpm->tcti, INDEX, true);
    assert_int_equal(open_counter(swtpm->tcti, INDEX, false), first);
    assert_int_equal(step(swtpm->tcti, INDEX), first + 1);
    assert_int_equal(open_counter(swtpm->tcti, INDEX, false), first + 1);
    tpms_reboot(swtpm);
    assert_int_equal(open_counter(swtpm->tcti, INDEX, false), first + 1);
    assert_int_equal(step(swtpm->tcti, INDEX), first + 2);
    undefine(swtpm->tcti, INDEX);
    assert_true(open_counter(swtpm->tcti, INDEX, true) > first + 2);
    undefine(swtpm->tcti, INDEX);
}

static void expect(struct tpm_device *device, uint32_t index, bool must_step, enum error_code code)
{
    struct error err = {.text = ""};
    uint64_t value = 0;
    bool is_new = false;
    int result = must_step ? counter_step(device, index, &value, &err)
                           : counter_open(device, index, &value, &is_new, &err);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, code);
}

static void what_is_no_counter_of_ours_is_left_alone(void **state)
{
    static const TPMA_NV attributes[] = {
        TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA,
        TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE |
            TPMA_NV_NO_DA | (TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT),
        TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD |
            (TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT),
    };
    const struct swtpm *swtpm = *state;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
        define(swtpm->tcti, OTHER_INDEX, attributes[i]);
        expect(device, OTHER_INDEX, false, ERROR_FAILED_PRECONDITION);
        expect(device, OTHER_INDEX, true, ERROR_FAILED_PRECONDITION);
        undefine(swtpm->tcti, OTHER_INDEX);
    }
    expect(device, OTHER_INDEX, true, ERROR_NOT_FOUND);
    expect(device, COUNTER_INDEX_FIRST - 1, false, ERROR_INVALID_ARGUMENT);
    expect(device, COUNTER_INDEX_LAST + 1, false, ERROR_INVALID_ARGUMENT);
    tpm_device_close(device);
    device_assert_empty(swtpm->tcti);
}

/* Power went between making it and stepping it the first time. */
static void one_that_was_made_by_half_is_finished(void **state)
{
    const struct swtpm *swtpm = *state;
    TPMS_NV_PUBLIC public;
    tpm_nv_counter_template(OTHER_INDEX, &public);
    define(swtpm->tcti, OTHER_INDEX, public.attributes & ~(TPMA_NV)TPMA_NV_WRITTEN);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    expect(device, OTHER_INDEX, true, ERROR_NOT_FOUND);
    tpm_device_close(device);
    uint64_t value = open_counter(swtpm->tcti, OTHER_INDEX, true);
    assert_int_equal(open_counter(swtpm->tcti, OTHER_INDEX, false), value);
    undefine(swtpm->tcti, OTHER_INDEX);
}

static void an_owner_with_a_password_is_told_of(void **state)
{
    const struct swtpm *swtpm = *state;
    struct error err;
    uint64_t value = 0;
    bool is_new = false;
    struct tpm_device *device = tpms_open(swtpm->tcti);
    set_owner_password(swtpm->tcti, "", "secret");
    assert_int_equal(counter_open(device, OTHER_INDEX, &value, &is_new, &err), -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "password"));
    set_owner_password(swtpm->tcti, "secret", "");
    assert_done(counter_open(device, OTHER_INDEX, &value, &is_new, &err), err);
    /* It can still be read and sealed to, though not stepped. */
    set_owner_password(swtpm->tcti, "", "secret");
    assert_done(counter_open(device, OTHER_INDEX, &value, &is_new, &err), err);
    expect(device, OTHER_INDEX, true, ERROR_PERMISSION_DENIED);
    set_owner_password(swtpm->tcti, "secret", "");
    tpm_device_close(device);
    undefine(swtpm->tcti, OTHER_INDEX);
}

/* The TPM did it and its answer was lost: once more would void what was sealed for the next step.
 */
static bool has_lost;
static void lose_answer(struct bus *bus, const struct bus_message *command,
                        struct bus_message *answer)
{
    (void)bus;
    if (bus_code(command) == TPM2_CC_NV_Increment && !has_lost) {
        has_lost = true;
        answer->size = 0;
    }
}

static void a_lost_answer_does_not_step_twice(void **state)
{
    const struct swtpm *swtpm = *state;
    struct bus bus;
    struct error err;
    uint64_t value = 0;
    uint64_t before = open_counter(swtpm->tcti, OTHER_INDEX, true);
    bus_new(&bus, swtpm);
    struct tpm_device *device = tpms_open(bus.tcti);
    has_lost = false;
    bus_set(&bus, NULL, lose_answer, NULL);
    assert_done(counter_step(device, OTHER_INDEX, &value, &err), err);
    assert_true(has_lost);
    assert_int_equal(value, before + 1);
    bus_set(&bus, NULL, NULL, NULL);
    tpm_device_close(device);
    bus_free(&bus);
    undefine(swtpm->tcti, OTHER_INDEX);
}

static struct seal_request counted(uint32_t index, bool is_for_next_step)
{
    struct seal_request request = sealing_request("sha256:0,7");
    request.counter_index = index;
    request.is_for_next_step = is_for_next_step;
    return request;
}

static void an_old_file_is_void_after_a_step(void **state)
{
    struct swtpm *swtpm = *state;
    struct swtpm other;
    _cleanup_(buffer_clear) struct buffer old = {0};
    _cleanup_(buffer_clear) struct buffer new = {0};
    const struct seal_request now = counted(INDEX, false);
    const struct seal_request next = counted(INDEX, true);
    tpms_reboot(swtpm);
    sealing_make(swtpm->tcti, &now, &old);
    sealing_assert_opens(swtpm->tcti, &old);
    sealing_make(swtpm->tcti, &next, &new);
    sealing_assert_opens(swtpm->tcti, &old);
    sealing_assert_refused(swtpm->tcti, &new, "not in force yet");
    (void)step(swtpm->tcti, INDEX);
    sealing_assert_refused(swtpm->tcti, &old, "it is an old one");
    sealing_assert_opens(swtpm->tcti, &new);
    tpms_reboot(swtpm);
    sealing_assert_refused(swtpm->tcti, &old, "it is an old one");
    sealing_assert_opens(swtpm->tcti, &new);
    tpms_extend(swtpm->tcti, 7);
    sealing_assert_refused(swtpm->tcti, &new, "sha256:7 changed");
    tpms_reboot(swtpm);
    swtpm_new(&other);
    sealing_assert_refused(other.tcti, &new, "another TPM");
    swtpm_remove(&other);
    undefine(swtpm->tcti, INDEX);
    sealing_assert_refused(swtpm->tcti, &new, "counter");
    (void)open_counter(swtpm->tcti, INDEX, true);
    sealing_assert_refused(swtpm->tcti, &new, "it is an old one");
    undefine(swtpm->tcti, INDEX);
}

/* An index that holds the right number but is no counter. */
static void a_made_up_counter_opens_nothing(void **state)
{
    const struct swtpm *swtpm = *state;
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    TPM2B_MAX_NV_BUFFER data = {.size = 8};
    _cleanup_(buffer_clear) struct buffer text = {0};
    const struct seal_request request = counted(INDEX, false);
    sealing_make(swtpm->tcti, &request, &text);
    (void)step(swtpm->tcti, INDEX);
    undefine(swtpm->tcti, INDEX);
    define(swtpm->tcti, INDEX,
           TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    for (size_t i = 0; i < 8; i++) {
        data.buffer[i] = (uint8_t)(file->counter.value >> (56 - 8 * i));
    }
    struct tpm_transport transport = raw(swtpm->tcti);
    assert_int_equal(
        Tss2_Sys_NV_Write(transport.sys, TPM2_RH_OWNER, INDEX, &empty_password, &data, 0, &answer),
        0);
    raw_close(&transport);
    sealing_assert_refused(swtpm->tcti, &text, "the index is used for something else");
    undefine(swtpm->tcti, INDEX);
}

/* Whoever writes the counter of now into an old file, or none. */
static void a_file_that_lies_about_its_counter_opens_nothing(void **state)
{
    const struct swtpm *swtpm = *state;
    _cleanup_(buffer_clear) struct buffer text = {0};
    const struct seal_request request = counted(INDEX, false);
    sealing_make(swtpm->tcti, &request, &text);
    (void)step(swtpm->tcti, INDEX);
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = sealing_decode(&text);
    struct tpm_device *device = tpms_open(swtpm->tcti);
    assert_int_equal(sealing_try_changed(device, file), ERROR_PERMISSION_DENIED);
    file->counter.value++;
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    file->counter = (struct seal_counter){0};
    assert_int_equal(sealing_try_changed(device, file), ERROR_DATA_LOSS);
    tpm_device_close(device);
    undefine(swtpm->tcti, INDEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_only_goes_up),
        cmocka_unit_test(what_is_no_counter_of_ours_is_left_alone),
        cmocka_unit_test(one_that_was_made_by_half_is_finished),
        cmocka_unit_test(an_owner_with_a_password_is_told_of),
        cmocka_unit_test(a_lost_answer_does_not_step_twice),
        cmocka_unit_test(an_old_file_is_void_after_a_step),
        cmocka_unit_test(a_made_up_counter_opens_nothing),
        cmocka_unit_test(a_file_that_lies_about_its_counter_opens_nothing),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
