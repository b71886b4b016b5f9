#include "agent/workload/attest.h"

#include "tests/unit/workload/child.h"

#include <grp.h>
#include <linux/limits.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/workload/proc.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

static const char sleep_path[] = "/usr/bin/sleep";

/* Where programs are copied to; every user may run them there. */
static char folder[] = "/tmp/attest_test.XXXXXX";

struct answer {
    unsigned count;
    bool is_during_call; /* done ran before attestor_attest returned */
    struct text_list selectors;
    struct error failure;
};

struct bench {
    uv_loop_t loop;
    struct attestor *attestor;
};

static void bench_open(struct bench *bench, const struct attestor_config *config)
{
    struct error err = {0};
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    assert_int_equal(attestor_new(&bench->loop, config, &bench->attestor, &err), 0);
    attestor_set_needs_sha256(bench->attestor, true);
}

static void bench_close(struct bench *bench)
{
    attestor_free(bench->attestor);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
}

static void answered(void *user, const struct text_list *selectors, const struct error *failure)
{
    struct answer *answer = user;
    answer->count++;
    text_list_clear(&answer->selectors);
    answer->failure = failure ? *failure : (struct error){0};
    if (selectors) {
        text_list_copy(&answer->selectors, selectors);
    }
}

static void attest(struct bench *bench, struct peer *peer, struct answer *answer)
{
    answer->count = 0;
    attestor_attest(bench->attestor, peer, answered, answer);
    answer->is_during_call = answer->count > 0;
    (void)uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(answer->count, 1);
}

static struct peer *peer_of(const struct child *child)
{
    struct peer *peer = NULL;
    struct error err = {0};
    if (peer_of_socket(child->socket, &peer, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return peer;
}

/* The answer for a new process, which is ended again. status is not -1 where it could not be made
 * as planned. */
static int attest_child(struct bench *bench, const struct child_plan *plan, struct answer *answer)
{
    struct child child = child_start(plan);
    int status = child.status;
    if (status == -1) {
        struct peer *peer = peer_of(&child);
        attest(bench, peer, answer);
        peer_unref(peer);
    }
    child_stop(&child);
    return status;
}

static bool has(const struct answer *answer, const char *selector)
{
    return text_list_has_sorted(&answer->selectors, selector);
}

static bool has_kind(const struct answer *answer, const char *kind)
{
    for (size_t i = 0; i < answer->selectors.count; i++) {
        if (strncmp(answer->selectors.items[i], kind, strlen(kind)) == 0) {
            return true;
        }
    }
    return false;
}

static void assert_has(const struct answer *answer, const char *kind, const char *value)
{
    _cleanup_(free_cleanup) char *selector = text_format("unix:%s:%s", kind, value);
    if (!has(answer, selector)) {
        for (size_t i = 0; i < answer->selectors.count; i++) {
            print_error("  %s\n", answer->selectors.items[i]);
        }
        fail_msg("no %s (%s)", selector, answer->failure.text);
    }
}

static char *hash_of(const char *path)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    struct error err = {0};
    _cleanup_(buffer_clear) struct buffer contents = {0};
    assert_int_equal(buffer_read_file(path, 64 << 20, &contents, &err), 0);
    assert_int_equal(EVP_Digest(contents.data, contents.size, digest, &size, EVP_sha256(), NULL),
                     1);
    return text_hex((struct bytes){digest, size});
}

/* A copy of sleep below the folder; the caller frees the path. */
static char *copy_of_sleep(const char *name)
{
    struct error err = {0};
    _cleanup_(buffer_clear) struct buffer contents = {0};
    char *path = file_join(folder, name);
    assert_int_equal(buffer_read_file(sleep_path, 64 << 20, &contents, &err), 0);
    assert_int_equal(file_write_atomic(path, buffer_bytes(&contents), 0755, &err), 0);
    return path;
}

enum { SOME_ID = 61234 };

static int become_somebody(void *user)
{
    const gid_t groups[] = {61301, 61300, 0, 61300};
    (void)user;
    return setgroups(ARRAY_SIZE(groups), groups) < 0 || setgid(SOME_ID + 1) < 0 ||
                   setuid(SOME_ID) < 0
               ? 50
               : 0;
}

static void every_selector(void **state)
{
    const struct child_plan plan = {.program = sleep_path};
    struct answer answer = {0};
    _cleanup_(free_cleanup) char *uid = text_format("%u", geteuid());
    _cleanup_(free_cleanup) char *gid = text_format("%u", getegid());
    _cleanup_(free_cleanup) char *hash = hash_of(sleep_path);
    assert_int_equal(attest_child(*state, &plan, &answer), -1);
    assert_has(&answer, "uid", uid);
    assert_has(&answer, "user", getpwuid(geteuid())->pw_name);
    assert_has(&answer, "gid", gid);
    assert_has(&answer, "group", getgrgid(getegid())->gr_name);
    assert_has(&answer, "path", sleep_path);
    assert_has(&answer, "sha256", hash);
    text_list_clear(&answer.selectors);
}

static void exactly_these(void **state)
{
    if (geteuid() != 0) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    _cleanup_(text_list_clear) struct text_list expected = {0};
    _cleanup_(free_cleanup) char *hash = hash_of(sleep_path);
    _cleanup_(free_cleanup) char *sha256 = text_format("unix:sha256:%s", hash);
    static const char *const selectors[] = {
        "unix:uid:61234",
        "unix:gid:61235",
        "unix:supplementary_gid:0",
        "unix:supplementary_group:root",
        "unix:supplementary_gid:61300",
        "unix:supplementary_gid:61301",
        "unix:path:/usr/bin/sleep",
    };
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
        text_list_add(&expected, selectors[i]);
    }
    text_list_add(&expected, sha256);
    text_list_sort_unique(&expected);
    const struct child_plan plan = {.before = become_somebody, .program = sleep_path};
    struct answer answer = {0};
    assert_int_equal(attest_child(*state, &plan, &answer), -1);
    assert_true(text_list_is_equal(&answer.selectors, &expected));
    text_list_clear(&answer.selectors);
}

