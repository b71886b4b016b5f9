#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <string.h>

#include "client/helper_config.h"
#include "lib/base/memory.h"

static int parse(const char *text, struct helper_config *config, struct error *err)
{
    return helper_config_parse(bytes_of_text(text), "f", config, err);
}

static void every_key_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "# comment\n"
        "run_dir = \"/r\" /* long\n comment */ log_level = debug // to the end\n"
        "identity 'web' {\n"
        "  spiffe_id = \"spiffe://example.org/\\\"web\" directory = \"/run/web\"\n"
        "  certificate = c bundle = b key_uri = u key_uri_pem = p key = k\n"
        "  intermediates_in_bundle = true federated_bundles = true omit_expired = true\n"
        "  owner = 12 group = 34 mode = 0640 key_mode = \"0400\" remove_withdrawn = true\n"
        "  reload_signal = SIGUSR1 pid_file = '/run/web.pid'\n"
        "  reload_command = { \"/bin/echo\", 'two words', \"3\" } reload_timeout = \"5s\"\n"
        "}\n"
        "jwt \"t\" { hint = h directory = \"/run/web\" audience = { a, b } token = t\n"
        "  jwt_bundle = j pid_file = \"/p\" }\n";
    _cleanup_(helper_config_clear) struct helper_config config = {0};
    struct error error = {0};
    if (parse(text, &config, &error) < 0) {
        fail_msg("%s", error.text);
    }
    assert_string_equal(config.run_dir, "/r");
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config.output_count, 2);
    const struct helper_output *web = &config.outputs[0], *jwt = &config.outputs[1];
    assert_string_equal(web->spiffe_id, "spiffe://example.org/\"web");
    assert_string_equal(web->files[HELPER_CERTIFICATE], "c");
    assert_string_equal(web->files[HELPER_BUNDLE], "b");
    assert_string_equal(web->files[HELPER_KEY_URI], "u");
    assert_string_equal(web->files[HELPER_KEY_URI_PEM], "p");
    assert_string_equal(web->files[HELPER_KEY], "k");
    assert_true(web->has_intermediates_in_bundle && web->has_federated_bundles &&
                web->may_omit_expired && web->may_remove_withdrawn);
    assert_int_equal(web->owner, 12);
    assert_int_equal(web->group, 34);
    assert_int_equal(web->mode, 0640);
    assert_int_equal(web->key_mode, 0400);
    assert_int_equal(web->reload_signal, SIGUSR1);
    assert_string_equal(web->pid_file, "/run/web.pid");
    assert_int_equal(web->reload_command.count, 3);
    assert_string_equal(web->reload_command.items[1], "two words");
    assert_int_equal(web->reload_timeout_ms, 5000);
    assert_true(jwt->is_jwt);
    assert_string_equal(jwt->hint, "h");
    assert_int_equal(jwt->audience.count, 2);
    assert_int_equal(jwt->mode, 0644);
    assert_int_equal(jwt->key_mode, 0600);
    assert_int_equal(jwt->reload_signal, SIGHUP);
    assert_int_equal(jwt->reload_timeout_ms, 30000);
    assert_int_equal(jwt->owner, (uid_t)-1);
}

