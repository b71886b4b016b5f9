/* The issuer is killed at any moment: whatever it had answered by then is still so afterwards, and
 * no key is left in the hardware that the store does not know. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "lib/base/log.h"
#include "tests/unit/child_begin.h"
#include "tests/unit/issuer/fixture.h"

enum {
    ROUNDS = 30,
    LANES = 8,
    ANSWERS_MAX = 60,  /* of these a random number is waited for, */
    AFTER_MAX_MS = 40, /* then a random time, before the kill */
};

/* In the process that is killed: each lane adds an entry, gets an SVID for it, removes every
 * second, and says so on the pipe once it is answered. */
struct lane {
    struct fixture *fixture;
    int report;
    unsigned round, number, count;
    EVP_PKEY *key;
    struct fixture_x509 wanted;
    struct entry *entry;
};

static void lane_add(struct lane *lane);

static void tell(const struct lane *lane, char what, const char *name)
{
    char line[128];
    int size = snprintf(line, sizeof(line), "%c%s\n", what, name);
    /* Below PIPE_BUF: whole or not at all. */
    if (write(lane->report, line, (size_t)size) != size) {
        _exit(2);
    }
}

static void lane_removed(void *user, const struct entry *entry, const struct error *failure)
{
    struct lane *lane = user;
    if (failure) {
        _exit(3);
    }
    tell(lane, '-', entry->id);
    lane_add(lane);
}

static void lane_issued(struct x509_request *request, const struct error *failure)
{
    struct lane *lane = request->user;
    struct fixture *fixture = lane->fixture;
    /* For a moment there may be no authority: its life is seconds here. */
    if (!failure) {
        tell(lane, '#', request->serial);
    }
    _cleanup_(free_cleanup) char *id = memory_copy_text(lane->entry->id);
    buffer_clear(&lane->wanted.spki);
    buffer_clear(&request->chain);
    free(request->serial);
    entry_unref(lane->wanted.entry);
    memset(&lane->wanted, 0, sizeof(lane->wanted));
    if (lane->count % 2 == 0) {
        tell(lane, '?', id);
        fixture->issuer->operations->entry_remove(fixture->issuer, id, lane_removed, lane);
    } else {
        lane_add(lane);
    }
}

static void lane_added(void *user, const struct entry *entry, const struct error *failure)
{
    struct lane *lane = user;
    if (failure) {
        _exit(4);
    }
    tell(lane, '+', entry->id);
    entry_unref(lane->entry);
    lane->entry = entry_copy(entry);
    struct x509_request *request = &lane->wanted.request;
    uint8_t *spki = NULL;
    int size = i2d_PUBKEY(lane->key, &spki);
    buffer_append(&lane->wanted.spki, spki, (size_t)size);
    OPENSSL_free(spki);
    lane->wanted.entry = entry_ref(lane->entry);
    request->entry = lane->wanted.entry;
    request->public_key = buffer_bytes(&lane->wanted.spki);
    request->protection = "hardware";
    request->is_urgent = true;
    request->done = lane_issued;
    request->user = lane;
    lane->fixture->issuer->operations->x509_issue(lane->fixture->issuer, request);
}

static void lane_add(struct lane *lane)
{
    _cleanup_(free_cleanup) char *id =
        text_format("spiffe://example.org/%u/%u/%u", lane->round, lane->number, ++lane->count);
    lane->fixture->issuer->operations->entry_add(lane->fixture->issuer,
                                                 fixture_entry(id, "unix:uid:1"), lane_added, lane);
}

static void ignore_entry(void *user, struct entry *entry)
{
    (void)user;
    (void)entry;
}

static void ignore_id(void *user, const char *id)
{
    (void)user;
    (void)id;
}

static void ignore_bundle(void *user, struct bundle *bundle)
{
    (void)user;
    (void)bundle;
}

static void live(struct fixture *fixture, unsigned round, int report)
{
    static const struct issuer_listener listener = {NULL, ignore_entry, ignore_id, ignore_bundle};
    struct lane lanes[LANES];
    struct error failure;
    if (fixture_try_open(fixture, &failure) < 0) {
        (void)fprintf(stderr, "%s\n", failure.text);
        _exit(5);
    }
    (void)fixture->issuer->operations->start(fixture->issuer, &listener, &failure);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){.fixture = fixture,
                                 .report = report,
                                 .round = round,
                                 .number = i,
                                 .key = EVP_EC_gen("P-256")};
        lane_add(&lanes[i]);
    }
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    _exit(6);
}

/* In the process that remembers. */
static void check_answered(sqlite3 *database, const char *line)
{
    static const struct {
        char what;
        const char *sql;
        int64_t expected;
    } checks[] = {{'+', "SELECT count(*) FROM entry WHERE id = ?1", 1},
                  {'-', "SELECT count(*) FROM entry WHERE id = ?1", 0},
                  {'#', "SELECT count(*) FROM issued WHERE serial = ?1", 1}};
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        if (line[0] == checks[i].what) {
            sqlite3_stmt *statement = NULL;
            assert_int_equal(sqlite3_prepare_v2(database, checks[i].sql, -1, &statement, NULL),
                             SQLITE_OK);
            (void)sqlite3_bind_text(statement, 1, line + 1, -1, SQLITE_STATIC);
            assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
            if (sqlite3_column_int64(statement, 0) != checks[i].expected) {
                fail_msg("lost: %s", line);
            }
            (void)sqlite3_finalize(statement);
            return;
        }
    }
    fail_msg("not understood: %s", line);
}

