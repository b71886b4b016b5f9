/* A PIN that is sealed to the TPM, as a keystore asks for it at each login. */
#include "tests/unit/attest_host/sealing.h"

#include "agent/pin.h"
#include "lib/base/file.h"

static char *write_sealed(const struct swtpm *swtpm, const char *registers)
{
    struct error err;
    char *path = file_join(swtpm->folder, "sealed");
    _cleanup_(buffer_clear) struct buffer file = {0};
    const struct seal_request request = sealing_request(registers);
    sealing_make(swtpm->tcti, &request, &file);
    assert_done(file_write_atomic(path, buffer_bytes(&file), 0600, &err), err);
    return path;
}

static void it_comes_anew_each_time(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    tpms_reboot(swtpm);
    _cleanup_(free_cleanup) char *path = write_sealed(swtpm, "sha256:7");
    for (unsigned i = 0; i < 3; i++) {
        struct secret pin = {0};
        assert_done(pin_read_sealed(swtpm->tcti, path, 256, &pin, &err), err);
        assert_true(bytes_is_equal(secret_bytes(&pin), bytes_of_text(sealing_pin)));
        secret_clear(&pin);
        tpms_reboot(swtpm);
    }
    tpms_extend(swtpm->tcti, 7);
    struct secret pin = {0};
    assert_int_equal(pin_read_sealed(swtpm->tcti, path, 256, &pin, &err), -1);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "sha256:7 changed"));
    assert_null(pin.data);
    device_assert_empty(swtpm->tcti);
}

static void what_cannot_be_a_pin_is_refused(void **state)
{
    struct swtpm *swtpm = *state;
    struct error err;
    struct secret pin = {0};
    tpms_reboot(swtpm);
    _cleanup_(free_cleanup) char *path = write_sealed(swtpm, "sha256:7");
    assert_int_equal(pin_read_sealed(swtpm->tcti, path, strlen(sealing_pin) - 1, &pin, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    assert_null(strstr(err.text, sealing_pin));
    assert_int_equal(pin_read_sealed(swtpm->tcti, "/nowhere/sealed", 256, &pin, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_done(file_write_atomic(path, bytes_of_text("7531"), 0600, &err), err);
    assert_int_equal(pin_read_sealed(swtpm->tcti, path, 256, &pin, &err), -1);
    assert_int_equal(err.code, ERROR_DATA_LOSS);
    assert_null(strstr(err.text, "7531"));
    assert_int_equal(pin_read_sealed("swtpm:path=/nowhere/sock", path, 256, &pin, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_null(pin.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_anew_each_time),
        cmocka_unit_test(what_cannot_be_a_pin_is_refused),
    };
    return cmocka_run_group_tests(tests, device_setup, device_teardown);
}
