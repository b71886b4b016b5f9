/* `signet attest verify` and `challenge` on evidence of a TPM in software, by their options. */
#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/attest_input.h"
#include "client/subcommands.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/unit/attest/judge_scene.h"

enum { WORDS_MAX = 32, OUTPUT_MAX_BYTES = 1 << 20 };
#define NONCE "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
#define NOW "2023-11-14T23:30:00Z" /* within the life of the scene's certificates */

static char folder[] = "/tmp/signet-attest-verify.XXXXXX";
static struct scene scene;

static void write_file(const char *name, struct bytes contents, mode_t mode)
{
    struct error error = {0};
    if (file_write_atomic(name, contents, mode, &error) < 0) {
        fail_msg("%s", error.text);
    }
}

static void write_pem(const char *name, X509 *certificate)
{
    FILE *file = fopen(name, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
}

static void write_evidence(const char *name, const struct evidence *evidence)
{
    _cleanup_(buffer_clear) struct buffer json = {0};
    evidence_format(evidence, &json);
    write_file(name, buffer_bytes(&json), 0644);
}

/* The scene's evidence about the same TPM without one of its parts. */
static void write_without(const char *name, void (*drop)(struct evidence *evidence))
{
    struct evidence evidence = {0};
    scene_make(&scene, &scene.a, &evidence);
    drop(&evidence);
    write_evidence(name, &evidence);
    evidence_clear(&evidence);
}

static void drop_key(struct evidence *evidence)
{
    buffer_reset(&evidence->key_public);
}

static void drop_key_certificates(struct evidence *evidence)
{
    scene_drop_chain(&evidence->key_certificates);
}

static void drop_ak_certificates(struct evidence *evidence)
{
    scene_drop_chain(&evidence->ak_certificates);
}

static void drop_ek_certificates(struct evidence *evidence)
{
    scene_drop_chain(&evidence->ek_certificates);
}

static int set_up(void **state)
{
    (void)state;
    _cleanup_(secret_clear) struct secret secret = {0};
    if (secret_init(NULL) < 0 || !mkdtemp(folder) || chdir(folder) < 0 || mkdir("cas", 0755) < 0 ||
        mkdir("strangers", 0755) < 0) {
        return -1;
    }
    /* Nobody is there to be asked. */
    assert_int_equal(setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///no/such/api.sock", 1), 0);
    assert_int_equal(setenv("SIGNET_RUN_DIR", "/no/such", 1), 0);
    scene_new(&scene);
    write_pem("cas/ca.pem", scene.ek_ca.certificate);
    write_pem("strangers/ca.pem", scene.stranger.certificate);
    write_pem("bundle.pem", scene.issuer.certificate);
    write_pem("stranger.pem", scene.stranger.certificate);
    write_evidence("e.json", &scene.evidence);
    write_without("node.json", drop_key);
    write_without("bare.json", drop_key_certificates);
    write_without("unbound.json", drop_ak_certificates);
    write_without("ek.json", drop_ek_certificates);
    assert_int_equal(secret_copy((struct bytes){scene.secret, sizeof(scene.secret)}, &secret, NULL),
                     0);
    assert_int_equal(attest_input_write_secret("secret", &secret, NULL), 0);
    secret.data[0] ^= 1;
    assert_int_equal(attest_input_write_secret("secret2", &secret, NULL), 0);
    write_file("renamed.json", bytes_of_text("{}"), 0644);
    write_file("facts.json",
               bytes_of_text("{\"version\":1,\"pcrs\":\"" SCENE_SELECTION "\","
                             "\"facts\":[\"secure_boot=on\"],"
                             "\"event_log\":\"required\",\"ima\":\"required\"}"),
               0644);
    write_file("other-facts.json",
               bytes_of_text("{\"version\":1,\"pcrs\":\"" SCENE_SELECTION "\","
                             "\"facts\":[\"secure_boot=off\"],\"event_log\":\"required\"}"),
               0644);
    write_file("more.json", bytes_of_text("{\"version\":1,\"pcrs\":\"sha256:0,4,7,9\"}"), 0644);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const files[] = {
        "cas/ca.pem", "strangers/ca.pem", "bundle.pem",   "stranger.pem", "e.json",
        "node.json",  "bare.json",        "unbound.json", "ek.json",      "secret",
        "secret2",    "renamed.json",     "facts.json",   "more.json",    "other-facts.json",
        "output",     "challenge.json",   "fresh"};
    scene_clear(&scene);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        (void)unlink(files[i]);
    }
    return rmdir("cas") == 0 && rmdir("strangers") == 0 && chdir("/") == 0 ? rmdir(folder) : -1;
}

/* Runs the command with its output in the file "output"; the exit status. */
static int run_command(const struct command *command, const char *line, struct error *err)
{
    char name[] = "signet";
    char *words[WORDS_MAX] = {name};
    int count = 1;
    _cleanup_(arguments_clear) struct arguments arguments = {0};
    _cleanup_(free_cleanup) char *copy = memory_copy_text(line);
    for (char *rest = NULL, *word = strtok_r(copy, " ", &rest); word && count < WORDS_MAX - 1;
         word = strtok_r(NULL, " ", &rest)) {
        words[count++] = word;
    }
    (void)fflush(stdout);
    _cleanup_(file_close_cleanup) int before = dup(STDOUT_FILENO);
    _cleanup_(file_close_cleanup) int output =
        open("output", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(before >= 0 && output >= 0 && dup2(output, STDOUT_FILENO) >= 0);
    int result = command_parse(command, count, words, &arguments, err);
    if (result == 0) {
        result = command->run(&arguments, err);
    }
    (void)fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    return result == 0 ? 0 : error_exit_code(err->code);
}

static bool output_has(const char *text)
{
    _cleanup_(buffer_clear) struct buffer output = {0};
    assert_int_equal(buffer_read_file("output", OUTPUT_MAX_BYTES, &output, NULL), 0);
    buffer_append_u8(&output, 0);
    return strstr((const char *)output.data, text) != NULL;
}

struct row {
    const char *options; /* behind --nonce and --at */
    int status;
    const char *text; /* in the error, or in the output where it is believed */
};

static void expect_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct error error = {0};
        _cleanup_(free_cleanup) char *line =
            text_format("--nonce %s --at %s %s", NONCE, NOW, rows[i].options);
        int status = run_command(&command_attest_verify, line, &error);
        if (status != rows[i].status) {
            fail_msg("%s: exit %d: %s", rows[i].options, status, error.text);
        }
        if (!(status == 0 ? output_has(rows[i].text) : strstr(error.text, rows[i].text) != NULL)) {
            fail_msg("%s: no \"%s\": %s", rows[i].options, rows[i].text, error.text);
        }
    }
}

