#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/secret.h"

static char path[] = "/tmp/signet-secret-test.XXXXXX";

static void write_file(const char *contents, mode_t mode)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(descriptor, contents, strlen(contents)), strlen(contents));
    fchmod(descriptor, mode);
    close(descriptor);
}

static void a_file_is_read_without_its_newline(void **state)
{
    (void)state;
    _cleanup_(secret_clear) struct secret secret = {0};
    struct error err;
    write_file("12 34\n", 0600);
    assert_int_equal(secret_read_file(path, 100, &secret, &err), 0);
    assert_true(bytes_is_equal(secret_bytes(&secret), bytes_of_text("12 34")));
}

static void files_that_are_not_ours_alone_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *contents;
        mode_t mode;
        const char *reason;
    } cases[] = {
        {"1234", 0640, "chmod 0600"},      {"1234", 0604, "chmod 0600"},
        {"1234", 0620, "chmod 0600"},      {"", 0600, "0 bytes"},
        {"0123456789a", 0600, "11 bytes"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct secret secret = {0};
        struct error err;
        write_file(cases[i].contents, cases[i].mode);
        assert_int_equal(secret_read_file(path, 10, &secret, &err), -1);
        assert_non_null(strstr(err.text, cases[i].reason));
        assert_non_null(strstr(err.text, path));
        assert_null(strstr(err.text, "1234"));
        assert_null(secret.data);
    }
    struct secret secret = {0};
    struct error err;
    assert_int_equal(secret_read_file("/tmp", 10, &secret, &err), -1);
    assert_int_equal(secret_read_file("/nonexistent/pin", 10, &secret, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void copies_are_their_own(void **state)
{
    (void)state;
    _cleanup_(secret_clear) struct secret a = {0};
    _cleanup_(secret_clear) struct secret b = {0};
    assert_int_equal(secret_copy(bytes_of_text("key"), &a, NULL), 0);
    assert_int_equal(secret_copy(secret_bytes(&a), &b, NULL), 0);
    secret_clear(&a);
    assert_null(a.data);
    assert_true(bytes_is_equal(secret_bytes(&b), bytes_of_text("key")));
}

static void the_process_makes_no_cores(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
}

static int prepare(void **state)
{
    (void)state;
    struct error err;
    int descriptor = mkstemp(path);
    return descriptor < 0 || close(descriptor) < 0 ? -1 : secret_init(&err);
}

static int clean_up(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_without_its_newline),
        cmocka_unit_test(files_that_are_not_ours_alone_are_refused),
        cmocka_unit_test(copies_are_their_own),
        cmocka_unit_test(the_process_makes_no_cores),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