static void known_process(void **state)
{
    struct bench *bench = *state;
    struct child child = child_start(&(struct child_plan){.program = sleep_path});
    struct peer *peer = peer_of(&child);
    struct answer answer = {0};
    /* A file that was changed just now is hashed each time. */
    uint64_t deadline_ms = clock_monotonic_ms() + CHILD_WAIT_MS;
    do {
        attest(bench, peer, &answer);
    } while (!answer.is_during_call && clock_monotonic_ms() < deadline_ms);
    assert_true(answer.is_during_call);
    assert_true(has_kind(&answer, "unix:sha256:"));
    enum { TIMES = 2000 };
    struct timespec start, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned i = 0; i < TIMES; i++) {
        attestor_attest(bench->attestor, peer, answered, &answer);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(answer.count, TIMES + 1);
    double taken_us =
        (double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    print_message("%.1f us for an attestation of a known process\n", taken_us / (double)TIMES);
    peer_unref(peer);
    child_stop(&child);
    text_list_clear(&answer.selectors);
}

static void odd_names(void **state)
{
    static const struct {
        const char *name;
        bool has_path;
    } cases[] = {
        {"plain", true},
        {"with space", true},
        {" ", true},
        {"\xc3\xa4\xe2\x82\xac", true},
        {"quote\"'\\:;*", true},
        {"x (deleted)x", true},
        {"line\nunix:uid:0", false},
        {"tab\t", false},
        {"latin\xe4", false},
        {"real (deleted)", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(free_cleanup) char *path = copy_of_sleep(cases[i].name);
        _cleanup_(free_cleanup) char *hash = hash_of(path);
        struct answer answer = {0};
        assert_int_equal(attest_child(*state, &(struct child_plan){.program = path}, &answer), -1);
        assert_int_equal(unlink(path), 0);
        assert_has(&answer, "sha256", hash);
        if (cases[i].has_path) {
            assert_has(&answer, "path", path);
        } else if (has_kind(&answer, "unix:path:")) {
            fail_msg("a path for %s", path);
        }
        text_list_clear(&answer.selectors);
    }
}

static void long_path(void **state)
{
    struct answer answer = {0};
    /* One folder below another, beyond what a path may hold. */
    char name[NAME_MAX + 1];
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    _cleanup_(free_cleanup) char *original = copy_of_sleep("long");
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(chdir(folder), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(mkdir(name, 0755), 0);
        assert_int_equal(chdir(name), 0);
    }
    assert_int_equal(link(original, "sleep"), 0);
    assert_int_equal(attest_child(*state, &(struct child_plan){.program = "./sleep"}, &answer), -1);
    assert_false(has_kind(&answer, "unix:path:"));
    assert_true(has_kind(&answer, "unix:sha256:"));
    assert_int_equal(unlink("sleep"), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(chdir(".."), 0);
        assert_int_equal(rmdir(name), 0);
    }
    assert_int_equal(fchdir(here), 0);
    assert_int_equal(close(here), 0);
    assert_int_equal(unlink(original), 0);
    text_list_clear(&answer.selectors);
}

static void deleted_program(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};
    _cleanup_(free_cleanup) char *path = copy_of_sleep("gone");
    _cleanup_(free_cleanup) char *other = file_join(folder, "other");
    _cleanup_(free_cleanup) char *hash = hash_of(path);
    struct child child = child_start(&(struct child_plan){.program = path});
    struct peer *peer = peer_of(&child);
    attest(bench, peer, &answer);
    assert_has(&answer, "path", path);
    /* It lives on under another name; the one it was started by is gone. */
    assert_int_equal(link(path, other), 0);
    assert_int_equal(unlink(path), 0);
    attest(bench, peer, &answer);
    assert_false(has_kind(&answer, "unix:path:"));
    assert_has(&answer, "sha256", hash);
    struct proc_namespace home;
    struct proc_program program;
    struct error err = {0};
    assert_int_equal(proc_own_user_namespace(&home, &err), 0);
    proc_read_program(peer->proc, &home, &program);
    assert_true(program.is_known);
    assert_string_equal(program.path, "");
    /* Somebody else's file of the old name changes nothing. */
    assert_int_equal(symlink("/bin/true", path), 0);
    attest(bench, peer, &answer);
    assert_false(has_kind(&answer, "unix:path:"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
    attest(bench, peer, &answer);
    assert_false(has_kind(&answer, "unix:path:"));
    assert_has(&answer, "sha256", hash);
    peer_unref(peer);
    child_stop(&child);
    text_list_clear(&answer.selectors);
}

/* In a mount namespace of its own, sleep stands at the name of true. */
static int replace_true(void *user)
{
    int flags = *(int *)user;
    return unshare(flags) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                   mount(sleep_path, "/usr/bin/true", NULL, MS_BIND, NULL) < 0
               ? 60
               : 0;
}

static void other_mount_namespace(void **state)
{
    int flags = CLONE_NEWNS;
    struct answer answer = {0};
    const struct child_plan plan = {
        .before = replace_true, .user = &flags, .program = "/usr/bin/true"};
    if (attest_child(*state, &plan, &answer) != -1) {
        print_message("skipped: not allowed to make a mount namespace\n");
        skip();
    }
    _cleanup_(free_cleanup) char *hash = hash_of(sleep_path);
    assert_has(&answer, "path", "/usr/bin/true");
    assert_has(&answer, "sha256", hash);
    text_list_clear(&answer.selectors);
}

static void other_user_namespace(void **state)
{
    int flags = CLONE_NEWNS | CLONE_NEWUSER;
    struct answer answer = {0};
    const struct child_plan plan = {
        .before = replace_true, .user = &flags, .program = "/usr/bin/true"};
    if (attest_child(*state, &plan, &answer) != -1) {
        print_message("skipped: not allowed to make a user namespace\n");
        skip();
    }
    _cleanup_(free_cleanup) char *hash = hash_of(sleep_path);
    _cleanup_(free_cleanup) char *uid = text_format("%u", geteuid());
    assert_false(has_kind(&answer, "unix:path:"));
    assert_has(&answer, "sha256", hash);
    assert_has(&answer, "uid", uid);
    text_list_clear(&answer.selectors);
}

static void no_hash_unless_needed(void **state)
{
    (void)state;
    struct bench bench;
    struct stat status;
    struct answer answer = {0};
    const struct child_plan plan = {.program = sleep_path};
    assert_int_equal(stat(sleep_path, &status), 0);
    bench_open(&bench, &(struct attestor_config){.sha256_limit_bytes = (uint64_t)status.st_size});
    attestor_set_needs_sha256(bench.attestor, false);
    assert_int_equal(attest_child(&bench, &plan, &answer), -1);
    assert_false(has_kind(&answer, "unix:sha256:"));
    attestor_set_needs_sha256(bench.attestor, true);
    assert_int_equal(attest_child(&bench, &plan, &answer), -1);
    assert_true(has_kind(&answer, "unix:sha256:"));
    bench_close(&bench);
    bench_open(&bench,
               &(struct attestor_config){.sha256_limit_bytes = (uint64_t)status.st_size - 1});
    assert_int_equal(attest_child(&bench, &plan, &answer), -1);
    assert_false(has_kind(&answer, "unix:sha256:"));
    assert_true(has_kind(&answer, "unix:path:"));
    /* That it is too large is known without a look into it. */
    struct child child = child_start(&plan);
    struct peer *peer = peer_of(&child);
    attest(&bench, peer, &answer);
    assert_true(answer.is_during_call);
    peer_unref(peer);
    child_stop(&child);
    bench_close(&bench);
    text_list_clear(&answer.selectors);
}

static void changed_identity(void **state)
{
    struct answer answer = {0};
    const struct child_plan plan = {.after = become_somebody};
    if (geteuid() != 0) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(attest_child(*state, &plan, &answer), -1);
    assert_int_equal(answer.failure.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(answer.failure.text, "acts as uid 61234 gid 61235 now"));
    assert_int_equal(answer.selectors.count, 0);
}

static void ended_process(void **state)
{
    struct child child = child_start(&(struct child_plan){.program = sleep_path});
    struct peer *peer = peer_of(&child);
    struct answer answer = {0};
    /* First while its parent has not taken note, then when it is gone altogether. */
    siginfo_t ended;
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)child.pid, &ended, WEXITED | WNOWAIT), 0);
    attest(*state, peer, &answer);
    assert_int_equal(answer.failure.code, ERROR_UNAVAILABLE);
    child_stop(&child);
    attest(*state, peer, &answer);
    assert_int_equal(answer.failure.code, ERROR_UNAVAILABLE);
    assert_int_equal(answer.selectors.count, 0);
    peer_unref(peer);
}