#define BLOCK(keys) "identity \"a\" { directory = \"/d\" certificate = c " keys " }"

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "f: there is nothing to do"},
        {"nonsense = 1", "f:1: unknown key \"nonsense\"; expected run_dir, log_level or a block"},
        {"\n\nnonsense", "f:3: after nonsense comes '='"},
        {"server \"a\" {}", "f:1: unknown block \"server\"; expected identity, jwt"},
        {"identity {", "f:1: the block identity needs a title"},
        {"identity \"\" {", "f:1: the block identity needs a title"},
        {"identity \"a\" {\n run_dir = \"/x\" }",
         "f:2: unknown key \"run_dir\"; expected spiffe_id"},
        {"identity \"a\" {\n audience = x }", "f:2: unknown key \"audience\""},
        {"jwt \"a\" {\n key = x }", "f:2: unknown key \"key\"; expected spiffe_id"},
        {"\nidentity \"a\" {\n certificate = c\n}", "f:2: identity \"a\": the key directory is"},
        {"identity \"a\" { directory = \"/d\" }", "no file is named; expected one of certificate"},
        {"jwt \"a\" { directory = \"/d\" }", "no file is named; expected one of token"},
        {"jwt \"a\" { directory = \"/d\" token = t }", "token and audience belong together"},
        {"jwt \"a\" { directory = \"/d\" jwt_bundle = t audience = a }", "belong together"},
        {BLOCK("spiffe_id = \"spiffe://a/b\" hint = x"), "leave one out"},
        {BLOCK("certificate = d"), "f:1: certificate: it is there twice"},
        {BLOCK("bundle = c"), "the file /d/c is named twice"},
        {BLOCK("") "\n" BLOCK(""), "f:2: identity \"a\" is there twice"},
        {BLOCK("") "\nidentity \"b\" { directory = \"/d\" key_uri = c }",
         "f:2: identity \"b\": the "
         "file /d/c is named"},
        {BLOCK("directory = \"d\""), "directory: it is there twice"},
        {"identity \"a\" { directory = d }", "directory: \"d\" is not an absolute path"},
        {BLOCK("key = \"a/b\""), "key: \"a/b\" is not the name of a file"},
        {BLOCK("key = \"..\""), "key: \"..\" is not the name of a file"},
        {BLOCK("key = \"\""), "key: \"\" is not the name of a file"},
        {BLOCK("spiffe_id = web"), "spiffe_id: \"web\" is not a SPIFFE ID"},
        {BLOCK("mode = 0666"), "mode: \"0666\" is not an octal mode"},
        {BLOCK("mode = 4644"), "mode: \"4644\""},
        {BLOCK("mode = 0755"), "mode: \"0755\""},
        {BLOCK("mode = 0244"), "mode: \"0244\""},
        {BLOCK("mode = 00644"), "mode: \"00644\""},
        {BLOCK("mode = rw"), "mode: \"rw\""},
        {BLOCK("key_mode = 0644"), "key_mode: \"0644\""},
        {BLOCK("key_mode = 0660"), "key_mode: \"0660\""},
        {BLOCK("owner = \"no such user\""), "owner: \"no such user\" is neither a user"},
        {BLOCK("group = -1"), "group: \"-1\" is neither a group"},
        {BLOCK("omit_expired = yes"), "omit_expired: \"yes\" is neither true nor false"},
        {BLOCK("reload_signal = KILL"), "reload_signal: \"KILL\" is none of HUP"},
        {BLOCK("reload_signal = SIGNAL"), "reload_signal: \"SIGNAL\" is none of"},
        {BLOCK("reload_timeout = 5"), "reload_timeout: "},
        {BLOCK("reload_timeout = 2h"), "is not from \"100ms\" to \"1h\""},
        {BLOCK("reload_command = \"nginx -s reload\""), "is not the absolute path of a program"},
        {BLOCK("bundle = { a, b }"), "bundle: expected one value, not a list"},
        {BLOCK("reload_command = { }"), "with one value at least"},
        {BLOCK("reload_command = { \"/a\" \"b\" }"), "separated by commas"},
        {BLOCK("reload_command = { \"/a\", }"), "with one value at least"},
        {"identity \"a\" { directory = \"/d\"\n",
         "f:1: the block that begins here is never closed"},
        {"identity \"a\" { identity \"b\" {", "a block within a block"},
        {"}", "f:1: expected KEY = VALUE"},
        {"run_dir = ", "after run_dir = comes a value"},
        {"run_dir = /run", "'/' outside of quotes"},
        {"run_dir = \"/run\n\"", "f:1: a string is not closed on its line"},
        {"run_dir = \"${HOME}\"", "variables such as ${HOME} are not replaced"},
        {"run_dir = \"\\n\"", "after a backslash in a string"},
        {"run_dir = \"a\tb\"", "a string has a control character"},
        {"run_dir = \"\xff\"", "not UTF-8"},
        {"run_dir ; x", "a character that means nothing here"},
        {"/* x", "never closed by */"},
        {"log_level = loud", "log_level: \"loud\" is not a log level"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(helper_config_clear) struct helper_config config = {0};
        struct error error = {0};
        assert_int_equal(parse(cases[i].text, &config, &error), -1);
        assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(error.text, cases[i].problem)) {
            fail_msg("\"%s\" is not in \"%s\" about: %s", cases[i].problem, error.text,
                     cases[i].text);
        }
    }
}

