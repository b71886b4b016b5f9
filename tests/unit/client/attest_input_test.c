#include "client/attest_input.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/credential.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/unit/cmocka_all.h"

static char folder[] = "/tmp/signet-attest-input.XXXXXX";
static char *path;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    path = file_join(folder, "file");
    return secret_init(NULL);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    free(path);
    return rmdir(folder);
}

static void write_file(const char *text, mode_t mode)
{
    assert_int_equal(file_write_atomic(path, bytes_of_text(text), mode, NULL), 0);
}

static void a_secret_survives_its_file(void **state)
{
    (void)state;
    _cleanup_(secret_clear) struct secret secret = {0};
    _cleanup_(secret_clear) struct secret again = {0};
    struct error error = {0};
    struct stat status;
    assert_int_equal(secret_new(CREDENTIAL_SECRET_BYTES, &secret, &error), 0);
    for (size_t i = 0; i < secret.size; i++) {
        secret.data[i] = (uint8_t)(i == 31 ? '\n' : 0xf0 + i); /* a newline at its end, too */
    }
    assert_int_equal(attest_input_write_secret(path, &secret, &error), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(attest_input_read_secret(path, &again, &error), 0);
    assert_true(bytes_is_equal(secret_bytes(&secret), secret_bytes(&again)));
}

static void another_file_is_no_secret(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mode_t mode;
        int code;
    } cases[] = {
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeef", 0600, 2},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg", 0600, 2},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00", 0600, 1},
        {"", 0600, 1},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 0644, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(secret_clear) struct secret secret = {0};
        struct error error = {0};
        write_file(cases[i].text, cases[i].mode);
        assert_int_equal(attest_input_read_secret(path, &secret, &error), -1);
        assert_non_null(strstr(error.text, path));
        assert_null(secret.data);
        if (cases[i].code == 2) {
            assert_int_equal(error_exit_code(error.code), 2);
        }
    }
}

static void somebody_s_bad_evidence_is_no_wrong_usage(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "{", "[]", "{\"version\": 2}", "not JSON", "{}{}"};
    struct evidence evidence = {0};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        write_file(cases[i], 0644);
        assert_int_equal(attest_input_evidence(path, &evidence, &error), -1);
        assert_int_equal(error_exit_code(error.code), 1);
        assert_non_null(strstr(error.text, "malformed"));
    }
    assert_int_equal(attest_input_evidence(NULL, &evidence, &error), -1);
    assert_int_equal(error_exit_code(error.code), 2);
    assert_int_equal(attest_input_evidence("/no/such", &evidence, &error), -1);
    assert_int_equal(error_exit_code(error.code), 1);
}

static void somebody_has_to_be_believed(void **state)
{
    (void)state;
    static const char hash[] =
        "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *none = NULL;
    _cleanup_(ek_trust_free_cleanup) struct ek_trust *trust = NULL;
    struct arguments arguments = {0};
    struct error error = {0};
    assert_int_equal(attest_input_ek_trust(&arguments, &none, &error), -1);
    assert_int_equal(error_exit_code(error.code), 2);
    assert_non_null(strstr(error.text, "--ek-cas DIR or --ek-hash HASH"));
    text_list_add(&arguments.ek_hashes, hash);
    assert_int_equal(attest_input_ek_trust(&arguments, &trust, &error), 0);
    assert_int_equal(ek_trust_count(trust), 1);
    text_list_clear(&arguments.ek_hashes);
    /* Those of a policy alone will do. */
    assert_int_equal(attest_input_ek_trust(&arguments, &trust, &error), 0);
    text_list_add(&arguments.ek_hashes, "sha256:00");
    assert_int_equal(attest_input_ek_trust(&arguments, &trust, &error), -1);
    assert_non_null(strstr(error.text, "--ek-hash"));
    text_list_clear(&arguments.ek_hashes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_survives_its_file),
        cmocka_unit_test(another_file_is_no_secret),
        cmocka_unit_test(somebody_s_bad_evidence_is_no_wrong_usage),
        cmocka_unit_test(somebody_has_to_be_believed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
