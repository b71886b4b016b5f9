#include "tests/unit/cmocka_all.h"

#include <getopt.h>
#include <string.h>

#include "client/subcommands.h"
#include "lib/base/memory.h"

enum { WORDS_MAX = 16 };

/* Splits at blanks; the words live in text. */
static int split(char *text, char *ret_words[WORDS_MAX])
{
    int count = 0;
    for (char *rest = NULL, *word = strtok_r(text, " ", &rest); word && count < WORDS_MAX - 1;
         word = strtok_r(NULL, " ", &rest)) {
        ret_words[count++] = word;
    }
    ret_words[count] = NULL;
    return count;
}

static int parse(const struct command *command, const char *line, struct arguments *arguments,
                 struct error *err)
{
    char *words[WORDS_MAX];
    _cleanup_(free_cleanup) char *copy = text_format("signet %s", line);
    int count = split(copy, words);
    return command_parse(command, count, words, arguments, err);
}

static void commands_are_found_by_their_words(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const struct command *command;
        int words;
    } cases[] = {
        {"svid fetch x509", &command_svid_fetch_x509, 3},
        {"svid fetch x509 --write d", &command_svid_fetch_x509, 3},
        {"entry add --spiffe-id x", &command_entry_add, 2},
        {"health", &command_health, 1},
        {"lock --node", &command_lock, 1},
        {"lock list", &command_lock_list, 2},
        {"unlock --id x", &command_unlock, 1},
        {"attest show", &command_attest_show, 2},
        {"attest verify -", &command_attest_verify, 2},
        {"attest baseline list", &command_baseline_list, 3},
        {"svid evidence --nonce x", &command_svid_evidence, 2},
        {"attest", NULL, 0},
        {"attest baseline", NULL, 0},
        {"svid fetch", NULL, 0},
        {"svid fetch x50", NULL, 0},
        {"healthy", NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *words[WORDS_MAX];
        int used = 0;
        _cleanup_(free_cleanup) char *copy = memory_copy_text(cases[i].line);
        int count = split(copy, words);
        assert_ptr_equal(command_find(count, words, &used), cases[i].command);
        if (cases[i].command) {
            assert_int_equal(used, cases[i].words);
        }
    }
}

static void options_are_read(void **state)
{
    (void)state;
    _cleanup_(arguments_clear) struct arguments arguments = {0};
    struct error error;
    assert_int_equal(parse(&command_svid_fetch_jwt,
                           "--audience a,b --audience c --spiffe-id spiffe://x/y --timeout 1m "
                           "--output json --run-dir /r",
                           &arguments, &error),
                     0);
    assert_int_equal(arguments.audience.count, 3);
    assert_string_equal(arguments.audience.items[1], "b");
    assert_string_equal(arguments.spiffe_id, "spiffe://x/y");
    assert_int_equal(arguments.timeout_ms, 60000);
    assert_int_equal(arguments.output, OUTPUT_JSON);
    assert_string_equal(arguments.run_dir, "/r");
}

static void options_of_evidence_are_read(void **state)
{
    (void)state;
    _cleanup_(arguments_clear) struct arguments verify = {0};
    _cleanup_(arguments_clear) struct arguments announce = {0};
    struct error error;
    assert_int_equal(parse(&command_attest_verify,
                           "--nonce 0011223344556677 - --ek-hash a --ek-hash b --ek-cas d --pcrs",
                           &verify, &error),
                     0);
    assert_string_equal(verify.operand, "-");
    assert_int_equal(verify.nonce.size, 8);
    assert_int_equal(verify.ek_hashes.count, 2);
    assert_string_equal(verify.ek_cas, "d");
    assert_true(verify.has_pcrs);
    assert_int_equal(parse(&command_baseline_announce,
                           "--name n --open 4,8 --open 9 --pcr a --pcr b --ttl 2h --event-log f",
                           &announce, &error),
                     0);
    assert_int_equal(announce.open_mask, 0x310);
    assert_int_equal(announce.pcr_values.count, 2);
    assert_int_equal(announce.ttl_ms, 7200000);
    assert_string_equal(announce.event_log, "f");
}

