#include "agent/workload/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"

#define IDS "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"

static int parse_status(const char *text, struct proc_credentials *ret_credentials)
{
    struct error err = {0};
    return proc_parse_status(bytes_of_text(text), ret_credentials, &err);
}

static void status(void **state)
{
    (void)state;
    _cleanup_(proc_credentials_clear) struct proc_credentials credentials = {0};
    assert_int_equal(parse_status("Name:\ta\\nUid:\nUmask:\t0022\n" IDS
                                  "FDSize:\t64\nGroups:\t4 20 4294967295 \nVmPeak:\t 1 kB\n",
                                  &credentials),
                     0);
    assert_int_equal(credentials.uid, 2);
    assert_int_equal(credentials.gid, 6);
    assert_int_equal(credentials.group_count, 3);
    assert_int_equal(credentials.groups[0], 4);
    assert_int_equal(credentials.groups[2], UINT32_MAX);
}

static void status_without_groups(void **state)
{
    (void)state;
    struct proc_credentials credentials = {0};
    assert_int_equal(parse_status(IDS "Groups:\t \n", &credentials), 0);
    assert_int_equal(credentials.group_count, 0);
    assert_int_equal(parse_status(IDS "Groups:", &credentials), 0);
    assert_int_equal(credentials.group_count, 0);
    proc_credentials_clear(&credentials);
}

static void bad_status(void **state)
{
    static const char *const texts[] = {
        "",
        "Uid",
        IDS,
        "Uid:\t1\t2\t3\t4\nGroups:\t1\n",
        "Gid:\t1\t2\t3\t4\nGroups:\t1\n",
        "Uid:\t1\t2\t3\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        "Uid:\t1\t2\t3\t4\t5\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        "Uid:\t1\tx\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        "Uid:\t1\t-2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        "Uid:\t1\t4294967296\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        "Uid:\t1\t99999999999999999999999\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t1\n",
        IDS "Uid:\t0\t0\t0\t0\nGroups:\t1\n",
        IDS "Groups:\t1\nGroups:\t2\n",
        IDS "Groups:\t1,2\n",
        IDS "Groups:\t1 x 2\n",
        IDS "groups:\t1\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct proc_credentials credentials = {.uid = 77};
        if (parse_status(texts[i], &credentials) == 0 || credentials.uid != 77) {
            fail_msg("accepted: %s", texts[i]);
        }
    }
}

static void many_groups(void **state)
{
    (void)state;
    struct error err = {0};
    _cleanup_(proc_credentials_clear) struct proc_credentials credentials = {0};
    _cleanup_(buffer_clear) struct buffer text = {0};
    buffer_append_text(&text, IDS "Groups:\t");
    for (unsigned i = 0; i < PROC_GROUPS_MAX; i++) {
        buffer_append_text(&text, "4294967294 ");
    }
    assert_int_equal(proc_parse_status(buffer_bytes(&text), &credentials, &err), 0);
    assert_int_equal(credentials.group_count, PROC_GROUPS_MAX);
    assert_true(text.size < PROC_STATUS_MAX_BYTES - 4096);
    buffer_append_text(&text, "1");
    proc_credentials_clear(&credentials);
    assert_int_equal(proc_parse_status(buffer_bytes(&text), &credentials, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
}

static void start_times(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t ticks;
    } cases[] = {
        {"1 (init) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 777 0 0\n", 0, 777},
        {"1 (a b) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 777", 0, 777},
        {"1 () R 1 (x)) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 777 0", 0, 777},
        {"1 (\n) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 18446744073709551615 0", 0, UINT64_MAX},
        {"1 (a) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 18446744073709551616 0", -1, 0},
        {"1 (a) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 -7 0", -1, 0},
        {"1 (a) S 0 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 ", -1, 0},
        {"1 (a) S 0 1 1", -1, 0},
        {"", -1, 0},
        {")", -1, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t ticks = 0;
        struct error err = {0};
        int result = proc_parse_start_time(bytes_of_text(cases[i].text), &ticks, &err);
        if (result != cases[i].result || ticks != cases[i].ticks) {
            fail_msg("%s: %d", cases[i].text, result);
        }
    }
}

static void own_process(void **state)
{
    (void)state;
    struct error err = {0};
    struct proc_namespace home;
    struct proc_program program;
    uint64_t ticks = 0;
    char path[PROC_PATH_MAX_BYTES] = "";
    _cleanup_(proc_credentials_clear) struct proc_credentials credentials = {0};
    _cleanup_(file_close_cleanup) int proc = open("/proc/self", O_RDONLY | O_DIRECTORY);
    assert_int_equal(proc_own_user_namespace(&home, &err), 0);
    assert_int_equal(proc_read_credentials(proc, &credentials, &err), 0);
    assert_int_equal(credentials.uid, geteuid());
    assert_int_equal(credentials.gid, getegid());
    assert_int_equal(credentials.group_count, getgroups(0, NULL));
    assert_int_equal(proc_read_start_time(proc, &ticks, &err), 0);
    assert_true(ticks > 0);
    proc_read_program(proc, &home, &program);
    assert_true(program.is_known);
    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    assert_string_equal(program.path, path);
    home.inode++;
    proc_read_program(proc, &home, &program);
    assert_true(program.is_known);
    assert_string_equal(program.path, "");
}

static void no_process(void **state)
{
    (void)state;
    struct error err = {0};
    struct proc_namespace home = {0};
    struct proc_program program;
    uint64_t ticks;
    struct proc_credentials credentials = {0};
    _cleanup_(file_close_cleanup) int folder = open("/", O_RDONLY | O_DIRECTORY);
    assert_int_equal(proc_read_credentials(folder, &credentials, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(proc_read_start_time(folder, &ticks, &err), -1);
    proc_read_program(folder, &home, &program);
    assert_false(program.is_known);
    assert_string_equal(program.path, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status),      cmocka_unit_test(status_without_groups),
        cmocka_unit_test(bad_status),  cmocka_unit_test(many_groups),
        cmocka_unit_test(start_times), cmocka_unit_test(own_process),
        cmocka_unit_test(no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