static int join_groups(void *user)
{
    unsigned count = *(unsigned *)user;
    _cleanup_(free_cleanup) gid_t *groups = memory_new_array(count, sizeof(*groups));
    for (unsigned i = 0; i < count; i++) {
        groups[i] = 4000000000U + i;
    }
    return setgroups(count, groups) < 0 ? 70 : 0;
}

static void many_groups(void **state)
{
    unsigned count = PROC_GROUPS_MAX;
    const struct child_plan plan = {.before = join_groups, .user = &count};
    struct answer answer = {0};
    if (attest_child(*state, &plan, &answer) != -1) {
        print_message("skipped: not allowed to join groups\n");
        skip();
    }
    assert_has(&answer, "supplementary_gid", "4000000000");
    assert_has(&answer, "supplementary_gid", "4000004095");
    assert_true(answer.selectors.count >= PROC_GROUPS_MAX);
    count++;
    assert_int_equal(attest_child(*state, &plan, &answer), -1);
    assert_int_equal(answer.failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(answer.failure.text, "more than 4096 supplementary groups"));
}

static void many_at_once(void **state)
{
    (void)state;
    enum { COUNT = 200, CHILDREN = 4 };
    struct bench bench;
    struct child children[CHILDREN];
    struct peer *peers[CHILDREN];
    static struct answer answers[COUNT];
    _cleanup_(free_cleanup) char *hash = hash_of(sleep_path);
    bench_open(&bench, &(struct attestor_config){0});
    for (unsigned i = 0; i < CHILDREN; i++) {
        const struct child_plan plan = {.before = i % 2 && geteuid() == 0 ? become_somebody : NULL,
                                        .program = sleep_path};
        children[i] = child_start(&plan);
        peers[i] = peer_of(&children[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        attestor_attest(bench.attestor, peers[i % CHILDREN], answered, &answers[i]);
    }
    /* Some end meanwhile; each is answered all the same. */
    child_stop(&children[3]);
    (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].count, 1);
        if (i % CHILDREN == 3) {
            assert_int_equal(answers[i].failure.code, ERROR_UNAVAILABLE);
        } else {
            assert_has(&answers[i], "sha256", hash);
        }
        text_list_clear(&answers[i].selectors);
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        peer_unref(peers[i]);
        child_stop(&children[i]);
    }
    bench_close(&bench);
}

