#include "client/lock_target.h"

#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/subcommands.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define EMPTY_SHA256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void what_is_meant(void **state)
{
    (void)state;
    static const struct {
        struct arguments given;
        const char *kind, *what; /* NULL: refused */
        const char *text;
    } cases[] = {
        {{.spiffe_id = (char *)"spiffe://a/*"}, "spiffe_id", "spiffe://a/*", NULL},
        {{.pid = 42}, "pid", "42", NULL},
        {{.is_node = true}, "node", "", NULL},
        {{.executable = (char *)EMPTY_SHA256}, "executable", EMPTY_SHA256, NULL},
        {{.executable = (char *)"sha256:judged-by-the-agent"},
         "executable",
         "sha256:judged-by-the-agent",
         NULL},
        {{.run_dir = NULL}, NULL, NULL, "one of --spiffe-id"},
        {{.pid = 42, .is_node = true}, NULL, NULL, "only one of --spiffe-id"},
        {{.executable = (char *)"/does/not/exist"}, NULL, NULL, "/does/not/exist"},
        {{.executable = (char *)"/dev/null"}, NULL, NULL, "not a regular file"},
        {{.executable = (char *)"/"}, NULL, NULL, "not a regular file"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        _cleanup_(lock_target_clear) struct lock_target target = {0};
        int result = lock_target_choose(&cases[i].given, &target, &error);
        if (cases[i].kind) {
            assert_int_equal(result, 0);
            assert_string_equal(target.kind, cases[i].kind);
            assert_string_equal(target.what, cases[i].what);
        } else {
            assert_int_equal(result, -1);
            assert_null(target.what);
            if (!strstr(error.text, cases[i].text)) {
                fail_msg("%s", error.text);
            }
        }
    }
}

static void files_are_hashed(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *digest; /* of so many "a" */
    } cases[] = {
        {0, EMPTY_SHA256},
        {1, "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
        {1000000, "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    char path[] = "/tmp/lock-target-XXXXXX";
    assert_int_equal(close(mkstemp(path)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_clear) struct buffer contents = {0};
        _cleanup_(free_cleanup) char *digest = NULL;
        if (cases[i].size > 0) {
            memset(buffer_extend(&contents, cases[i].size), 'a', cases[i].size);
        }
        assert_int_equal(file_write_atomic(path, buffer_bytes(&contents), 0600, NULL), 0);
        assert_int_equal(lock_target_digest(path, &digest, NULL), 0);
        assert_string_equal(digest, cases[i].digest);
    }
    assert_int_equal(unlink(path), 0);
}

/* Wrong usage is told before any agent is looked for. */
static void usage(void **state)
{
    (void)state;
    static const struct {
        const struct command *command;
        struct arguments given;
        const char *text;
    } cases[] = {
        {&command_lock, {.reason = (char *)"r"}, "one of --spiffe-id"},
        {&command_unlock, {.reason = (char *)"r"}, "--id is needed, or one of"},
        {&command_unlock, {.id = (char *)"1", .is_node = true}, "nothing else is needed"},
        {&command_unlock, {.pid = 1, .is_node = true}, "only one of"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};
        assert_int_equal(cases[i].command->run(&cases[i].given, &error), -1);
        assert_int_equal(error_exit_code(error.code), 2);
        if (!strstr(error.text, cases[i].text)) {
            fail_msg("%s", error.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_meant),
        cmocka_unit_test(files_are_hashed),
        cmocka_unit_test(usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
