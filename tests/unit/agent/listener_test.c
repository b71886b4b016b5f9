#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/listener.h"
#include "agent/lock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

struct place {
    char folder[64];
    char path[96];
};

static int make_place(void **state)
{
    struct place *place = NEW(struct place);
    (void)snprintf(place->folder, sizeof(place->folder), "/tmp/signet-listener-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof(place->path), "%s/api.sock", place->folder);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    _cleanup_(free_cleanup) char *lock = file_join(place->folder, "lock");
    (void)unlink(lock);
    (void)unlink(place->path);
    assert_int_equal(rmdir(place->folder), 0);
    free(place);
    return 0;
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 07777;
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    int result = connect(descriptor, (const struct sockaddr *)&address, sizeof(address));
    (void)close(descriptor);
    return result;
}

static void the_mode_is_the_one_asked_for(void **state)
{
    const struct place *place = *state;
    static const struct {
        mode_t umask, mode;
    } cases[] = {{0077, 0777}, {0, 0600}, {0077, 0600}, {0777, 0777}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct listener listener = {.descriptor = -1};
        struct error error;
        mode_t before = umask(cases[i].umask);
        int result = listener_open(place->path, cases[i].mode, &listener, &error);
        (void)umask(before);
        assert_int_equal(result, 0);
        assert_int_equal(mode_of(place->path), cases[i].mode);
        assert_int_equal(dial(place->path), 0);
        listener_close(&listener);
        assert_int_equal(access(place->path, F_OK), -1);
    }
}

/* What bind alone gives, before the chmod that follows: never more than the mode. */
static void there_is_no_moment_with_a_wider_mode(void **state)
{
    const struct place *place = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", place->path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t before = umask(0);
    assert_int_equal(fchmod(descriptor, 0600), 0);
    assert_int_equal(bind(descriptor, (const struct sockaddr *)&address, sizeof(address)), 0);
    (void)umask(before);
    assert_int_equal(mode_of(place->path), 0600);
    (void)close(descriptor);
}

static void a_living_agents_socket_is_refused(void **state)
{
    const struct place *place = *state;
    struct listener first = {.descriptor = -1};
    struct listener second = {.descriptor = -1};
    struct error error;
    assert_int_equal(listener_open(place->path, 0777, &first, &error), 0);
    assert_int_equal(listener_open(place->path, 0777, &second, &error), -1);
    assert_int_equal(error.code, ERROR_ALREADY_EXISTS);
    assert_non_null(strstr(error.text, place->path));
    assert_non_null(strstr(error.text, "already in use"));
    assert_int_equal(dial(place->path), 0);
    listener_close(&first);
}

static void an_ended_agents_socket_is_taken_over(void **state)
{
    const struct place *place = *state;
    struct listener ended = {.descriptor = -1};
    struct listener next = {.descriptor = -1};
    struct error error;
    assert_int_equal(listener_open(place->path, 0777, &ended, &error), 0);
    (void)close(ended.descriptor); /* as kill -9 does: the file stays */
    ended.descriptor = -1;
    assert_int_equal(dial(place->path), -1);
    assert_int_equal(listener_open(place->path, 0600, &next, &error), 0);
    assert_int_equal(dial(place->path), 0);
    free(ended.path);
    listener_close(&next);
}

static void what_took_the_sockets_place_stays(void **state)
{
    const struct place *place = *state;
    struct listener listener = {.descriptor = -1};
    struct error error;
    assert_int_equal(listener_open(place->path, 0777, &listener, &error), 0);
    _cleanup_(free_cleanup) char *aside = text_format("%s.aside", place->path);
    assert_int_equal(rename(place->path, aside), 0); /* keeps its inode from being used again */
    int file = open(place->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    (void)close(file);
    listener_close(&listener);
    assert_int_equal(access(place->path, F_OK), 0);
    assert_int_equal(unlink(aside), 0);
}

static void what_is_not_a_socket_is_refused(void **state)
{
    const struct place *place = *state;
    struct listener listener = {.descriptor = -1};
    struct error error;
    int file = open(place->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    (void)close(file);
    assert_int_equal(listener_open(place->path, 0777, &listener, &error), -1);
    assert_int_equal(error.code, ERROR_ALREADY_EXISTS);
    assert_non_null(strstr(error.text, "not a socket"));
    assert_int_equal(access(place->path, F_OK), 0);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char path[200] = "/tmp/";
    struct listener listener = {.descriptor = -1};
    struct error error;
    memset(path + 5, 'x', sizeof(path) - 6);
    assert_int_equal(listener_open(path, 0777, &listener, &error), -1);
    assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "run_dir"));
}

static void a_folder_is_for_one_agent(void **state)
{
    const struct place *place = *state;
    struct error error;
    int first = -1;
    int second = -1;
    assert_int_equal(lock_folder(place->folder, "using it", "data_dir", &first, &error), 0);
    assert_int_equal(lock_folder(place->folder, "using it", "data_dir", &second, &error), -1);
    assert_int_equal(error.code, ERROR_ALREADY_EXISTS);
    _cleanup_(free_cleanup) char *pid = text_format("another agent, pid %d;", getpid());
    assert_non_null(strstr(error.text, pid));
    assert_non_null(strstr(error.text, "data_dir"));
    (void)close(first);
    assert_int_equal(lock_folder(place->folder, "using it", "data_dir", &second, &error), 0);
    (void)close(second);
}

static void a_lock_that_is_a_link_is_refused(void **state)
{
    const struct place *place = *state;
    struct error error;
    int descriptor = -1;
    _cleanup_(free_cleanup) char *lock = file_join(place->folder, "lock");
    assert_int_equal(symlink("/tmp/signet-listener-elsewhere", lock), 0);
    assert_int_equal(lock_folder(place->folder, "using it", "data_dir", &descriptor, &error), -1);
    assert_int_equal(access("/tmp/signet-listener-elsewhere", F_OK), -1);
}

#define AT_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_A_PLACE(the_mode_is_the_one_asked_for),
        AT_A_PLACE(there_is_no_moment_with_a_wider_mode),
        AT_A_PLACE(a_living_agents_socket_is_refused),
        AT_A_PLACE(an_ended_agents_socket_is_taken_over),
        AT_A_PLACE(what_took_the_sockets_place_stays),
        AT_A_PLACE(what_is_not_a_socket_is_refused),
        AT_A_PLACE(a_path_that_is_too_long_is_refused),
        AT_A_PLACE(a_folder_is_for_one_agent),
        AT_A_PLACE(a_lock_that_is_a_link_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