/* One program, then another one, in the same process: it is never a mixture of both. */
static void started_another(void **state)
{
    struct bench *bench = *state;
    struct answer answer = {0};
    _cleanup_(free_cleanup) char *path = file_join(folder, "script");
    _cleanup_(free_cleanup) char *other = copy_of_sleep("another");
    _cleanup_(free_cleanup) char *script = text_format(
        "#!/bin/sh\ntrap 'exec %s 1000' USR1\nwhile :; do read x <%s/fifo; done\n", other, folder);
    _cleanup_(free_cleanup) char *fifo = file_join(folder, "fifo");
    struct error err = {0};
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(file_write_atomic(path, bytes_of_text(script), 0755, &err), 0);
    struct child child = child_start(&(struct child_plan){.program = path});
    struct peer *peer = peer_of(&child);
    attest(bench, peer, &answer);
    assert_false(has_kind(&answer, "unix:path:/tmp"));
    /* The shell has set its trap once it waits at the fifo. */
    int hold = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_int_equal(kill(child.pid, SIGUSR1), 0);
    assert_int_equal(close(hold), 0);
    _cleanup_(free_cleanup) char *expected = text_format("unix:path:%s", other);
    for (unsigned i = 0; i < 100000 && !has(&answer, expected); i++) {
        attest(bench, peer, &answer);
        assert_int_equal(answer.failure.code, ERROR_OK);
    }
    _cleanup_(free_cleanup) char *hash = hash_of(other);
    assert_has(&answer, "path", other);
    assert_has(&answer, "sha256", hash);
    peer_unref(peer);
    child_stop(&child);
    assert_int_equal(unlink(path) | unlink(other) | unlink(fifo), 0);
    text_list_clear(&answer.selectors);
}

static int set_up(void **state)
{
    static struct bench bench;
    if (!mkdtemp(folder) || chmod(folder, 0755) < 0) {
        return -1;
    }
    bench_open(&bench, &(struct attestor_config){0});
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    bench_close(*state);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_selector),
        cmocka_unit_test(exactly_these),
        cmocka_unit_test(known_process),
        cmocka_unit_test(odd_names),
        cmocka_unit_test(long_path),
        cmocka_unit_test(deleted_program),
        cmocka_unit_test(other_mount_namespace),
        cmocka_unit_test(other_user_namespace),
        cmocka_unit_test(no_hash_unless_needed),
        cmocka_unit_test(changed_identity),
        cmocka_unit_test(ended_process),
        cmocka_unit_test(many_groups),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(started_another),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