static void the_helper_s_command_stands_after_two_dashes(void **state)
{
    (void)state;
    _cleanup_(arguments_clear) struct arguments arguments = {0};
    _cleanup_(arguments_clear) struct arguments once = {0};
    struct error error = {0};
    char *words[WORDS_MAX];
    _cleanup_(free_cleanup) char *line = memory_copy_text("helper -c f -- web --once -c x");
    int count = split(line, words);
    assert_int_equal(command_parse(&command_helper, count, words, &arguments, &error), 0);
    assert_string_equal(arguments.config, "f");
    assert_false(arguments.is_once);
    assert_string_equal(arguments.words[0], "web");
    assert_string_equal(arguments.words[3], "x");
    assert_null(arguments.words[4]);
    assert_int_equal(parse(&command_helper, "--once --config f", &once, &error), 0);
    assert_true(once.is_once);
    assert_null(once.words);
    assert_int_equal(parse(&command_helper, "--once web", &once, &error), -1);
    assert_non_null(strstr(error.text, "\"web\" is not expected"));
    assert_int_equal(parse(&command_health, "-c f", &once, &error), -1);
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    static const struct {
        const struct command *command;
        const char *line, *text;
    } cases[] = {
        {&command_health, "--nonsense", "--nonsense is not known here; known are --run-dir"},
        {&command_health, "more", "\"more\" is not expected"},
        {&command_health, "--output yaml", "--output: \"yaml\" is not text or json"},
        {&command_health, "--run-dir", "--run-dir needs a value"},
        {&command_svid_fetch_jwt, "", "--audience A[,B] is needed"},
        {&command_svid_fetch_jwt, "--audience ,a", "--audience: a value is needed"},
        {&command_svid_fetch_jwt, "--audience a,", "--audience: a value is needed"},
        {&command_svid_fetch_x509, "--timeout 5", "--timeout: "},
        {&command_entry_add, "--spiffe-id spiffe://x/y", "--selector TYPE:VALUE is needed"},
        {&command_lock, "--node", "--reason TEXT is needed"},
        {&command_lock, "--node --reason r --for 0s", "--for: \"0s\""},
        {&command_lock, "--node --reason r --for 1500ms", "--for: \"1500ms\""},
        {&command_lock, "--node --reason r --for 9999999h", "--for: \"9999999h\""},
        {&command_lock, "--pid 0 --reason r", "--pid: "},
        {&command_lock, "--pid x --reason r", "--pid: "},
        {&command_lock, "--pid 4194305 --reason r", "--pid: "},
        {&command_rule_test, "--pid 1", "--spiffe-id ID is needed"},
        {&command_identity_list, "--unused soon", "--unused: "},
        {&command_identity_list, "--unused 1ms", "--unused: "},
        {&command_attest_evidence, "", "--nonce N is needed"},
        {&command_attest_evidence, "--nonce 001122", "--nonce: "},
        {&command_svid_evidence, "--nonce hello", "make one by: openssl rand -hex 16"},
        {&command_svid_evidence, "--nonce 0011223344556677 --key k", "--key is not known here"},
        {&command_attest_verify, "e.json", "--nonce N is needed"},
        {&command_attest_verify, "e.json f.json --nonce 0011223344556677", "\"f.json\" is not"},
        {&command_attest_challenge, "e.json --out c", "--secret FILE is needed"},
        {&command_attest_challenge, "e.json --secret s", "--out FILE is needed"},
        {&command_baseline_record, "", "--name NAME is needed"},
        {&command_baseline_announce, "--name n --open 24", "--open: "},
        {&command_baseline_announce, "--name n --ttl 0s", "--ttl: \"0s\""},
        {&command_baseline_announce, "--name n --ttl 1500ms", "--ttl: \"1500ms\""},
        {&command_baseline_remove, "", "--name NAME is needed"},
        {&command_bundle_show, "--format der", "--format: \"der\" is not pem, jwks or spiffe"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(arguments_clear) struct arguments arguments = {0};
        struct error error = {0};
        assert_int_equal(parse(cases[i].command, cases[i].line, &arguments, &error), -1);
        assert_int_equal(error_exit_code(error.code), 2);
        if (!strstr(error.text, cases[i].text)) {
            fail_msg("\"%s\" is not in \"%s\"", cases[i].text, error.text);
        }
    }
}

static void options_before_the_command_stop_at_it(void **state)
{
    (void)state;
    _cleanup_(arguments_clear) struct arguments arguments = {0};
    struct error error;
    assert_int_equal(parse(NULL, "--run-dir /r health --output json", &arguments, &error), 0);
    assert_int_equal(optind, 3);
    assert_int_equal(arguments.output, OUTPUT_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_found_by_their_words),
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(options_of_evidence_are_read),
        cmocka_unit_test(the_helper_s_command_stands_after_two_dashes),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(options_before_the_command_stop_at_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
