#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

static void durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
        bool is_good;
    } cases[] = {
        {"90s", 90000, true},
        {"5m", 300000, true},
        {"1h30m", 5400000, true},
        {"7d", 604800000, true},
        {"250ms", 250, true},
        {"0s", 0, true},
        {"18446744073709551615ms", UINT64_MAX, true},
        {"", 0, false},
        {"90", 0, false},
        {"s", 0, false},
        {"-1s", 0, false},
        {"+1s", 0, false},
        {" 1s", 0, false},
        {"1 s", 0, false},
        {"1s ", 0, false},
        {"1.5h", 0, false},
        {"1y", 0, false},
        {"1hm", 0, false},
        {"18446744073709551616ms", 0, false},
        {"213503982335d", 0, false},
        {"18446744073709551615ms1ms", 0, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t ms = 0;
        struct error err = {0};
        int result = text_parse_duration_ms(cases[i].text, &ms, &err);
        if ((result == 0) != cases[i].is_good || ms != cases[i].ms) {
            fail_msg("\"%s\": result %d, %llu ms, %s", cases[i].text, result,
                     (unsigned long long)ms, err.text);
        }
    }
}

static void durations_come_back_shortest(void **state)
{
    (void)state;
    static const char *const texts[] = {"0s", "1ms", "1s", "1m30s", "1h", "1d1h", "1s500ms"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        uint64_t ms = 0;
        assert_int_equal(text_parse_duration_ms(texts[i], &ms, NULL), 0);
        _cleanup_(free_cleanup) char *text = text_format_duration_ms(ms);
        assert_string_equal(text, texts[i]);
    }
}

static void numbers_are_bounded(void **state)
{
    (void)state;
    uint64_t value = 7;
    struct error err;
    assert_int_equal(text_parse_u64("10", 1, 10, &value, &err), 0);
    assert_int_equal(value, 10);
    static const char *const bad[] = {"", "0", "11", "-1", "1x", " 1", "99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(text_parse_u64(bad[i], 1, 10, &value, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    assert_int_equal(value, 10);
}

static void booleans_are_words(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "yes", "True", "true ", "falsehood", "1"};
    struct error error;
    bool is_set = false;
    assert_int_equal(text_parse_boolean("true", &is_set, &error), 0);
    assert_true(is_set);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(text_parse_boolean(bad[i], &is_set, &error), -1);
        assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        assert_true(is_set);
    }
    assert_int_equal(text_parse_boolean("false", &is_set, &error), 0);
    assert_false(is_set);
}

static void only_printable_utf8_is_printed(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"a\nb\tc\x7f\x1b[31m", "a?b?c??[31m"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xf0\x9f\x94\x91", "\xf0\x9f\x94\x91"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, /* C1: CSI */
        {"a\xe2\x80\xae"
         "b",
         "a???b"}, /* right to left */
        {"\xe2\x81\xa6\xc2\xa0", "???\xc2\xa0"},
        {"\xc3", "?"},           /* cut */
        {"\xc0\xaf", "??"},      /* overlong */
        {"\xed\xa0\x80", "???"}, /* surrogate */
        {"\xf5\x80\x80\x80", "????"} /* beyond Unicode */,
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *text = memory_copy_text(cases[i].in);
        text_make_printable(text);
        assert_string_equal(text, cases[i].out);
    }
    assert_true(text_is_utf8(bytes_of_text("gr\xc3\xbc")));
    assert_false(text_is_utf8(bytes_of_text("\xff")));
    assert_false(text_is_utf8((struct bytes){(const uint8_t *)"a\0b", 3}));
}

static void base64url_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {"AA==", "A", "A-_*", "AA A", "AAAA\n", "AB"};
    _cleanup_(buffer_clear) struct buffer decoded = {0};
    assert_int_equal(text_base64url_decode("_-8", 3, &decoded, NULL), 0);
    assert_int_equal(decoded.size, 2);
    assert_memory_equal(decoded.data, "\xff\xef", 2);
    _cleanup_(free_cleanup) char *again = text_base64url(buffer_bytes(&decoded));
    assert_string_equal(again, "_-8");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(text_base64url_decode(bad[i], strlen(bad[i]), &decoded, NULL), -1);
        assert_int_equal(decoded.size, 2);
    }
}

static void lists_are_sets(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list list = {0};
    _cleanup_(text_list_clear) struct text_list copy = {0};
    static const char *const items[] = {"b", "a", "b", "c", "a"};
    text_list_sort_unique(&list);
    assert_false(text_list_has_sorted(&list, "a"));
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        text_list_add(&list, items[i]);
    }
    text_list_sort_unique(&list);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0], "a");
    assert_true(text_list_has_sorted(&list, "c"));
    assert_false(text_list_has_sorted(&list, "d"));
    text_list_copy(&copy, &list);
    assert_true(text_list_is_equal(&list, &copy));
    text_list_add(&copy, "d");
    assert_false(text_list_is_equal(&list, &copy));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),  cmocka_unit_test(durations_come_back_shortest),
        cmocka_unit_test(numbers_are_bounded), cmocka_unit_test(only_printable_utf8_is_printed),
        cmocka_unit_test(base64url_is_strict), cmocka_unit_test(lists_are_sets),
        cmocka_unit_test(booleans_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