static void whoever_proves_all_is_believed(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"e.json --ek-cas cas --bundle bundle.pem", 0, "e.json is believed"},
        {"e.json --ek-cas cas --bundle bundle.pem", 0, "key of        spiffe://example.org/web\n"},
        {"e.json --ek-cas cas --bundle bundle.pem", 0, "secure_boot "},
        {"e.json --ek-cas cas --bundle bundle.pem --pcrs", 0, "\nsha256:7 "},
        {"e.json --ek-cas cas --bundle bundle.pem --spiffe-id spiffe://example.org/web", 0,
         "bundle        bundle.pem"},
        {"e.json --ek-cas cas --challenge-secret secret", 0,
         "(says a certificate that is not believed)"},
        {"e.json --ek-cas cas --challenge-secret secret --bundle bundle.pem", 0, "is believed"},
        {"unbound.json --ek-cas cas --challenge-secret secret", 0, "is believed"},
        {"e.json --ek-cas cas --bundle bundle.pem --policy facts.json", 0, "is believed"},
        {"node.json --ek-cas cas --bundle bundle.pem", 0, "is believed"},
        {"e.json --ek-cas cas --bundle bundle.pem --output json", 0, "\"believed\": true"},
        {"e.json --ek-cas cas --bundle bundle.pem --output json", 0,
         "\"spiffe_id\": \"spiffe://example.org/web\""},
        {"node.json --ek-cas cas --bundle bundle.pem --output json", 0, "\"spiffe_id\": null"},
    };
    expect_rows(rows, ARRAY_SIZE(rows));
}

