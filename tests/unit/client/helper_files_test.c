#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper_files.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

struct fixture {
    char path[64];
    struct helper_folder folder;
};

static int setup(void **state)
{
    struct error error;
    struct fixture *fixture = NEW(struct fixture);
    (void)snprintf(fixture->path, sizeof(fixture->path), "/tmp/helper-files.XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    assert_int_equal(
        helper_folder_open(fixture->path, (uid_t)-1, false, false, &fixture->folder, &error), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    DIR *folder = opendir(fixture->path);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            int kind = entry->d_type == DT_DIR ? AT_REMOVEDIR : 0;
            (void)unlinkat(dirfd(folder), entry->d_name, kind);
        }
    }
    (void)closedir(folder);
    assert_int_equal(rmdir(fixture->path), 0);
    helper_folder_close(&fixture->folder);
    free(fixture);
    return 0;
}

static struct helper_write write_of(const char *name, const char *contents, mode_t mode)
{
    return (struct helper_write){name, bytes_of_text(contents), mode, (uid_t)-1, (gid_t)-1, false};
}

static void expect_file(const struct fixture *fixture, const char *name, const char *contents,
                        mode_t mode)
{
    struct stat status;
    struct error error;
    _cleanup_(free_cleanup) char *path = file_join(fixture->path, name);
    _cleanup_(buffer_clear) struct buffer found = {0};
    assert_int_equal(buffer_read_file(path, 100000, &found, &error), 0);
    assert_true(bytes_is_equal(buffer_bytes(&found), bytes_of_text(contents)));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, mode);
}

static size_t count_files(const struct fixture *fixture)
{
    size_t count = 0;
    DIR *folder = opendir(fixture->path);
    while (readdir(folder)) {
        count++;
    }
    (void)closedir(folder);
    return count - 2;
}

static void only_what_differs_is_a_change(void **state)
{
    const struct fixture *fixture = *state;
    static const struct {
        const char *a, *b;
        mode_t mode;
        bool has_changed;
    } steps[] = {
        {"one", "", 0644, true},  {"one", "", 0644, false},    {"one", "x", 0644, true},
        {"onf", "x", 0644, true}, {"onf", "x", 0600, true},    {"onf", "x", 0600, false},
        {"on", "x", 0600, true},  {"longer", "x", 0600, true}, {"longer", "x", 0600, false},
    };
    struct error error;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        const struct helper_write writes[] = {write_of("a", steps[i].a, steps[i].mode),
                                              write_of("b", steps[i].b, 0644)};
        bool has_changed = !steps[i].has_changed;
        assert_int_equal(
            helper_files_update(&fixture->folder, writes, 2, NULL, &has_changed, &error), 0);
        assert_int_equal(has_changed, steps[i].has_changed);
        expect_file(fixture, "a", steps[i].a, steps[i].mode);
        expect_file(fixture, "b", steps[i].b, 0644);
    }
    assert_int_equal(count_files(fixture), 2);
}

/* Who owns it could change it later. */
static void another_user_s_file_is_replaced(void **state)
{
    const struct fixture *fixture = *state;
    struct error error;
    struct stat status;
    bool has_changed = false;
    _cleanup_(free_cleanup) char *path = file_join(fixture->path, "a");
    const struct helper_write write = write_of("a", "x", 0644);
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error),
                     0);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error),
                     0);
    assert_true(has_changed);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_uid, 0);
}

static void what_a_killed_process_left_is_removed(void **state)
{
    const struct fixture *fixture = *state;
    static const struct {
        const char *name;
        bool is_old, is_removed;
    } cases[] = {
        {".a.0123456789abcdef", true, true},   {".a.0123456789abcdef", false, false},
        {".a.0123456789abcde", true, false},   {".a.0123456789abcdeg", true, false},
        {".a.0123456789abcdef0", true, false}, {".ab.0123456789abcdef", true, false},
        {"a.0123456789abcdef", true, false},   {".a", true, false},
    };
    const struct helper_write write = write_of("a", "x", 0600);
    const struct timespec old[] = {{1000, 0}, {1000, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error;
        bool has_changed;
        _cleanup_(free_cleanup) char *path = file_join(fixture->path, cases[i].name);
        int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(file >= 0);
        assert_true(!cases[i].is_old || futimens(file, old) == 0);
        assert_int_equal(close(file), 0);
        assert_int_equal(
            helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error), 0);
        assert_int_equal(access(path, F_OK), cases[i].is_removed ? -1 : 0);
        (void)unlink(path);
    }
}

