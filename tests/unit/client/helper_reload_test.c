#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/helper_reload.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static char path[] = "/tmp/helper-reload.XXXXXX";

static int setup(void **state)
{
    (void)state;
    int descriptor = mkstemp(path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_pid_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_process_is_signalled_by_its_pid_file(void **state)
{
    (void)state;
    static const char *const rests[] = {"", "\n", "\n/var/lib/data\n123\n"};
    for (size_t i = 0; i < ARRAY_SIZE(rests); i++) {
        struct error error = {0};
        int status = 0;
        char *words[] = {(char *)"sleep", (char *)"60", NULL};
        pid_t pid = 0;
        assert_int_equal(helper_reload_spawn(words, true, &pid, &error), 0);
        _cleanup_(free_cleanup) char *text = text_format("%d%s", pid, rests[i]);
        write_pid_file(text);
        assert_int_equal(helper_reload_signal_pid_file(path, SIGUSR1, &error), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    }
}

static void a_pid_file_that_names_no_process_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "\n",   "0",           "1",   "-1",
                                        "-1234", "12 3", "99999999999", "abc", "0x10"};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        write_pid_file(texts[i]);
        assert_int_equal(helper_reload_signal_pid_file(path, SIGCONT, &error), -1);
        assert_non_null(strstr(error.text, path));
    }
    write_pid_file("2147483647\n");
    assert_int_equal(helper_reload_signal_pid_file(path, SIGCONT, &error), -1);
    assert_int_equal(helper_reload_signal_pid_file("/tmp", SIGCONT, &error), -1);
    assert_int_equal(helper_reload_signal_pid_file("/nonexistent", SIGCONT, &error), -1);
}

static void who_may_write_it_does_not_choose_another_user_s_process(void **state)
{
    (void)state;
    struct error error = {0};
    _cleanup_(free_cleanup) char *own = text_format("%d\n", getpid());
    write_pid_file(own);
    assert_int_equal(helper_reload_signal_pid_file(path, SIGCONT, &error), 0);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(helper_reload_signal_pid_file(path, SIGCONT, &error), -1);
    assert_int_equal(chmod(path, 0600), 0);
    if (geteuid() != 0) {
        return;
    }
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(helper_reload_signal_pid_file(path, SIGCONT, &error), -1);
    assert_non_null(strstr(error.text, "belongs to uid 0"));
    assert_int_equal(chown(path, 0, 0), 0);
}

static void a_program_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct error error = {0};
    pid_t pid = 0;
    char *words[] = {(char *)"/no/such/program", NULL};
    assert_int_equal(helper_reload_spawn(words, true, &pid, &error), -1);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void what_fails_is_tried_again_each_time_later(void **state)
{
    (void)state;
    static const uint64_t delays_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};
    const struct helper_output output = {
        .name = (char *)"a", .reload_signal = SIGCONT, .pid_file = path};
    struct helper_reload reload = {0};
    write_pid_file("nobody");
    helper_reload_start(&reload, &output, 0);
    for (size_t i = 0; i < ARRAY_SIZE(delays_ms); i++) {
        assert_true(helper_reload_has_failed(&reload));
        assert_int_equal(reload.retry_delay_ms, delays_ms[i]);
        uint64_t due_ms = reload.retry_at_ms;
        assert_int_equal(helper_reload_tick(&reload, &output, 0, due_ms - 1), due_ms);
        assert_true(helper_reload_tick(&reload, &output, 0, due_ms) < UINT64_MAX);
    }
    /* The next change does not wait. */
    helper_reload_start(&reload, &output, 0);
    assert_int_equal(reload.retry_delay_ms, delays_ms[0]);
    _cleanup_(free_cleanup) char *own = text_format("%d\n", getpid());
    write_pid_file(own);
    assert_int_equal(helper_reload_tick(&reload, &output, 0, reload.retry_at_ms), UINT64_MAX);
    assert_false(helper_reload_has_failed(&reload));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_signalled_by_its_pid_file),
        cmocka_unit_test(a_pid_file_that_names_no_process_is_refused),
        cmocka_unit_test(who_may_write_it_does_not_choose_another_user_s_process),
        cmocka_unit_test(a_program_that_is_not_there_is_told),
        cmocka_unit_test(what_fails_is_tried_again_each_time_later),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
