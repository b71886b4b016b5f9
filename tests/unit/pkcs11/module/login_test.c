/* Choosing a token and logging in to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pkcs11/module/fixture.h"

static int setup(void **state)
{
    (void)fixture_setup(state);
    fixture_make_token("twin");
    fixture_make_token("twin");
    return 0;
}

static void test_token_is_chosen(void **unused)
{
    (void)unused;
    static const struct {
        const char *token;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"signet", ERROR_OK, NULL},
        {"pkcs11:token=signet", ERROR_OK, NULL},
        {"pkcs11:token=signet;manufacturer=SoftHSM%20project", ERROR_OK, NULL},
        {"absent", ERROR_UNAVAILABLE, "\"signet\" (serial "},
        {"absent", ERROR_UNAVAILABLE, "softhsm2-util --init-token"},
        {"sign", ERROR_UNAVAILABLE, "not there"},
        {"", ERROR_UNAVAILABLE, "not initialized"},
        {"twin", ERROR_FAILED_PRECONDITION, "2 match: \"twin\" (serial "},
        {"pkcs11:token=twin", ERROR_FAILED_PRECONDITION, "pkcs11:serial="},
        {"pkcs11:", ERROR_FAILED_PRECONDITION, "3 match"},
        {"pkcs11:token=absent", ERROR_UNAVAILABLE, "not there"},
        {"pkcs11:token=signet;slot-id=4711", ERROR_UNAVAILABLE, "not there"},
        {"pkcs11:token=%zz", ERROR_INVALID_ARGUMENT, "URI"},
        {"pkcs11:token=signet;colour=red", ERROR_INVALID_ARGUMENT, "not known"},
        {"pkcs11:token=signet?pin-value=1234", ERROR_INVALID_ARGUMENT, "PIN"},
        {"pkcs11:token=signet?pin-source=file:/x", ERROR_INVALID_ARGUMENT, "PIN"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct module_config config = fixture_config();
        config.token = cases[i].token;
        if (cases[i].code == ERROR_OK) {
            keystore_driver_module.close(fixture_open(&config));
        } else {
            struct error err = fixture_open_error(&config);
            assert_contains(err.text, cases[i].text);
            assert_int_equal(err.code, cases[i].code);
        }
    }
}

static void test_module_is_loaded(void **unused)
{
    (void)unused;
    static const struct {
        const char *module;
        enum error_code code;
        const char *text;
    } cases[] = {
        {SOFTHSM, ERROR_OK, NULL},
        {"softhsm2", ERROR_OK, NULL}, /* as p11-kit knows it */
        {"/no/such/module.so", ERROR_NOT_FOUND, "install it"},
        {"nosuchmodule", ERROR_NOT_FOUND, "softhsm2"},
        {"/etc/passwd", ERROR_FAILED_PRECONDITION, "/etc/passwd"},
        {"/usr/lib/x86_64-linux-gnu/libcrypto.so.3", ERROR_FAILED_PRECONDITION,
         "C_GetFunctionList"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct module_config config = fixture_config();
        config.module = cases[i].module;
        if (cases[i].code == ERROR_OK) {
            keystore_driver_module.close(fixture_open(&config));
        } else {
            struct error err = fixture_open_error(&config);
            assert_contains(err.text, cases[i].text);
            assert_int_equal(err.code, cases[i].code);
        }
    }
}

static void test_pin_file(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    config.pin_path = NULL;
    assert_contains(fixture_open_error(&config).text, "it wants a PIN and none is configured");

    _cleanup_(free_cleanup) char *missing = file_join(fixture.folder, "missing");
    config.pin_path = missing;
    struct error err = fixture_open_error(&config);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_contains(err.text, missing);

    config.pin_path = fixture.pin_path;
    assert_int_equal(chmod(fixture.pin_path, 0644), 0);
    err = fixture_open_error(&config);
    assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
    assert_contains(err.text, "chmod 0600");
    assert_int_equal(chmod(fixture.pin_path, 0600), 0);

    fixture_write("pin", "\n");
    assert_contains(fixture_open_error(&config).text, "length");
    fixture_write("pin", "123");
    assert_contains(fixture_open_error(&config).text, "length");
    fixture_write("pin", fixture.pin);
    keystore_driver_module.close(fixture_open(&config));
}

