#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"

static char folder[] = "/tmp/signet-file-test.XXXXXX";

static void a_file_is_replaced_whole(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *path = file_join(folder, "file");
    _cleanup_(buffer_clear) struct buffer contents = {0};
    struct stat status;
    assert_int_equal(file_write_atomic(path, bytes_of_text("one"), 0644, NULL), 0);
    assert_int_equal(file_write_atomic(path, bytes_of_text("two"), 0600, NULL), 0);
    assert_int_equal(buffer_read_file(path, 10, &contents, NULL), 0);
    assert_true(bytes_is_equal(buffer_bytes(&contents), bytes_of_text("two")));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(unlink(path), 0);
}

static void a_failed_write_leaves_nothing(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *path = file_join(folder, "taken");
    struct error err;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(file_write_atomic(path, bytes_of_text("x"), 0600, &err), -1);
    assert_non_null(strstr(err.text, path));
    unsigned count = 0;
    DIR *opened = opendir(folder);
    for (struct dirent *item = readdir(opened); item; item = readdir(opened)) {
        count += item->d_name[0] != '.';
    }
    closedir(opened);
    assert_int_equal(count, 1);
    assert_int_equal(rmdir(path), 0);
}

static void what_is_no_file_is_not_replaced(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *pipe = file_join(folder, "pipe");
    _cleanup_(free_cleanup) char *device = file_join(folder, "device");
    const char *const paths[] = {pipe, device};
    struct error err;
    struct stat before, after;
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(symlink("/dev/null", device), 0);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        assert_int_equal(lstat(paths[i], &before), 0);
        assert_int_equal(file_write_atomic(paths[i], bytes_of_text("x"), 0600, &err), -1);
        assert_non_null(strstr(err.text, "no regular file"));
        assert_int_equal(lstat(paths[i], &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(unlink(paths[i]), 0);
    }
}

static void a_folder_is_made_or_judged(void **state)
{
    (void)state;
    _cleanup_(free_cleanup) char *path = file_join(folder, "data");
    _cleanup_(free_cleanup) char *file = file_join(folder, "plain");
    struct error err;
    assert_int_equal(file_make_folder(path, 0700, &err), 0);
    assert_int_equal(file_make_folder(path, 0700, &err), 0);
    assert_int_equal(chmod(path, 0750), 0);
    assert_int_equal(file_make_folder(path, 0700, &err), -1);
    assert_non_null(strstr(err.text, "chmod 0700"));
    assert_int_equal(file_make_folder(path, 0755, &err), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(file_write_atomic(file, bytes_of_text("x"), 0600, &err), 0);
    assert_int_equal(file_make_folder(file, 0700, &err), -1);
    assert_non_null(strstr(err.text, "not a folder"));
    assert_int_equal(unlink(file), 0);
}

static int prepare(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int clean_up(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_replaced_whole),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(what_is_no_file_is_not_replaced),
        cmocka_unit_test(a_folder_is_made_or_judged),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
