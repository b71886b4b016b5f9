#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/policy/outside.h"
#include "lib/base/memory.h"

static void tables(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool is_answer, is_allowed;
        const char *text; /* the reason, or part of the error */
    } cases[] = {
        {"{\"result\":true}", true, true, NULL},
        {" {\"result\" : false } \n", true, false, NULL},
        {"{\"result\":{\"allow\":true}}", true, true, NULL},
        {"{\"result\":{\"allow\":false,\"reason\":\"night\"}}", true, false, "night"},
        {"{\"result\":{\"reason\":\"\",\"allow\":false}}", true, false, ""},
        {"{\"result\":{\"reason\":\"a\\u0001b\\u00e9\",\"allow\":false}}", true, false,
         "a?b\xc3\xa9"},
        {"{\"decision_id\":\"1\",\"warning\":{\"code\":\"x\"},\"result\":true}", true, true, NULL},
        {"", false, false, "not JSON"},
        {"{}", false, false, "has no result"},
        {"[]", false, false, "has no result"},
        {"true", false, false, "not JSON"},
        {"\"result\"", false, false, "not JSON"},
        {"{\"result\":null}", false, false, "neither"},
        {"{\"result\":1}", false, false, "neither"},
        {"{\"result\":\"true\"}", false, false, "neither"},
        {"{\"result\":[true]}", false, false, "neither"},
        {"{\"result\":{}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":1}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":\"true\"}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":null,\"reason\":\"x\"}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":true,\"reason\":1}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":true,\"reason\":null}}", false, false, "an object, but not"},
        {"{\"result\":{\"allow\":true,\"deny\":true}}", false, false, "an object, but not"},
        {"{\"result\":{\"reason\":\"x\"}}", false, false, "an object, but not"},
        {"{\"result\":{\"Allow\":true}}", false, false, "an object, but not"},
        {"{\"Result\":true}", false, false, "has no result"},
        {"{\"result\":true,\"result\":true}", false, false, "not JSON"},
        {"{\"result\":{\"allow\":false,\"allow\":true}}", false, false, "not JSON"},
        {"{\"result\":true}x", false, false, "not JSON"},
        {"{\"result\":true}{\"result\":true}", false, false, "not JSON"},
        {"{\"result\":true", false, false, "not JSON"},
        {"{\"result\":TRUE}", false, false, "not JSON"},
        {"{'result':true}", false, false, "not JSON"},
        {"{\"result\":{\"allow\":true,\"reason\":\"\\u0000\"}}", false, false, "not JSON"},
        {"{\"result\":{\"allow\":true,\"reason\":\"\xff\"}}", false, false, "not JSON"},
        {"\xef\xbb\xbf{\"result\":true}", false, false, "not JSON"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bool is_allowed = false;
        _cleanup_(free_cleanup) char *reason = NULL;
        struct error error = {0};
        int result = outside_parse(bytes_of_text(cases[i].body), &is_allowed, &reason, &error);
        const char *text = result == 0 ? reason : error.text;
        if ((result == 0) != cases[i].is_answer || is_allowed != cases[i].is_allowed ||
            !text != !cases[i].text || (text && result == 0 && strcmp(text, cases[i].text) != 0) ||
            (text && result < 0 && !strstr(text, cases[i].text))) {
            fail_msg("%s: %d %d '%s'", cases[i].body, result, is_allowed, text ? text : "");
        }
    }
}

static int parse_repeated(const char *before, const char *unit, size_t count, const char *after,
                          char **ret_reason)
{
    bool is_allowed = false;
    struct error error;
    _cleanup_(buffer_clear) struct buffer body = {0};
    buffer_append_text(&body, before);
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(&body, unit);
    }
    buffer_append_text(&body, after);
    return outside_parse(buffer_bytes(&body), &is_allowed, ret_reason, &error);
}

static void sizes(void **state)
{
    (void)state;
    char *reason = NULL;
    struct error error;
    bool is_allowed = false;
    assert_int_equal(outside_parse((struct bytes){0}, &is_allowed, &reason, &error), -1);
    /* Deep, and as long as an answer may be. */
    assert_int_equal(parse_repeated("{\"result\":", "[", 65000, "", &reason), -1);
    assert_int_equal(parse_repeated("{\"a\":", "{\"a\":", 13000, "", &reason), -1);
    assert_int_equal(parse_repeated("{\"result\":true", " ", 65000, "}", &reason), 0);
    assert_int_equal(parse_repeated("{\"result\":true", " ", 66000, "}", &reason), -1);
    /* A reason is cut. */
    assert_int_equal(parse_repeated("{\"result\":{\"allow\":false,\"reason\":\"", "\xc3\xa9", 20000,
                                    "\"}}", &reason),
                     0);
    assert_int_equal(strlen(reason), 256);
    free(reason);
    assert_int_equal(parse_repeated("{\"result\":{\"allow\":false,\"reason\":\"x", "\xc3\xa9",
                                    20000, "\"}}", &reason),
                     0);
    assert_true(text_is_utf8(bytes_of_text(reason)));
    free(reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables), cmocka_unit_test(sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
