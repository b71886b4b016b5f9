#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "client/sockets.h"
#include "lib/base/memory.h"

static void endpoints_are_read_as_the_standard_says(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *path, *problem;
    } cases[] = {
        {"unix:///run/signet/api.sock", "/run/signet/api.sock", NULL},
        {"unix:/run/signet/api.sock", "/run/signet/api.sock", NULL},
        {"unix:///", NULL, "absolute path"},
        {"unix://", NULL, "absolute path"},
        {"unix:", NULL, "absolute path"},
        {"unix:run/api.sock", NULL, "absolute path"},
        {"unix://host/api.sock", NULL, "absolute path"},
        {"unix:///api.sock?x=1", NULL, "absolute path"},
        {"unix:///api.sock#x", NULL, "absolute path"},
        {"/run/signet/api.sock", NULL, "unix:"},
        {"http://localhost", NULL, "unix:"},
        {"tcp://127.0.0.1:8000", NULL, "TCP"},
        {"tcp:127.0.0.1:8000", NULL, "TCP"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        _cleanup_(free_cleanup) char *path = NULL;
        int result = endpoint_parse(cases[i].endpoint, &path, &error);
        assert_int_equal(result, cases[i].path ? 0 : -1);
        if (cases[i].path) {
            assert_string_equal(path, cases[i].path);
        } else {
            assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
            assert_non_null(strstr(error.text, cases[i].problem));
            assert_non_null(strstr(error.text, cases[i].endpoint));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_read_as_the_standard_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