/* No NUL ends it early. */
static void a_zero_byte_is_refused(void **state)
{
    (void)state;
    static const char text[] = "run_dir = \"/r\"\n\0nonsense";
    _cleanup_(helper_config_clear) struct helper_config config = {0};
    struct error error = {0};
    struct bytes bytes = {(const uint8_t *)text, sizeof(text) - 1};
    assert_int_equal(helper_config_parse(bytes, "f", &config, &error), -1);
    assert_non_null(strstr(error.text, "f:2: a character that means nothing"));
}

static void options_make_a_block_of_each_kind(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } options[] = {
        {"directory", "/d"}, {"certificate", "c"}, {"key-uri-pem", "p"},   {"audience", "a"},
        {"token", "t"},      {"mode", "0640"},     {"log-level", "error"}, {"reload-command", "/x"},
    };
    _cleanup_(helper_config_options_free_cleanup) struct helper_config_options *made =
        helper_config_options_new();
    _cleanup_(helper_config_clear) struct helper_config config = {0};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        assert_int_equal(
            helper_config_options_add(made, options[i].key, 0, options[i].value, &error), 0);
    }
    assert_int_equal(helper_config_options_add(made, "reload-command", 1, "y", &error), 0);
    assert_int_equal(helper_config_options_add(made, "mode", 0, "0600", &error), -1);
    assert_int_equal(helper_config_options_add(made, "mode", 1, "0600", &error), -1);
    assert_int_equal(helper_config_options_add(made, "nonsense", 0, "0600", &error), -1);
    assert_int_equal(helper_config_options_finish(made, &config, &error), 0);
    assert_int_equal(config.log_level, LOG_LEVEL_ERROR);
    assert_int_equal(config.output_count, 2);
    assert_string_equal(config.outputs[0].files[HELPER_KEY_URI_PEM], "p");
    assert_int_equal(config.outputs[0].mode, 0640);
    assert_int_equal(config.outputs[1].mode, 0640);
    assert_true(config.outputs[1].is_jwt);
    assert_string_equal(config.outputs[1].directory, "/d");
    assert_int_equal(config.outputs[1].reload_command.count, 2);
}

static void a_directory_has_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *given, *kept;
    } cases[] = {
        {"/", "/"},
        {"//", "/"},
        {"/./", "/"},
        {"/x", "/x"},
        {"/x/", "/x"},
        {"//x//", "/x"},
        {"/./x/.", "/x"},
        {"/x/./y//z/", "/x/y/z"},
        {"/x/../y", "/x/../y"},
        {"/x/.y/", "/x/.y"},
        {"/x./y", "/x./y"},
        {"/.../", "/..."},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(helper_config_clear) struct helper_config config = {0};
        _cleanup_(free_cleanup) char *text =
            text_format("identity \"a\" { directory = \"%s\" certificate = c }", cases[i].given);
        struct error error = {0};
        assert_int_equal(parse(text, &config, &error), 0);
        assert_string_equal(config.outputs[0].directory, cases[i].kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_has_one_spelling),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        cmocka_unit_test(a_zero_byte_is_refused),
        cmocka_unit_test(options_make_a_block_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