/* The token sets CKF_USER_PIN_COUNT_LOW at a wrong PIN and clears it at a right one. */
static CK_FLAGS token_flags(void)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_SIZE(slots);
    CK_FLAGS flags = 0;
    CK_FUNCTION_LIST *functions = p11_kit_module_load(SOFTHSM, 0);
    assert_int_equal(p11_kit_module_initialize(functions), CKR_OK);
    assert_int_equal(functions->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        assert_int_equal(functions->C_GetTokenInfo(slots[i], &info), CKR_OK);
        if (memcmp(info.label, "signet ", 7) == 0) {
            flags = info.flags;
        }
    }
    assert_int_equal(p11_kit_module_finalize(functions), CKR_OK);
    p11_kit_module_release(functions);
    return flags;
}

/* A right PIN changes the flag that a wrong one sets: shows whether one was tried in between. */
static void forget_wrong_pin(void)
{
    struct module_config config = fixture_config();
    fixture_write("pin", fixture.pin);
    keystore_driver_module.close(fixture_open(&config));
    assert_false(token_flags() & CKF_USER_PIN_COUNT_LOW);
}

static void test_wrong_pin_is_tried_once(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    fixture_write("pin", "wrong-pin-1");
    struct error err = fixture_open_error(&config);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_contains(err.text, "the token says that it is wrong");
    assert_contains(err.text, fixture.pin_path);
    assert_null(strstr(err.text, "wrong-pin-1"));
    assert_true(token_flags() & CKF_USER_PIN_COUNT_LOW);

    forget_wrong_pin();
    for (int i = 0; i < 3; i++) {
        /* With and without a newline, in a new file: it is the PIN that counts. */
        fixture_write("pin", i == 1 ? "wrong-pin-1\n" : "wrong-pin-1");
        err = fixture_open_error(&config);
        assert_contains(err.text, "refused this PIN before");
        assert_contains(err.text, "put the right PIN into the file");
    }
    assert_false(token_flags() & CKF_USER_PIN_COUNT_LOW);

    fixture_write("pin", "wrong-pin-2");
    assert_contains(fixture_open_error(&config).text, "says that it is wrong");
    forget_wrong_pin();
}

static void test_last_try_is_not_taken(void **unused)
{
    (void)unused;
    struct module_config config = fixture_config();
    config.module = FAULTY_MODULE;
    fixture_write("control", "* pin-final\n");
    struct error err = fixture_open_error(&config);
    assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
    assert_contains(err.text, "one more wrong PIN locks the token");
    (void)unlink(fixture.control_path);
    keystore_driver_module.close(fixture_open(&config));
}

static void test_login_errors_are_clear(void **unused)
{
    (void)unused;
    static const struct {
        const char *rule;
        const char *text;
        enum error_code code;
    } cases[] = {
        {"C_Login fail 0xa4\n", "security officer", ERROR_FAILED_PRECONDITION}, /* PIN_LOCKED */
        {"C_Login fail 0xa3\n", "set a new PIN", ERROR_FAILED_PRECONDITION},    /* PIN_EXPIRED */
        {"C_Login fail 0x102\n", "set the token's user PIN", ERROR_FAILED_PRECONDITION},
        {"C_Initialize fail 0x5\n", "C_Initialize of module", ERROR_ABORTED},
        {"C_GetSlotList fail 0x30\n", "C_GetSlotList of module", ERROR_ABORTED},
        {"C_OpenSession fail 0xb1\n", "close other programs", ERROR_RESOURCE_EXHAUSTED},
    };
    struct module_config config = fixture_config();
    config.module = FAULTY_MODULE;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fixture_write("control", cases[i].rule);
        struct error err = fixture_open_error(&config);
        assert_contains(err.text, cases[i].text);
        assert_int_equal(err.code, cases[i].code);
    }
    (void)unlink(fixture.control_path);
    keystore_driver_module.close(fixture_open(&config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_is_chosen),
        cmocka_unit_test(test_module_is_loaded),
        cmocka_unit_test(test_pin_file),
        cmocka_unit_test(test_wrong_pin_is_tried_once),
        cmocka_unit_test(test_last_try_is_not_taken),
        cmocka_unit_test(test_login_errors_are_clear),
    };
    return cmocka_run_group_tests(tests, setup, fixture_teardown);
}
