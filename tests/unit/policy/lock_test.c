#include "agent/policy/lock.h"

#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/policy/lock_file.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
    char folder[64];
    char *file;
    struct locks *locks;
};

static int setup(void **state)
{
    struct error err = {0};
    struct fixture *fixture = NEW(struct fixture);
    (void)strcpy(fixture->folder, "/tmp/lock-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->file = file_join(fixture->folder, "locks.json");
    assert_int_equal(locks_open(fixture->folder, &fixture->locks, &err), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->locks) {
        locks_close(fixture->locks);
    }
    (void)chmod(fixture->folder, 0700);
    (void)unlink(fixture->file);
    (void)rmdir(fixture->folder);
    free(fixture->file);
    free(fixture);
    return 0;
}

static void reopen(struct fixture *fixture)
{
    struct error err = {0};
    locks_close(fixture->locks);
    fixture->locks = NULL;
    if (locks_open(fixture->folder, &fixture->locks, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static int add(struct locks *locks, enum lock_kind kind, const char *what, struct error *err)
{
    const struct lock *lock = NULL;
    const struct lock wanted = {
        .kind = kind, .what = (char *)what, .reason = (char *)"incident 7", .by = (char *)"uid 0"};
    int result = locks_add(locks, &wanted, &lock, err);
    assert_int_equal(result == 0, lock != NULL);
    return result;
}

static void must_add(struct locks *locks, enum lock_kind kind, const char *what)
{
    struct error err = {0};
    if (add(locks, kind, what, &err) < 0) {
        fail_msg("%s: %s", what, err.text);
    }
}

static void count_one(void *user, const struct lock *lock)
{
    assert_non_null(lock->id);
    ++*(size_t *)user;
}

static size_t count(const struct locks *locks)
{
    size_t found = 0;
    locks_each(locks, count_one, &found);
    return found;
}

static bool is_locked(const struct locks *locks, const char *spiffe_id)
{
    return locks_find(locks, spiffe_id, NULL) != NULL;
}

static const char *const ids[] = {"spiffe://a.org/x",  "spiffe://a.org/x/y", "spiffe://a.org/x/y/z",
                                  "spiffe://a.org/xy", "spiffe://a.org",     "spiffe://b.org/x"};

static void patterns(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *pattern;
        bool is_locked[ARRAY_SIZE(ids)];
    } cases[] = {
        {"spiffe://a.org/x", {true, false, false, false, false, false}},
        {"spiffe://a.org/x/*", {false, true, true, false, false, false}},
        {"spiffe://a.org/x/y/*", {false, false, true, false, false, false}},
        {"spiffe://a.org/*", {true, true, true, true, false, false}},
        {"spiffe://a.org", {false, false, false, false, true, false}},
        {"*", {true, true, true, true, true, true}},
        {"spiffe://c.org/*", {false, false, false, false, false, false}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t removed = 0;
        must_add(fixture->locks, LOCK_SPIFFE_ID, cases[i].pattern);
        for (size_t j = 0; j < ARRAY_SIZE(ids); j++) {
            if (is_locked(fixture->locks, ids[j]) != cases[i].is_locked[j]) {
                fail_msg("%s of %s", cases[i].pattern, ids[j]);
            }
        }
        assert_int_equal(locks_remove(fixture->locks, LOCK_SPIFFE_ID, cases[i].pattern, NULL,
                                      count_one, &removed, NULL),
                         0);
        assert_int_equal(removed, 1);
        assert_false(is_locked(fixture->locks, ids[0]));
    }
    assert_null(locks_find(fixture->locks, ids[0], NULL));
}

/* All of them at once, and after another start. */
static void kept(void **state)
{
    struct fixture *fixture = *state;
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", getpid());
    must_add(fixture->locks, LOCK_SPIFFE_ID, "spiffe://a.org/x");
    must_add(fixture->locks, LOCK_SPIFFE_ID, "spiffe://a.org/x/*");
    must_add(fixture->locks, LOCK_PID, own);
    must_add(fixture->locks, LOCK_EXECUTABLE, "sha256:" HEX);
    struct stat status;
    assert_int_equal(stat(fixture->file, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    reopen(fixture);
    assert_int_equal(count(fixture->locks), 4);
    assert_true(is_locked(fixture->locks, ids[0]) && is_locked(fixture->locks, ids[1]));
    assert_false(is_locked(fixture->locks, ids[3]));
    const struct lock *lock = locks_find(fixture->locks, ids[0], NULL);
    assert_string_equal(lock->reason, "incident 7");
    assert_string_equal(lock->by, "uid 0");
    assert_true(lock->created_at_s > 0 && lock->ends_at_s == 0);
    must_add(fixture->locks, LOCK_NODE, "");
    assert_true(is_locked(fixture->locks, ids[5]));
    reopen(fixture);
    assert_true(is_locked(fixture->locks, ids[5]));
}

static struct audit_process own_process(void)
{
    char id[24];
    struct audit_process process = {.pid = getpid()};
    (void)snprintf(id, sizeof(id), "%d", process.pid);
    struct fixture *fixture = NULL;
    assert_int_equal(setup((void **)&fixture), 0);
    must_add(fixture->locks, LOCK_PID, id);
    _cleanup_(lock_list_clear) struct lock_list list = {0};
    assert_int_equal(lock_file_read(fixture->file, &list, NULL), 0);
    process.start_time = list.items[0].start_time;
    (void)teardown((void **)&fixture);
    assert_true(process.start_time > 0);
    return process;
}

static void processes(void **state)
{
    struct fixture *fixture = *state;
    struct audit_process process = own_process();
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", process.pid);
    must_add(fixture->locks, LOCK_PID, own);
    assert_non_null(locks_find(fixture->locks, ids[0], &process));
    assert_null(locks_find(fixture->locks, ids[0], NULL));
    /* A later process with the same pid is another one. */
    process.start_time++;
    assert_null(locks_find(fixture->locks, ids[0], &process));
    process = (struct audit_process){.pid = process.pid + 1, .start_time = process.start_time - 1};
    assert_null(locks_find(fixture->locks, ids[0], &process));
}

static void executables(void **state)
{
    struct fixture *fixture = *state;
    char *items[] = {(char *)"unix:path:/bin/x", (char *)"unix:sha256:" HEX, (char *)"unix:uid:0"};
    const struct text_list selectors = {items, ARRAY_SIZE(items)};
    struct audit_process process = {.pid = 1, .sha256 = HEX};
    assert_false(locks_need_sha256(fixture->locks));
    must_add(fixture->locks, LOCK_EXECUTABLE, "sha256:" HEX);
    assert_true(locks_need_sha256(fixture->locks));
    assert_non_null(locks_find(fixture->locks, ids[0], &process));
    process.sha256 = NULL;
    assert_null(locks_find(fixture->locks, ids[0], &process));
    process.selectors = &selectors;
    assert_non_null(locks_find(fixture->locks, ids[0], &process));
    process.sha256 = "00";
    assert_null(locks_find(fixture->locks, ids[0], &process));
}

static void of_another_boot(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] =
        "{\"version\": 1, \"locks\": [{\"id\": \"0123456789abcdef\", \"kind\": \"pid\", \"what\": "
        "\"1\", \"reason\": \"r\", \"by\": \"b\", \"created_at\": 1, \"ends_at\": 0, "
        "\"start_time\": 1, \"boot_id\": \"other\"}]}";
    assert_int_equal(file_write_atomic(fixture->file, bytes_of_text(text), 0600, NULL), 0);
    reopen(fixture);
    assert_int_equal(count(fixture->locks), 0);
}

static void refused(void **state)
{
    struct fixture *fixture = *state;
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    char gone[16];
    (void)snprintf(gone, sizeof(gone), "%d", child);
    const struct {
        enum lock_kind kind;
        enum error_code code;
        const char *what, *text;
    } cases[] = {
        {LOCK_SPIFFE_ID, ERROR_INVALID_ARGUMENT, "", "spiffe://"},
        {LOCK_SPIFFE_ID, ERROR_INVALID_ARGUMENT, "spiffe://a.org/*/b", "'*'"},
        {LOCK_SPIFFE_ID, ERROR_INVALID_ARGUMENT, "spiffe://a.org/x*", "'*'"},
        {LOCK_SPIFFE_ID, ERROR_INVALID_ARGUMENT, "https://a.org/x", "spiffe://"},
        {LOCK_PID, ERROR_INVALID_ARGUMENT, "", "number from 1"},
        {LOCK_PID, ERROR_INVALID_ARGUMENT, "0", "number from 1"},
        {LOCK_PID, ERROR_INVALID_ARGUMENT, "01", "number from 1"},
        {LOCK_PID, ERROR_INVALID_ARGUMENT, "-1", "number from 1"},
        {LOCK_PID, ERROR_INVALID_ARGUMENT, "99999999999", "number from 1"},
        {LOCK_PID, ERROR_NOT_FOUND, gone, "no such process"},
        {LOCK_EXECUTABLE, ERROR_INVALID_ARGUMENT, "", "sha256:"},
        {LOCK_EXECUTABLE, ERROR_INVALID_ARGUMENT, "/bin/sh", "sha256:"},
        {LOCK_EXECUTABLE, ERROR_INVALID_ARGUMENT, "sha256:00", "64"},
        {LOCK_EXECUTABLE, ERROR_INVALID_ARGUMENT, "sha256:" HEX "0", "64"},
        {LOCK_EXECUTABLE, ERROR_INVALID_ARGUMENT,
         "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "lower case"},
        {LOCK_NODE, ERROR_INVALID_ARGUMENT, "x", "node"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        assert_int_equal(add(fixture->locks, cases[i].kind, cases[i].what, &err), -1);
        if (err.code != cases[i].code || !strstr(err.text, cases[i].text)) {
            fail_msg("%s: %s", cases[i].what, err.text);
        }
    }
    assert_int_equal(count(fixture->locks), 0);
}

static void refused_words(void **state)
{
    struct fixture *fixture = *state;
    static char too_long[LOCK_REASON_MAX_BYTES + 2];
    memset(too_long, 'a', sizeof(too_long) - 1);
    const struct {
        const char *reason, *by;
        int64_t ends_at_s;
        const char *text;
    } cases[] = {
        {"", "b", 0, "needs a reason"}, {"   ", "b", 0, "needs a reason"},
        {too_long, "b", 0, "longer"},   {"a\nb", "b", 0, "control"},
        {"\xff", "b", 0, "UTF-8"},      {"r", "", 0, "who made it"},
        {"r", "b", 1, "future"},        {"r", "b", -1, "future"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        const struct lock *lock = NULL;
        const struct lock wanted = {.kind = LOCK_NODE,
                                    .what = (char *)"",
                                    .reason = (char *)cases[i].reason,
                                    .by = (char *)cases[i].by,
                                    .ends_at_s = cases[i].ends_at_s};
        assert_int_equal(locks_add(fixture->locks, &wanted, &lock, &err), -1);
        assert_null(lock);
        if (!strstr(err.text, cases[i].text)) {
            fail_msg("%s", err.text);
        }
    }
}

/* The same again is one lock, with the new words. */
static void again(void **state)
{
    struct fixture *fixture = *state;
    const struct lock *lock = NULL;
    struct lock wanted = {.kind = LOCK_SPIFFE_ID,
                          .what = (char *)"spiffe://a.org/*",
                          .reason = (char *)"one",
                          .by = (char *)"uid 0"};
    assert_int_equal(locks_add(fixture->locks, &wanted, &lock, NULL), 0);
    _cleanup_(free_cleanup) char *id = memory_copy_text(lock->id);
    wanted.reason = (char *)"two";
    wanted.ends_at_s = clock_now_s() + 100;
    assert_int_equal(locks_add(fixture->locks, &wanted, &lock, NULL), 0);
    assert_string_equal(lock->id, id);
    assert_string_equal(lock->reason, "two");
    assert_int_equal(lock->ends_at_s, wanted.ends_at_s);
    assert_int_equal(count(fixture->locks), 1);
    size_t removed = 0;
    struct error err = {0};
    assert_int_equal(
        locks_remove(fixture->locks, LOCK_NODE, "", "0000000000000000", count_one, &removed, &err),
        -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(locks_remove(fixture->locks, LOCK_NODE, "", NULL, count_one, &removed, &err),
                     -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_int_equal(locks_remove(fixture->locks, LOCK_NODE, NULL, id, count_one, &removed, &err),
                     0);
    assert_int_equal(removed, 1);
    assert_false(is_locked(fixture->locks, ids[1]));
}

static void ends(void **state)
{
    struct fixture *fixture = *state;
    const struct lock *lock = NULL;
    size_t removed = 0;
    int64_t now_s = clock_now_s();
    struct lock wanted = {.kind = LOCK_SPIFFE_ID,
                          .what = (char *)"spiffe://a.org/x",
                          .reason = (char *)"r",
                          .by = (char *)"uid 0",
                          .ends_at_s = now_s + 100};
    assert_int_equal(locks_expire(fixture->locks, now_s, count_one, &removed), 0);
    assert_int_equal(locks_add(fixture->locks, &wanted, &lock, NULL), 0);
    wanted.what = (char *)"spiffe://a.org/x/y";
    wanted.ends_at_s = now_s + 200;
    assert_int_equal(locks_add(fixture->locks, &wanted, &lock, NULL), 0);
    must_add(fixture->locks, LOCK_SPIFFE_ID, "spiffe://b.org/*");
    assert_int_equal(locks_expire(fixture->locks, now_s + 99, count_one, &removed), now_s + 100);
    assert_int_equal(removed, 0);
    assert_int_equal(locks_expire(fixture->locks, now_s + 100, count_one, &removed), now_s + 200);
    assert_int_equal(removed, 1);
    assert_false(is_locked(fixture->locks, ids[0]));
    assert_true(is_locked(fixture->locks, ids[1]));
    reopen(fixture);
    assert_int_equal(count(fixture->locks), 2);
    assert_int_equal(locks_expire(fixture->locks, now_s + 1000, count_one, &removed), 0);
    assert_int_equal(count(fixture->locks), 1);
    assert_true(is_locked(fixture->locks, ids[5]));
}

/* A lock is in force though its file cannot be written; an unlock is not. */
static void no_disk(void **state)
{
    struct fixture *fixture = *state;
    const struct lock *lock = NULL;
    size_t removed = 0;
    struct error err = {0};
    const struct lock wanted = {.kind = LOCK_SPIFFE_ID,
                                .what = (char *)"spiffe://a.org/x",
                                .reason = (char *)"r",
                                .by = (char *)"uid 0"};
    /* Not by its mode: root may write everywhere. */
    assert_int_equal(rmdir(fixture->folder), 0);
    assert_int_equal(locks_add(fixture->locks, &wanted, &lock, &err), -1);
    assert_non_null(lock);
    assert_non_null(strstr(err.text, "in force"));
    assert_true(is_locked(fixture->locks, ids[0]));
    assert_int_equal(locks_remove(fixture->locks, LOCK_SPIFFE_ID, "spiffe://a.org/x", NULL,
                                  count_one, &removed, &err),
                     -1);
    assert_non_null(strstr(err.text, "nothing is unlocked"));
    assert_int_equal(removed, 0);
    assert_true(is_locked(fixture->locks, ids[0]));
    /* As soon as there is a disk again. */
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    assert_int_equal(locks_expire(fixture->locks, clock_now_s(), count_one, &removed), 0);
    reopen(fixture);
    assert_true(is_locked(fixture->locks, ids[0]));
}

#define LOCK(id, kind, what, more)                                                                 \
    "{\"id\": \"" id "\", \"kind\": \"" kind "\", \"what\": \"" what                               \
    "\", \"reason\": \"r\", \"by\": \"b\", \"created_at\": 1, \"ends_at\": 0" more "}"
#define FILE_OF(locks) "{\"version\": 1, \"locks\": [" locks "]}"
#define ID "0123456789abcdef"

static void damaged(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "line 1"},
        {"[]", "expected is an object"},
        {"{", "line 1"},
        {"{\"version\": 2, \"locks\": []}", "\"version\", which is 1"},
        {"{\"version\": \"1\", \"locks\": []}", "\"version\", which is 1"},
        {"{\"version\": 1}", "expected is an object"},
        {"{\"version\": 1, \"locks\": {}}", "expected is an object"},
        {"{\"version\": 1, \"locks\": [], \"x\": 1}", "expected is an object"},
        {"{\"version\": 1, \"version\": 1, \"locks\": []}", "duplicate"},
        {FILE_OF("1"), "lock 1: its \"kind\""},
        {FILE_OF("{}"), "lock 1: its \"kind\""},
        {FILE_OF(LOCK("0123", "node", "", "")), "lock 1: its \"id\""},
        {FILE_OF(LOCK("0123456789ABCDEF", "node", "", "")), "lock 1: its \"id\""},
        {FILE_OF(LOCK(ID, "host", "", "")), "lock 1: a lock is of"},
        {FILE_OF(LOCK(ID, "node", "", ", \"x\": 1")), "do not belong"},
        {FILE_OF(LOCK(ID, "node", "", ", \"by\": \"c\"")), "duplicate"},
        {FILE_OF(LOCK(ID, "node", "", ", \"start_time\": 1, \"boot_id\": \"b\"")), "do not belong"},
        {FILE_OF(LOCK(ID, "pid", "1", "")), "lock 1: its \"boot_id\""},
        {FILE_OF(LOCK(ID, "pid", "x", ", \"start_time\": 1, \"boot_id\": \"b\"")), "a pid is"},
        {FILE_OF(LOCK(ID, "pid", "1", ", \"start_time\": -1, \"boot_id\": \"b\"")), "below 0"},
        {FILE_OF(LOCK(ID, "spiffe_id", "a", "")), "lock 1: pattern"},
        {FILE_OF(LOCK(ID, "node", "", "") "," LOCK(ID, "spiffe_id", "*", "")), "lock 2"},
        {FILE_OF(LOCK(ID, "node", "", "") "," LOCK("1123456789abcdef", "node", "", "")),
         "lock 2 is there twice"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        struct locks *locks = NULL;
        assert_int_equal(file_write_atomic(fixture->file, bytes_of_text(cases[i].text), 0600, NULL),
                         0);
        assert_int_equal(locks_open(fixture->folder, &locks, &err), -1);
        if (!strstr(err.text, cases[i].expected) || !strstr(err.text, fixture->file) ||
            !strstr(err.text, "put back a copy")) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
    }
}

/* What is no file does not count as no locks. */
static void not_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    struct locks *locks = NULL;
    assert_int_equal(mkdir(fixture->file, 0700), 0);
    assert_int_equal(locks_open(fixture->folder, &locks, &err), -1);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(rmdir(fixture->file), 0);
    assert_int_equal(mkfifo(fixture->file, 0600), 0);
    assert_int_equal(locks_open(fixture->folder, &locks, &err), -1);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(unlink(fixture->file), 0);
    assert_int_equal(symlink("/dev/null", fixture->file), 0);
    assert_int_equal(locks_open(fixture->folder, &locks, &err), -1);
}

static void too_many(void **state)
{
    struct fixture *fixture = *state;
    enum { BLOCK = LOCKS_MAX };
    _cleanup_(buffer_clear) struct buffer text = {0};
    buffer_append_text(&text, "{\"version\": 1, \"locks\": [");
    for (size_t i = 0; i < BLOCK; i++) {
        _cleanup_(free_cleanup) char *item =
            text_format("%s{\"id\": \"%016zx\", \"kind\": \"spiffe_id\", \"what\": "
                        "\"spiffe://a.org/n/%zu\", \"reason\": \"r\", \"by\": \"b\", "
                        "\"created_at\": 1, \"ends_at\": 0}",
                        i ? "," : "", i, i);
        buffer_append_text(&text, item);
    }
    buffer_append_text(&text, "]}");
    assert_int_equal(file_write_atomic(fixture->file, buffer_bytes(&text), 0600, NULL), 0);
    reopen(fixture);
    assert_int_equal(count(fixture->locks), LOCKS_MAX);
    assert_true(is_locked(fixture->locks, "spiffe://a.org/n/9999"));
    assert_false(is_locked(fixture->locks, "spiffe://a.org/n/10000"));
    struct error err = {0};
    assert_int_equal(add(fixture->locks, LOCK_NODE, "", &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    /* One that is there may still be changed. */
    must_add(fixture->locks, LOCK_SPIFFE_ID, "spiffe://a.org/n/5");
}

static void names(void **state)
{
    (void)state;
    enum lock_kind kind = LOCK_NODE;
    for (size_t i = 0; i <= LOCK_NODE; i++) {
        assert_int_equal(lock_kind_parse(lock_kind_name((enum lock_kind)i), &kind, NULL), 0);
        assert_int_equal(kind, i);
    }
    assert_int_equal(lock_kind_parse("", &kind, NULL), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(patterns),
        TEST(kept),
        TEST(processes),
        TEST(executables),
        TEST(of_another_boot),
        TEST(refused),
        TEST(refused_words),
        TEST(again),
        TEST(ends),
        TEST(no_disk),
        TEST(damaged),
        TEST(not_a_file),
        TEST(too_many),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