/* Whether the line of an addition is followed by the wish to remove it, which may have been granted
 * without having been answered. */
static bool is_taken_back(const struct text_list *answers, const char *line)
{
    for (size_t i = 0; line[0] == '+' && i < answers->count; i++) {
        if (answers->items[i][0] == '?' && strcmp(answers->items[i] + 1, line + 1) == 0) {
            return true;
        }
    }
    return false;
}

static void check_store(const struct fixture *fixture, const struct text_list *answers)
{
    _cleanup_(free_cleanup) char *path = file_join(fixture->data_dir, "issuer.sqlite");
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    for (size_t i = 0; i < answers->count; i++) {
        if (answers->items[i][0] != '?' && !is_taken_back(answers, answers->items[i])) {
            check_answered(database, answers->items[i]);
        }
    }
    (void)sqlite3_close(database);
}

/* Each key in the hardware has its row. */
static void check_keys(const struct fixture *fixture)
{
    DIR *folder = opendir(fixture->keys_dir);
    for (struct dirent *item; (item = readdir(folder)) != NULL;) {
        if (strlen(item->d_name) == 32) {
            _cleanup_(free_cleanup) char *sql =
                text_format("SELECT count(*) FROM authority WHERE id = x'%s'", item->d_name);
            assert_int_equal(fixture_query(fixture, sql), 1);
        }
    }
    (void)closedir(folder);
}

/* Reads on until so many lines are there, or with SIZE_MAX to the end. */
static void read_lines(int descriptor, size_t count, struct buffer *text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->size; i++) {
        lines += text->data[i] == '\n';
    }
    while (lines < count) {
        struct pollfd wait = {.fd = descriptor, .events = POLLIN};
        char chunk[4096];
        assert_int_equal(poll(&wait, 1, FIXTURE_WAIT_MS), 1);
        ssize_t size = read(descriptor, chunk, sizeof(chunk));
        if (size <= 0) {
            return;
        }
        buffer_append(text, chunk, (size_t)size);
        for (ssize_t i = 0; i < size; i++) {
            lines += chunk[i] == '\n';
        }
    }
}

static void split_lines(const struct buffer *text, struct text_list *answers)
{
    struct reader reader = reader_of(buffer_bytes(text));
    while (!reader_is_done(&reader)) {
        struct bytes line = reader_until(&reader, '\n');
        _cleanup_(free_cleanup) char *copy = text_format("%.*s", (int)line.size, line.data);
        text_list_add(answers, copy);
    }
}

static void test_kill(void **state)
{
    struct fixture *fixture = *state;
    size_t answered = 0;
    fixture->config.ca_ttl_s = 2; /* so that keys are made and destroyed all the time */
    fixture->config.x509_svid_ttl_s = fixture->config.jwt_svid_ttl_s = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        _cleanup_(text_list_clear) struct text_list answers = {0};
        int pipes[2];
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            child_begin();
            /* Of its own: the parent's cannot be used by two. */
            if (uv_loop_fork(&fixture->loop) < 0) {
                _exit(7);
            }
            live(fixture, round, pipes[1]);
        }
        (void)close(pipes[1]);
        _cleanup_(buffer_clear) struct buffer text = {0};
        read_lines(pipes[0], clock_random_below(ANSWERS_MAX), &text);
        (void)usleep((useconds_t)clock_random_below(AFTER_MAX_MS * UINT64_C(1000)));
        assert_int_equal(kill(child, SIGKILL), 0);
        read_lines(pipes[0], SIZE_MAX, &text);
        split_lines(&text, &answers);
        (void)close(pipes[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status)) {
            fail_msg("the issuer ended by itself: %d", WEXITSTATUS(status));
        }
        answered += answers.count;
        if (answers.count > 0) {
            check_store(fixture, &answers);
            check_keys(fixture);
        }
    }
    assert_true(answered > 100);
    /* What the kills have left goes at the next start. */
    fixture->config.ca_ttl_s = 86400;
    fixture->config.x509_svid_ttl_s = fixture->config.jwt_svid_ttl_s = 3600;
    struct error failure;
    static const struct issuer_listener listener = {NULL, ignore_entry, ignore_id, ignore_bundle};
    if (fixture_try_open(fixture, &failure) < 0) {
        fail_msg("%s", failure.text);
    }
    assert_int_equal(fixture->issuer->operations->start(fixture->issuer, &listener, &failure), 0);
    fixture_look(fixture);
    fixture_close(fixture);
    check_keys(fixture);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM authority WHERE state IN "
                                            "('preparing', 'retired')"),
                     0);
    assert_int_equal(fixture_query(fixture, "SELECT count(*) FROM authority"),
                     soft_count_keys(&fixture->soft));
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
