/* What the command line of `signet audit` says. */
#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "client/audit_source.h"
#include "client/subcommands.h"

enum { WORDS_MAX = 8 };

/* As `signet` reads it: the words of the name first. */
static int parse(const char *const *line, struct arguments *arguments, struct error *err)
{
    char *argv[WORDS_MAX + 1] = {NULL};
    int argc = 0;
    int words = 0;
    for (; line[argc]; argc++) {
        argv[argc] = (char *)line[argc];
    }
    const struct command *command = command_find(argc, argv, &words);
    assert_non_null(command);
    return command_parse(command, argc - words + 1, argv + words - 1, arguments, err);
}

static void one_path_may_follow(void **state)
{
    (void)state;
    static const struct {
        const char *line[WORDS_MAX + 1];
        const char *operand;
    } cases[] = {
        {{"audit", "verify"}, NULL},
        {{"audit", "verify", "/log"}, "/log"},
        {{"audit", "verify", "/log", "--keys", "/keys"}, "/log"},
        {{"audit", "verify", "--keys", "/keys", "/log"}, "/log"},
        {{"audit", "timeline", "--pid", "7", "--", "/log"}, "/log"},
        {{"audit", "export", "--format", "ocsf", "/log"}, "/log"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(arguments_clear) struct arguments arguments = {0};
        struct error err;
        if (parse(cases[i].line, &arguments, &err) != 0) {
            fail_msg("%s", err.text);
        }
        if (cases[i].operand) {
            assert_string_equal(arguments.operand, cases[i].operand);
        } else {
            assert_null(arguments.operand);
        }
    }
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    static const char *const lines[][WORDS_MAX + 1] = {
        {"audit", "verify", "/log", "/other"},  {"audit", "verify", "--pid", "7"},
        {"audit", "timeline", "--pid", "0"},    {"audit", "timeline", "--pid", "x"},
        {"audit", "export", "--format", "xml"}, {"audit", "timeline", "--spiffe-id", ""},
        {"audit", "export", "--format"},        {"entry", "list", "/log"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        _cleanup_(arguments_clear) struct arguments arguments = {0};
        struct error err;
        assert_int_equal(parse(lines[i], &arguments, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
}

static void without_an_agent_a_path_is_needed(void **state)
{
    (void)state;
    const struct arguments named = {.operand = (char *)"/log"};
    const struct arguments none = {.run_dir = (char *)"/nonexistent"};
    _cleanup_(audit_source_clear) struct audit_source source = {0};
    struct error err;
    assert_int_equal(audit_source_find(&named, &source, NULL), 0);
    assert_string_equal(source.path, "/log");
    assert_false(source.is_live);
    assert_int_equal(source.live.sequence, 0);
    struct audit_source other;
    assert_int_equal(audit_source_find(&none, &other, &err), -1);
    assert_non_null(strstr(err.text, "name the folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_path_may_follow),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(without_an_agent_a_path_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
