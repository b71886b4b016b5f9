#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/rpc/status.h"

static const struct {
    const char *text;
    const char *encoded;
} texts[] = {
    {"", ""},
    {"no identity issued", "no identity issued"},
    {"100%", "100%25"},
    {"line\nline\ttab", "line%0Aline%09tab"},
    {"f\xc3\xbcr", "f%C3%BCr"},
    {"\x7f", "%7F"},
};

static void test_text_goes_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        _cleanup_(buffer_clear) struct buffer encoded = {0};
        _cleanup_(buffer_clear) struct buffer decoded = {0};
        rpc_status_encode_text(texts[i].text, &encoded);
        assert_true(bytes_is_equal(buffer_bytes(&encoded), bytes_of_text(texts[i].encoded)));
        rpc_status_decode_text(buffer_bytes(&encoded), &decoded);
        assert_true(bytes_is_equal(buffer_bytes(&decoded), bytes_of_text(texts[i].text)));
    }
}

static const struct {
    const char *encoded;
    const char *text;
} wrong_texts[] = {
    {"50%", "50%"}, {"%4", "%4"},     {"%zz", "%zz"},
    {"%%41", "%A"}, {"%4%41", "%4A"}, {"%c3%BC", "\xc3\xbc"},
};

static void test_a_wrong_escape_is_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong_texts); i++) {
        _cleanup_(buffer_clear) struct buffer decoded = {0};
        rpc_status_decode_text(bytes_of_text(wrong_texts[i].encoded), &decoded);
        assert_true(bytes_is_equal(buffer_bytes(&decoded), bytes_of_text(wrong_texts[i].text)));
    }
}

static const struct {
    const char *value;
    enum error_code code;
} codes[] = {
    {"0", ERROR_OK},
    {"7", ERROR_PERMISSION_DENIED},
    {"16", ERROR_UNAUTHENTICATED},
    {"17", ERROR_UNKNOWN},
    {"", ERROR_UNKNOWN},
    {"-1", ERROR_UNKNOWN},
    {"999", ERROR_UNKNOWN},
    {"0x", ERROR_UNKNOWN},
};

static void test_codes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        assert_int_equal(rpc_status_parse_code(bytes_of_text(codes[i].value)), codes[i].code);
    }
    assert_int_equal(rpc_status_of_http(404), ERROR_UNIMPLEMENTED);
    assert_int_equal(rpc_status_of_http(503), ERROR_UNAVAILABLE);
    assert_int_equal(rpc_status_of_http(418), ERROR_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_goes_there_and_back),
        cmocka_unit_test(test_a_wrong_escape_is_kept),
        cmocka_unit_test(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
