#include "agent/access/usage.h"

#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/access/usage_store.h"
#include "lib/base/bytes.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { DAY_S = 86400 };

struct fixture {
    char folder[64];
    char *file;
    uv_loop_t loop;
    struct usage *usage;
};

static void open_usage(struct fixture *fixture)
{
    struct error err = {0};
    if (usage_open(&fixture->loop, fixture->folder, &fixture->usage, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void close_usage(struct fixture *fixture)
{
    usage_close(take_ptr(fixture->usage));
    assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
}

static void reopen(struct fixture *fixture)
{
    close_usage(fixture);
    open_usage(fixture);
}

static int setup(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    (void)strcpy(fixture->folder, "/tmp/usage-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->file = file_join(fixture->folder, "usage.db");
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    open_usage(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    static const char *const endings[] = {"", "-wal", "-shm", ".damaged", ".damaged-wal"};
    struct fixture *fixture = *state;
    if (fixture->usage) {
        close_usage(fixture);
    }
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        _cleanup_(free_cleanup) char *path = text_format("%s%s", fixture->file, endings[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture->file);
    free(fixture);
    return 0;
}

/* A row by its SPIFFE ID, or the number of rows. */
struct search {
    const char *spiffe_id;
    struct usage_row found;
    char previous[128];
    size_t rows;
};

static void look(void *user, const struct usage_row *row)
{
    struct search *search = user;
    assert_true(strcmp(search->previous, row->spiffe_id) < 0);
    (void)snprintf(search->previous, sizeof(search->previous), "%s", row->spiffe_id);
    search->rows++;
    if (search->spiffe_id && strcmp(row->spiffe_id, search->spiffe_id) == 0) {
        search->found = *row;
    }
}

static struct usage_row find(struct fixture *fixture, const char *spiffe_id, int64_t now_s)
{
    struct search search = {.spiffe_id = spiffe_id};
    usage_each(fixture->usage, now_s, look, &search);
    assert_non_null(search.found.spiffe_id);
    return search.found;
}

static size_t count_rows(struct fixture *fixture)
{
    struct search search = {0};
    usage_each(fixture->usage, clock_now_s(), look, &search);
    return search.rows;
}

static void counts(void **state)
{
    struct fixture *fixture = *state;
    int64_t now_s = clock_now_s();
    for (int round = 0; round < 2; round++) {
        usage_known(fixture->usage, "spiffe://a/never");
        usage_issued(fixture->usage, "spiffe://a/b", now_s - 9);
        usage_fetched(fixture->usage, "spiffe://a/b", now_s - 8);
        usage_used(fixture->usage, "spiffe://a/b", 5, now_s - 7);
        usage_denied(fixture->usage, "spiffe://a/b", 2, now_s - 6);
        usage_denied(fixture->usage, "spiffe://a/made-up", 1, now_s - 6);
        reopen(fixture);
    }
    struct usage_row row = find(fixture, "spiffe://a/b", now_s);
    assert_int_equal(row.issued, 2);
    assert_int_equal(row.fetched, 2);
    assert_int_equal(row.used, 10);
    assert_int_equal(row.denied, 4);
    assert_int_equal(row.last_issued_s, now_s - 9);
    assert_int_equal(row.last_fetched_s, now_s - 8);
    assert_int_equal(row.last_used_s, now_s - 7);
    assert_int_equal(row.last_denied_s, now_s - 6);
    assert_true(row.known_since_s >= now_s && row.known_since_s <= clock_now_s());
    row = find(fixture, "spiffe://a/never", now_s);
    assert_int_equal(row.last_used_s + row.last_issued_s + row.last_fetched_s, 0);
    assert_true(row.known_since_s >= now_s);
    assert_int_equal(count_rows(fixture), 2);
    struct stat status;
    assert_int_equal(stat(fixture->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void days(void **state)
{
    struct fixture *fixture = *state;
    const int64_t start_s = clock_now_s() / DAY_S * DAY_S + DAY_S / 2;
    static const struct {
        int after_days; /* the first */
        uint64_t count;
    } uses[] = {{0, 1}, {1, 20}, {1, 1}, {3, 300}};
    for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
        usage_used(fixture->usage, "spiffe://a/b", uses[i].count,
                   start_s + (int64_t)uses[i].after_days * DAY_S);
    }
    static const struct {
        int now_days;
        size_t index;
        uint64_t expected;
    } cases[] = {
        {3, 0, 300},   {3, 1, 0},   {3, 2, 21},  {3, 3, 1},   {4, 0, 0},  {4, 1, 300},
        {32, 29, 300}, {33, 29, 0}, {400, 0, 0}, {2, 0, 300}, {2, 1, 21}, {0, 0, 322},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct usage_row row =
            find(fixture, "spiffe://a/b", start_s + (int64_t)cases[i].now_days * DAY_S);
        if (row.used_days[cases[i].index] != cases[i].expected) {
            fail_msg("on day %d, %zu days ago: %llu", cases[i].now_days, cases[i].index,
                     (unsigned long long)row.used_days[cases[i].index]);
        }
        assert_int_equal(row.used, 322);
    }
    /* Clocks that jump lose nothing of the total and break nothing. */
    usage_used(fixture->usage, "spiffe://a/b", 7, start_s - (int64_t)90 * DAY_S);
    usage_used(fixture->usage, "spiffe://a/b", 7, start_s + (int64_t)9000 * DAY_S);
    usage_used(fixture->usage, "spiffe://a/b", 7, start_s);
    reopen(fixture);
    assert_int_equal(find(fixture, "spiffe://a/b", start_s).used, 343);
}

/* More than one batch, and rows that come while one is being written. */
static void many(void **state)
{
    struct fixture *fixture = *state;
    enum { ROWS = 5001 };
    for (int i = 0; i < ROWS; i++) {
        _cleanup_(free_cleanup) char *id = text_format("spiffe://a/%d", i);
        usage_used(fixture->usage, id, 1, clock_now_s());
    }
    reopen(fixture);
    assert_int_equal(count_rows(fixture), ROWS);
}

/* Closed while a thread writes, or before it does; and what changes meanwhile. */
static void closed_while_saving(void **state)
{
    struct fixture *fixture = *state;
    enum { ROUNDS = 200 };
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        usage_used(fixture->usage, "spiffe://a/b", 1, clock_now_s());
        usage_save(fixture->usage);
        usage_used(fixture->usage, "spiffe://a/c", 1, clock_now_s());
        usage_used(fixture->usage, "spiffe://a/b", 1, clock_now_s());
        usage_save(fixture->usage);
        if (i % 2 == 0) {
            (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        }
        reopen(fixture);
        assert_int_equal(find(fixture, "spiffe://a/b", clock_now_s()).used, 2 * i);
        assert_int_equal(find(fixture, "spiffe://a/c", clock_now_s()).used, i);
    }
}

/* What could not be written is written the next time. */
static void no_room(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit none = {0, before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    usage_used(fixture->usage, "spiffe://a/b", 5, clock_now_s());
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    for (int i = 0; i < 2; i++) {
        usage_save(fixture->usage);
        /* Nothing else but its own timer, a minute away, ends the wait. */
        assert_int_not_equal(uv_run(&fixture->loop, UV_RUN_ONCE), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    usage_used(fixture->usage, "spiffe://a/b", 1, clock_now_s());
    reopen(fixture);
    assert_int_equal(find(fixture, "spiffe://a/b", clock_now_s()).used, 6);
}

static void damage_bytes(const char *path)
{
    static const char junk[] = "this is no database, but long enough to have been one";
    assert_int_equal(file_write_atomic(path, bytes_of_text(junk), 0600, NULL), 0);
}

static void damage_version(const char *path)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "PRAGMA user_version = 9", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void damage_row(const char *path)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "UPDATE usage SET used_days = x'00'", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void damage_number(const char *path)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "UPDATE usage SET day = -9223372036854775808", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void damaged(void **state)
{
    struct fixture *fixture = *state;
    void (*const damages[])(const char *path) = {damage_bytes, damage_version, damage_row,
                                                 damage_number};
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        _cleanup_(free_cleanup) char *aside = text_format("%s.damaged", fixture->file);
        usage_used(fixture->usage, "spiffe://a/b", 1, clock_now_s());
        close_usage(fixture);
        damages[i](fixture->file);
        open_usage(fixture);
        assert_int_equal(count_rows(fixture), 0);
        assert_int_equal(access(aside, F_OK), 0);
        assert_int_equal(unlink(aside), 0);
        usage_used(fixture->usage, "spiffe://a/b", 1, clock_now_s());
        reopen(fixture);
        assert_int_equal(find(fixture, "spiffe://a/b", clock_now_s()).used, 1);
    }
}

/* A folder in its place is no damage: it says what to do. */
static void not_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    struct usage *usage = NULL;
    close_usage(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    assert_int_equal(mkdir(fixture->file, 0700), 0);
    assert_int_equal(usage_open(&fixture->loop, fixture->folder, &usage, &err), -1);
    assert_non_null(strstr(err.text, fixture->file));
    assert_int_equal(rmdir(fixture->file), 0);
    assert_int_equal(symlink("/dev/null", fixture->file), 0);
    assert_int_equal(usage_open(&fixture->loop, fixture->folder, &usage, &err), -1);
    assert_int_equal(unlink(fixture->file), 0);
}

static void keep_record(void *user, struct usage_record *record)
{
    ++*(size_t *)user;
    free(record->spiffe_id);
}

/* What is deleted is gone. */
static void store(void **state)
{
    struct fixture *fixture = *state;
    struct usage_store *store = NULL;
    bool was_damaged = true;
    size_t count = 0;
    struct usage_record records[] = {{.spiffe_id = (char *)"spiffe://a/b"},
                                     {.spiffe_id = (char *)"spiffe://a/c"}};
    close_usage(fixture);
    assert_int_equal(
        usage_store_open(fixture->file, keep_record, &count, &store, &was_damaged, NULL), 0);
    assert_false(was_damaged);
    assert_int_equal(usage_store_save(store, records, 2, NULL), 0);
    records[0].is_gone = true;
    assert_int_equal(usage_store_save(store, records, 1, NULL), 0);
    usage_store_close(store);
    assert_int_equal(
        usage_store_open(fixture->file, keep_record, &count, &store, &was_damaged, NULL), 0);
    usage_store_close(store);
    assert_int_equal(count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(counts),  TEST(days),    TEST(many),       TEST(closed_while_saving),
        TEST(no_room), TEST(damaged), TEST(not_a_file), TEST(store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
