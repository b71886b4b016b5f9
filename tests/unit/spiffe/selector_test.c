#include "agent/selector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/base/memory.h"

static const char sha256[] = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

/* words are in the error; NULL: accepted. */
static const struct {
    const char *selector, *words;
} cases[] = {
    {"unix:uid:0", NULL},
    {"unix:uid:1000", NULL},
    {"unix:uid:4294967294", NULL},
    {"unix:user:web server", NULL},
    {"unix:user:CORP\\j\xc3\xb6rg", NULL},
    {"unix:gid:1000", NULL},
    {"unix:group:www-data", NULL},
    {"unix:supplementary_gid:27", NULL},
    {"unix:supplementary_group:sudo", NULL},
    {"unix:path:/usr/bin/x", NULL},
    {"unix:path:/a b/\xc3\xa4:x", NULL},
    {"unix:path:/x/.../.y", NULL},
    {"", "no type"},
    {"unix", "no type"},
    {":uid:1", "no type"},
    {"unix:", "no value"},
    {"k8s:", "no value"},
    {"k8s:ns:a", "no attestor"},
    {"Unix:uid:1", "no attestor"},
    {"unix:pid:1", "but no \"pid\""},
    {"unix:uid", "no value"},
    {"unix:uid:", "no value"},
    {"unix:uidx:1", "but no \"uidx\""},
    {"unix::1", "but no \"\""},
    {"unix:uid:root", "not a whole number"},
    {"unix:uid:-1", "not a whole number"},
    {"unix:uid:+1", "not a whole number"},
    {"unix:uid: 1", "not a whole number"},
    {"unix:uid:1 ", "not a whole number"},
    {"unix:uid:01", "leading zero"},
    {"unix:uid:4294967295", "not a whole number"},
    {"unix:gid:99999999999999999999", "not a whole number"},
    {"unix:supplementary_gid:0x1", "not a whole number"},
    {"unix:user:a:b", "a name has no"},
    {"unix:group:a,b", "a name has no"},
    {"unix:path:usr/bin/x", "absolute"},
    {"unix:path:/", "empty part"},
    {"unix:path:/usr/", "empty part"},
    {"unix:path://usr", "empty part"},
    {"unix:path:/usr/./x", "\".\""},
    {"unix:path:/usr/../x", "\"..\""},
    {"unix:path:/usr/..", "\"..\""},
    {"unix:path:/usr/x (deleted)", "never reported"},
    {"unix:sha256:3a6e", "64 lower-case"},
    {"unix:fsverity:", "no value"},
    {"unix:fsverity:3a6e", "\"sha512:\" and 128"},
    {"unix:fsverity:sha256:3a6e", "and 64"},
    {"unix:fsverity:sha512:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
     "and 128"},
    {"unix:fsverity:sha256:3A6EB0790F39AC87C94F3856B2DD2C5D110E6811602261A9A923D3BB23ADC8B7",
     "lower-case"},
    {"unix:sha256:3A6EB0790F39AC87C94F3856B2DD2C5D110E6811602261A9A923D3BB23ADC8B7",
     "64 lower-case"},
    {"unix:path:/a\nb", "control characters"},
    {"unix:path:/a\x7f", "control characters"},
    {"unix:path:/\xff", "not UTF-8"},
};

static void checks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        int result = selector_check(cases[i].selector, true, &err);
        bool is_right = cases[i].words ? result < 0 && strstr(err.text, cases[i].words) &&
                                             strncmp(err.text, "selector \"", 10) == 0
                                       : result == 0;
        if (!is_right) {
            fail_msg("%s: %s", cases[i].selector, result < 0 ? err.text : "accepted");
        }
    }
}

static void more_checks(void **state)
{
    (void)state;
    struct error err = {0};
    _cleanup_(free_cleanup) char *hash = text_format("unix:sha256:%s", sha256);
    assert_int_equal(selector_check(hash, true, &err), 0);
    _cleanup_(free_cleanup) char *verity = text_format("unix:fsverity:sha256:%s", sha256);
    assert_int_equal(selector_check(verity, true, &err), 0);
    _cleanup_(free_cleanup) char *longer = text_format("unix:fsverity:sha512:%s%s", sha256, sha256);
    assert_int_equal(selector_check(longer, true, &err), 0);
    assert_int_equal(selector_check("k8s:ns:a", false, &err), 0);
    assert_int_equal(selector_check("k8s:", false, &err), -1);
    assert_int_equal(selector_check("unix:pid:1", false, &err), -1);
    char path[SELECTOR_MAX_BYTES + 2] = "unix:path:/";
    memset(path + 11, 'a', SELECTOR_MAX_BYTES - 11);
    assert_int_equal(selector_check(path, true, &err), 0);
    path[SELECTOR_MAX_BYTES] = 'a';
    assert_int_equal(selector_check(path, true, &err), -1);
    assert_non_null(strstr(err.text, "more than 4096 bytes"));
}

static void matching(void **state)
{
    (void)state;
    _cleanup_(text_list_clear) struct text_list present = {0}, needed = {0}, none = {0};
    text_list_add(&present, "unix:uid:1000");
    text_list_add(&present, "unix:gid:1000");
    text_list_add(&present, "unix:path:/a");
    text_list_sort_unique(&present);
    assert_false(selectors_match(&none, &present));
    assert_false(selectors_match(&none, &none));
    text_list_add(&needed, "unix:uid:1000");
    assert_true(selectors_match(&needed, &present));
    assert_false(selectors_match(&needed, &none));
    text_list_add(&needed, "unix:path:/a");
    text_list_sort_unique(&needed);
    assert_true(selectors_match(&needed, &present));
    text_list_add(&needed, "unix:uid:100");
    text_list_sort_unique(&needed);
    assert_false(selectors_match(&needed, &present));
    assert_true(selectors_match(&present, &present));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks),
        cmocka_unit_test(more_checks),
        cmocka_unit_test(matching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
