#include "client/nonce.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "tests/unit/cmocka_all.h"

static void both_forms_stand_for_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"0011223344556677", "0011223344556677"},
        {"aABBccddEEff0011", "aabbccddeeff0011"},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
         "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
        {"base64:ABEiM0RVZnc=", "0011223344556677"},
        {"base64:ABEiM0RVZnc", "0011223344556677"},
        {"base64:+/+/+/+/+/+/", "fbffbffbffbffbffbf"},
        {"base64:-_-_-_-_-_-_", "fbffbffbffbffbffbf"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer nonce = {0};
        struct error error = {0};
        assert_int_equal(nonce_parse(cases[i].text, &nonce, &error), 0);
        _cleanup_(free_cleanup) char *hex = text_hex(buffer_bytes(&nonce));
        assert_string_equal(hex, cases[i].hex);
    }
}

static void another_form_is_refused_and_says_how_to_make_one(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "0",
        "00112233445566",    /* 7 bytes */
        "001122334455667",   /* an odd number of digits */
        "0011223344556677 ", /* white space */
        "00:11:22:33:44:55:66:77",
        "hello world of mine",
        "0x0011223344556677",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00",
        "base64:",
        "base64:ABEiM0RVZg==",
        "base64:ABEiM0RVZnc==",
        "base64:ABEiM0RV Znc=",
        "base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "base64:+_+_+_+_+_+_",
        "base32:AAAAAAAAAAAAAAAA",
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer nonce = {0};
        struct error error = {0};
        assert_int_equal(nonce_parse(cases[i], &nonce, &error), -1);
        assert_int_equal(error_exit_code(error.code), 2);
        assert_non_null(strstr(error.text, "openssl rand -hex"));
        assert_int_equal(nonce.size, 0);
    }
}

static void the_last_of_several_options_counts(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer nonce = {0};
    struct error error = {0};
    assert_int_equal(nonce_set(&nonce, "0011223344556677", &error), 0);
    assert_int_equal(nonce_set(&nonce, "8899aabbccddeeff", &error), 0);
    assert_int_equal(nonce.size, 8);
    assert_int_equal(nonce.data[0], 0x88);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_stand_for_bytes),
        cmocka_unit_test(another_form_is_refused_and_says_how_to_make_one),
        cmocka_unit_test(the_last_of_several_options_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
