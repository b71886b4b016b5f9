/* The issuer's store: what is committed together, what is refused, what happens when the disk
 * does not take any more. */
#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/issuer/issued_table.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { WAIT_MS = 30000 };

struct place {
    char folder[64];
    char *path;
    struct mailbox *mailbox;
    struct store *store;
};

struct job {
    struct store_job record;
    const char *serial;
    int64_t expires_at_s;
    bool fails_after;
    bool is_done;
};

static void on_done(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    container_of(job, struct job, record)->is_done = true;
}

static int insert(struct store *store, struct store_job *record, struct error *err)
{
    const struct job *job = container_of(record, struct job, record);
    const struct issued issued = {.serial = job->serial,
                                  .kind = AUTHORITY_KIND_X509,
                                  .spiffe_id = "spiffe://example.org/a",
                                  .entry_id = "e",
                                  .authority = "kid",
                                  .key_id = "key",
                                  .protection = "hardware",
                                  .expires_at_s = job->expires_at_s};
    TRY(issued_table_insert(store, &issued, err));
    return job->fails_after ? error_set(err, ERROR_INTERNAL, "told to fail") : 0;
}

static void submit(struct place *place, struct job *job)
{
    job->record.run = insert;
    job->record.mailbox = place->mailbox;
    job->record.message.deliver = on_done;
    job->is_done = false;
    store_submit(place->store, &job->record);
}

static void wait_for(struct place *place, const struct job *job)
{
    while (!job->is_done) {
        struct pollfd wait = {.fd = mailbox_descriptor(place->mailbox), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
        mailbox_deliver(place->mailbox);
    }
}

static int try_open(struct place *place, const char *trust_domain, struct error *err)
{
    return store_open(place->path, trust_domain, &place->store, err);
}

static void open_store(struct place *place)
{
    struct error failure;
    if (try_open(place, "example.org", &failure) < 0) {
        fail_msg("%s", failure.text);
    }
}

static void close_store(struct place *place)
{
    store_close(place->store);
    place->store = NULL;
}

/* With the store closed. */
static int64_t query(const struct place *place, const char *sql)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(place->path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    int result = sqlite3_step(statement);
    int64_t value = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return value;
}

static int setup(void **state)
{
    struct place *place = NEW(struct place);
    struct error failure;
    (void)strcpy(place->folder, "/tmp/signet-store-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->path = file_join(place->folder, "issuer.sqlite");
    assert_int_equal(mailbox_new(&place->mailbox, &failure), 0);
    *state = place;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    struct place *place = *state;
    if (place->store) {
        close_store(place);
    }
    mailbox_free(place->mailbox);
    (void)nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(place->path);
    free(place);
    return 0;
}

static void test_group_commit(void **state)
{
    struct place *place = *state;
    struct error failure;
    struct job jobs[600] = {0};
    open_store(place);
    /* All of them wait when the writer starts: more than one batch, each in one transaction. */
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i].serial = i % 3 == 1 ? "bad" : "good";
        jobs[i].fails_after = i % 3 == 1;
        submit(place, &jobs[i]);
    }
    assert_int_equal(store_start(place->store, &failure), 0);
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        wait_for(place, &jobs[i]);
        /* A failing job is undone, the others of its transaction are not. */
        assert_int_equal(jobs[i].record.is_failed, i % 3 == 1);
    }
    struct job last = {.serial = "good"};
    submit(place, &last);
    wait_for(place, &last);
    assert_false(store_is_in_trouble(place->store, &failure));
    close_store(place);
    assert_int_equal(query(place, "SELECT count(*) FROM issued WHERE serial = 'good'"), 401);
    assert_int_equal(query(place, "SELECT count(*) FROM issued WHERE serial = 'bad'"), 0);
}