static void removal_is_a_change_once(void **state)
{
    const struct fixture *fixture = *state;
    struct error error;
    bool has_changed = false;
    struct helper_write write = write_of("a", "x", 0600);
    assert_int_equal(helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error),
                     0);
    write.is_removal = true;
    assert_int_equal(helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error),
                     0);
    assert_true(has_changed);
    assert_int_equal(helper_files_update(&fixture->folder, &write, 1, NULL, &has_changed, &error),
                     0);
    assert_false(has_changed);
    assert_int_equal(count_files(fixture), 0);
}

/* One that cannot be written leaves all as they were, and nothing beside them. */
static void an_update_is_all_or_nothing(void **state)
{
    const struct fixture *fixture = *state;
    static const char *const kinds[] = {"link", "folder", "fifo"};
    struct error error;
    bool has_changed = false;
    struct helper_write writes[] = {write_of("a", "old", 0644), write_of("b", "old", 0644)};
    assert_int_equal(helper_files_update(&fixture->folder, writes, 1, NULL, &has_changed, &error),
                     0);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        _cleanup_(free_cleanup) char *place = file_join(fixture->path, "b");
        assert_int_equal(i == 0   ? symlink("a", place)
                         : i == 1 ? mkdir(place, 0700)
                                  : mkfifo(place, 0600),
                         0);
        writes[0] = write_of("a", "new", 0644);
        assert_int_equal(
            helper_files_update(&fixture->folder, writes, 2, NULL, &has_changed, &error), -1);
        assert_false(has_changed);
        assert_non_null(strstr(error.text, "/b: there is"));
        expect_file(fixture, "a", "old", 0644);
        assert_int_equal(count_files(fixture), 2);
        writes[1].is_removal = true;
        assert_int_equal(
            helper_files_update(&fixture->folder, writes, 2, NULL, &has_changed, &error), -1);
        writes[1].is_removal = false;
        assert_int_equal(i == 1 ? rmdir(place) : unlink(place), 0);
    }
}

static void a_folder_is_judged(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        mode_t mode;
        bool is_secret, is_right;
    } cases[] = {
        {0700, true, true},   {0755, true, true},   {0775, false, true},  {0775, true, false},
        {0777, false, false}, {0707, false, false}, {01777, false, true}, {01777, true, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
        struct error error = {0};
        assert_int_equal(chmod(fixture->path, cases[i].mode), 0);
        int result = helper_folder_open(fixture->path, (uid_t)-1, cases[i].is_secret, false,
                                        &folder, &error);
        assert_int_equal(result, cases[i].is_right ? 0 : -1);
        assert_true(cases[i].is_right || strstr(error.text, "others can write there"));
    }
    assert_int_equal(chmod(fixture->path, 0700), 0);
}

static void a_key_goes_to_memory_only(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool is_right;
    } cases[] = {{"/dev/shm", true}, {"/proc", false}, {"/sys", false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(helper_folder_close) struct helper_folder folder = {.descriptor = -1};
        struct error error = {0};
        int result = helper_folder_open(cases[i].path, (uid_t)-1, true, true, &folder, &error);
        assert_int_equal(result, cases[i].is_right ? 0 : -1);
        assert_true(cases[i].is_right || strstr(error.text, "not on tmpfs or ramfs"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_differs_is_a_change, setup, teardown),
        cmocka_unit_test_setup_teardown(another_user_s_file_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_killed_process_left_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_is_a_change_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_is_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_is_judged, setup, teardown),
        cmocka_unit_test(a_key_goes_to_memory_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