static void whoever_does_not_is_told_why(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"e.json --ek-cas strangers --bundle bundle.pem", 1, "ek-genuine: ek-untrusted: "},
        {"ek.json --ek-cas cas --bundle bundle.pem", 1, "ek-genuine: ek-untrusted: "},
        {"e.json --ek-cas cas --bundle stranger.pem", 1, "ak-in-tpm: ak-certificate: "},
        {"e.json --ek-cas cas", 1, "ak-in-tpm: ak-unbound: "},
        {"unbound.json --ek-cas cas --bundle bundle.pem", 1, "ak-in-tpm: ak-unbound: "},
        {"e.json --ek-cas cas --challenge-secret secret2", 1, "ak-in-tpm: activation: "},
        {"e.json --ek-cas cas --bundle bundle.pem --spiffe-id spiffe://example.org/db", 1,
         "spiffe://example.org/web, not for spiffe://example.org/db"},
        {"e.json --ek-cas cas --challenge-secret secret --spiffe-id spiffe://example.org/web", 1,
         "give the trust bundle of its issuer"},
        {"bare.json --ek-cas cas --bundle bundle.pem --spiffe-id spiffe://example.org/web", 1,
         "key-certificate: "},
        {"node.json --ek-cas cas --bundle bundle.pem --spiffe-id spiffe://example.org/web", 1,
         "key-"},
        {"e.json --ek-cas cas --bundle bundle.pem --policy other-facts.json", 1, "facts: fact: "},
        {"e.json --ek-cas cas --bundle bundle.pem --policy more.json", 1, "pcr-selection"},
        {"e.json --ek-cas cas --bundle bundle.pem --at 2130-01-01T00:00:00Z", 1, "ek-"},
        {"e.json --ek-cas cas --bundle bundle.pem --nonce 0011223344556677", 1, "nonce"},
        {"bundle.pem --ek-cas cas --bundle bundle.pem", 1, "malformed"},
        {"no-such --ek-cas cas --bundle bundle.pem", 1, "no-such"},
    };
    expect_rows(rows, ARRAY_SIZE(rows));
}

static void wrong_usage_of_verify_is_told(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"e.json --bundle bundle.pem", 2, "--ek-cas DIR or --ek-hash HASH is needed"},
        {"e.json --ek-hash sha256:00", 2, "--ek-hash"},
        {"--ek-cas cas", 2, "the file with the evidence is needed"},
        {"e.json --ek-cas cas --bundle e.json", 2, "reading the trust bundle e.json"},
        {"e.json --ek-cas cas --bundle renamed.json", 2, "reading the trust bundle renamed.json"},
        {"e.json --ek-cas cas --policy e.json", 2, "reading the policy e.json"},
        {"e.json --ek-cas cas --at tomorrow", 2, "--at"},
        {"e.json --ek-cas cas --challenge-secret no-such", 1, "no-such"},
    };
    expect_rows(rows, ARRAY_SIZE(rows));
}

static void a_challenge_is_made_for_a_genuine_ek_only(void **state)
{
    (void)state;
    struct error error = {0};
    _cleanup_(secret_clear) struct secret secret = {0};
    assert_int_equal(run_command(&command_attest_challenge,
                                 "e.json --ek-cas strangers --out challenge.json --secret fresh",
                                 &error),
                     1);
    assert_non_null(strstr(error.text, "the endorsement key is not genuine"));
    assert_int_equal(access("challenge.json", F_OK), -1);
    assert_int_equal(access("fresh", F_OK), -1);
    char fingerprint[80];
    assert_int_equal(judge_ek_fingerprint(&scene.a.ek_public, fingerprint, NULL), 0);
    _cleanup_(free_cleanup) char *line =
        text_format("e.json --ek-hash %s --out challenge.json --secret fresh", fingerprint);
    int status = run_command(&command_attest_challenge, line, &error);
    if (status != 0) {
        fail_msg("%s", error.text);
    }
    assert_true(output_has(fingerprint));
    assert_int_equal(attest_input_read_secret("fresh", &secret, NULL), 0);
    _cleanup_(buffer_clear) struct buffer json = {0};
    struct challenge challenge = {0};
    assert_int_equal(buffer_read_file("challenge.json", 65536, &json, NULL), 0);
    assert_int_equal(challenge_parse(buffer_bytes(&json), &challenge, NULL), 0);
    challenge_clear(&challenge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_proves_all_is_believed),
        cmocka_unit_test(whoever_does_not_is_told_why),
        cmocka_unit_test(wrong_usage_of_verify_is_told),
        cmocka_unit_test(a_challenge_is_made_for_a_genuine_ek_only),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