static void test_modes(void **state)
{
    struct place *place = *state;
    struct error failure;
    struct stat status;
    mode_t before = umask(0);
    open_store(place);
    struct job job = {.serial = "a"};
    job.record.run = insert;
    assert_int_equal(store_run_now(place->store, &job.record, &failure), 0);
    (void)umask(before);
    _cleanup_(free_cleanup) char *wal = text_format("%s-wal", place->path);
    const char *const paths[] = {place->path, wal};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        assert_int_equal(stat(paths[i], &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
    }
    /* A second agent on the same data_dir is told so. */
    struct store *second = NULL;
    assert_int_equal(store_open(place->path, "example.org", &second, &failure), -1);
    assert_int_equal(failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(failure.text, "second signetd"));
    close_store(place);
    assert_int_equal(chmod(place->path, 0640), 0);
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(failure.code, ERROR_PERMISSION_DENIED);
    assert_non_null(strstr(failure.text, "chmod 0600"));
}

static void write_file(const char *path, const char *text)
{
    struct error failure;
    assert_int_equal(file_write_atomic(path, bytes_of_text(text), 0600, &failure), 0);
}

static void test_refused_files(void **state)
{
    struct place *place = *state;
    struct error failure;
    /* Another trust domain. */
    open_store(place);
    close_store(place);
    assert_int_equal(try_open(place, "example.com", &failure), -1);
    assert_int_equal(failure.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(failure.text, "\"example.org\""));
    assert_non_null(strstr(failure.text, "\"example.com\""));
    /* A newer schema. */
    (void)query(place, "PRAGMA user_version = 99");
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(failure.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(failure.text, "version 99"));
    /* Another program's database. */
    assert_int_equal(unlink(place->path), 0);
    (void)query(place, "CREATE TABLE theirs(x)");
    assert_int_equal(chmod(place->path, 0600), 0);
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(failure.code, ERROR_FAILED_PRECONDITION);
    assert_non_null(strstr(failure.text, "another program"));
    /* No database at all. */
    write_file(place->path, "this is certainly not a database, but a text of some length");
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(failure.code, ERROR_FAILED_PRECONDITION);
    /* Not even a file. */
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkdir(place->path, 0700), 0);
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(rmdir(place->path), 0);
    assert_int_equal(symlink("/etc/passwd", place->path), 0);
    assert_int_equal(try_open(place, "example.org", &failure), -1);
}

/* A damaged page is told as such, not as a crash. */
static void test_damage(void **state)
{
    struct place *place = *state;
    struct error failure;
    open_store(place);
    close_store(place);
    int descriptor = open(place->path, O_RDWR | O_CLOEXEC);
    char garbage[4096];
    memset(garbage, 0x5a, sizeof(garbage));
    struct stat status;
    assert_int_equal(fstat(descriptor, &status), 0);
    for (off_t at = 4096; at < status.st_size; at += 4096) {
        assert_int_equal(pwrite(descriptor, garbage, sizeof(garbage), at), sizeof(garbage));
    }
    (void)close(descriptor);
    assert_int_equal(try_open(place, "example.org", &failure), -1);
    assert_int_equal(failure.code, ERROR_DATA_LOSS);
    assert_non_null(strstr(failure.text, "backup"));
}

/* The file cannot grow, as on a full disk: what is answered as failed is not there, the store says
 * that it is in trouble, and goes on when there is room again. */
static void test_no_room(void **state)
{
    struct place *place = *state;
    struct error failure;
    struct rlimit before, small = {.rlim_cur = 256 << 10};
    open_store(place);
    assert_int_equal(store_start(place->store, &failure), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct job job = {.serial = "x"};
    size_t done = 0;
    for (; done < 2000 && !job.record.is_failed; done++) {
        submit(place, &job);
        wait_for(place, &job);
    }
    assert_true(job.record.is_failed);
    assert_int_equal(job.record.failure.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(job.record.failure.text, place->path));
    assert_true(store_is_in_trouble(place->store, &failure));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    submit(place, &job);
    wait_for(place, &job);
    assert_false(job.record.is_failed);
    assert_false(store_is_in_trouble(place->store, &failure));
    close_store(place);
    assert_int_equal(query(place, "SELECT count(*) FROM issued"), done);
}

static void test_prune(void **state)
{
    struct place *place = *state;
    struct error failure;
    size_t deleted;
    open_store(place);
    for (int64_t i = 0; i < 25; i++) {
        struct job job = {.serial = "s", .expires_at_s = i};
        job.record.run = insert;
        assert_int_equal(store_run_now(place->store, &job.record, &failure), 0);
    }
    assert_int_equal(issued_table_prune(place->store, 20, 15, &deleted, &failure), 0);
    assert_int_equal(deleted, 15);
    assert_int_equal(issued_table_prune(place->store, 20, 15, &deleted, &failure), 0);
    assert_int_equal(deleted, 5);
    assert_int_equal(issued_table_prune(place->store, 20, 15, &deleted, &failure), 0);
    assert_int_equal(deleted, 0);
    close_store(place);
    assert_int_equal(query(place, "SELECT count(*) FROM issued WHERE expires_at >= 20"), 5);
    assert_int_equal(query(place, "SELECT count(*) FROM issued"), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_group_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
