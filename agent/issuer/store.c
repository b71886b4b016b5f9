#include "agent/issuer/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/issuer/store_schema.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    BATCH_MAX = 256,       /* jobs in one transaction */
    STATEMENTS_MAX = 32,   /* texts in store_tables.c and here */
    BUSY_TIMEOUT_MS = 500, /* an agent that is just stopping still holds the file */
};

struct store {
    sqlite3 *database;
    char *path;
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } statements[STATEMENTS_MAX];
    pthread_t writer;
    bool has_writer;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wakeup;
    struct store_job *first;
    struct store_job **last;
    bool is_closing;
    struct error trouble; /* of the last batch; code 0: none */
};

/* What SQLite's results mean for whoever asked, and what to do about them. */
static const struct {
    int result;
    enum error_code code;
    const char *advice;
} meanings[] = {
    {SQLITE_FULL, ERROR_RESOURCE_EXHAUSTED, "; free space on the disk of data_dir"},
    {SQLITE_READONLY, ERROR_FAILED_PRECONDITION, "; make data_dir writable for the agent"},
    {SQLITE_CANTOPEN, ERROR_FAILED_PRECONDITION, "; look at the mode and owner of data_dir"},
    {SQLITE_PERM, ERROR_FAILED_PRECONDITION, "; look at the mode and owner of data_dir"},
    {SQLITE_BUSY, ERROR_UNAVAILABLE, "; another process uses it: is a second signetd running?"},
    {SQLITE_IOERR, ERROR_UNAVAILABLE, "; look at the disk of data_dir"},
    {SQLITE_CORRUPT, ERROR_DATA_LOSS, "; restore it from a backup, or move it away to start anew"},
    {SQLITE_NOTADB, ERROR_FAILED_PRECONDITION, "; move it away to start anew"},
};

static int fail(struct store *store, int result, struct error *err, const char *what)
{
    enum error_code code = ERROR_INTERNAL;
    const char *advice = "";
    for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
        if (meanings[i].result == (result & 0xff)) {
            code = meanings[i].code;
            advice = meanings[i].advice;
        }
    }
    return error_set(err, code, "%s %s: %s%s", what, store->path,
                     store->database ? sqlite3_errmsg(store->database) : sqlite3_errstr(result),
                     advice);
}

static int run_text(struct store *store, const char *sql, struct error *err, const char *what)
{
    int result = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : fail(store, result, err, what);
}

static int find_statement(struct store *store, const char *sql, sqlite3_stmt **ret_statement,
                          struct error *err)
{
    size_t i = 0;
    while (i < STATEMENTS_MAX && store->statements[i].sql && store->statements[i].sql != sql) {
        i++;
    }
    if (i == STATEMENTS_MAX) {
        return error_set(err, ERROR_INTERNAL, "too many different statements for %s", store->path);
    }
    if (!store->statements[i].sql) {
        int result = sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                        &store->statements[i].statement, NULL);
        if (result != SQLITE_OK) {
            return fail(store, result, err, "preparing a statement for");
        }
        store->statements[i].sql = sql;
    }
    *ret_statement = store->statements[i].statement;
    return 0;
}

static int bind(sqlite3_stmt *statement, int index, const struct store_value *value)
{
    /* A NULL pointer would bind NULL instead of emptiness. */
    const void *data = value->bytes.size ? (const void *)value->bytes.data : "";
    switch (value->type) {
    case STORE_VALUE_TEXT:
        return sqlite3_bind_text64(statement, index, data, value->bytes.size, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case STORE_VALUE_BYTES:
        return sqlite3_bind_blob64(statement, index, data, value->bytes.size, SQLITE_STATIC);
    default:
        return sqlite3_bind_int64(statement, index, value->number);
    }
}

static void statement_reset(sqlite3_stmt **statement)
{
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
}

int store_execute(struct store *store, const char *sql, const struct store_value *values,
                  size_t count, int (*each)(void *user, sqlite3_stmt *row, struct error *err),
                  void *user, struct error *err)
{
    sqlite3_stmt *prepared = NULL;
    TRY(find_statement(store, sql, &prepared, err));
    _cleanup_(statement_reset) sqlite3_stmt *statement = prepared;
    int result = SQLITE_OK;
    for (size_t i = 0; i < count && result == SQLITE_OK; i++) {
        result = bind(statement, (int)i + 1, &values[i]);
    }
    if (result != SQLITE_OK) {
        return fail(store, result, err, "binding values for");
    }
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (each) {
            TRY(each(user, statement, err));
        }
    }
    return result == SQLITE_DONE ? 0 : fail(store, result, err, "accessing");
}

size_t store_changes(struct store *store)
{
    return (size_t)sqlite3_changes64(store->database);
}

/* Created here, as SQLite would use the umask; it gives -wal the same mode. */
static int create_file(const char *path, struct error *err)
{
    _cleanup_(file_close_cleanup) int descriptor =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        return error_set_errno(err, errno, "opening the issuer's store %s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening the issuer's store %s: it is not a regular file; move it away",
                         path);
    }
    if (status.st_uid != geteuid() && status.st_uid != 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "opening the issuer's store %s: it belongs to uid %u, not to this agent's "
                         "uid %u; chown it",
                         path, status.st_uid, geteuid());
    }
    if (status.st_mode & 077) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "opening the issuer's store %s: its mode %04o lets others in; run chmod "
                         "0600 %s",
                         path, status.st_mode & 07777, path);
    }
    return 0;
}

static int open_database(struct store *store, struct error *err)
{
    static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;" /* two agents: refused */
                                   "PRAGMA journal_mode = WAL;"
                                   "PRAGMA synchronous = FULL;" /* a commit is on the disk */
                                   "PRAGMA trusted_schema = OFF;"
                                   "PRAGMA cache_size = -1024;"
                                   "PRAGMA journal_size_limit = 4194304;";
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
    int result = sqlite3_open_v2(store->path, &store->database, flags, NULL);
    if (result != SQLITE_OK) {
        return fail(store, result, err, "opening the issuer's store");
    }
    (void)sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
    TRY(run_text(store, settings, err, "opening the issuer's store"));
    /* Takes the lock now rather than at the first write. */
    return run_text(store, "BEGIN IMMEDIATE; COMMIT;", err, "locking the issuer's store");
}

int store_open(const char *path, const char *trust_domain, struct store **ret_store,
               struct error *err)
{
    TRY(create_file(path, err));
    _cleanup_(store_cleanup) struct store *store = NEW(struct store);
    store->path = memory_copy_text(path);
    store->last = &store->first;
    (void)pthread_mutex_init(&store->lock, NULL);
    (void)pthread_cond_init(&store->wakeup, NULL);
    TRY(open_database(store, err));
    TRY(store_schema_apply(store, store->database, store->path, err));
    TRY(store_schema_check_trust_domain(store, store->path, trust_domain, err));
    *ret_store = take_ptr(store);
    return 0;
}

/* Within a transaction: a failing job is undone alone. */
static void run_job(struct store *store, struct store_job *job)
{
    static const char save[] = "SAVEPOINT job", release[] = "RELEASE job",
                      undo[] = "ROLLBACK TO job";
    struct error *err = &job->failure;
    if (store_execute(store, save, NULL, 0, NULL, NULL, err) == 0 &&
        job->run(store, job, err) == 0 &&
        store_execute(store, release, NULL, 0, NULL, NULL, err) == 0) {
        return;
    }
    job->is_failed = true;
    /* After some failures SQLite has ended the whole transaction by itself. */
    if (!sqlite3_get_autocommit(store->database)) {
        (void)store_execute(store, undo, NULL, 0, NULL, NULL, NULL);
        (void)store_execute(store, release, NULL, 0, NULL, NULL, NULL);
    }
}

static void fail_rest(struct store_job *jobs, const struct error *failure)
{
    for (struct store_job *job = jobs; job; job = job->next) {
        if (!job->is_failed) {
            job->is_failed = true;
            job->failure = *failure;
        }
    }
}

/* One transaction for the whole list. */
static void run_batch(struct store *store, struct store_job *jobs)
{
    static const char begin[] = "BEGIN IMMEDIATE", commit[] = "COMMIT", rollback[] = "ROLLBACK";
    struct error failure;
    if (store_execute(store, begin, NULL, 0, NULL, NULL, &failure) < 0) {
        fail_rest(jobs, &failure);
        return;
    }
    for (struct store_job *job = jobs; job; job = job->next) {
        run_job(store, job);
        if (sqlite3_get_autocommit(store->database)) {
            /* What ran before it in this transaction is gone too. */
            failure = job->failure;
            fail_rest(jobs, &failure);
            return;
        }
    }
    if (store_execute(store, commit, NULL, 0, NULL, NULL, &failure) < 0) {
        if (!sqlite3_get_autocommit(store->database)) {
            (void)store_execute(store, rollback, NULL, 0, NULL, NULL, NULL);
        }
        (void)error_prepend(&failure, "committing");
        fail_rest(jobs, &failure);
    }
}

/* Waits for jobs; NULL when the store is closing and nothing is left. */
static struct store_job *take_batch(struct store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    while (!store->first && !store->is_closing) {
        (void)pthread_cond_wait(&store->wakeup, &store->lock);
    }
    struct store_job *jobs = store->first;
    struct store_job **end = &store->first;
    for (size_t i = 0; i < BATCH_MAX && *end; i++) {
        end = &(*end)->next;
    }
    store->first = *end;
    *end = NULL;
    if (!store->first) {
        store->last = &store->first;
    }
    (void)pthread_mutex_unlock(&store->lock);
    return jobs;
}

static void note_trouble(struct store *store, const struct store_job *jobs)
{
    struct error trouble = {0};
    for (const struct store_job *job = jobs; job; job = job->next) {
        if (job->is_failed) {
            trouble = job->failure;
        }
    }
    (void)pthread_mutex_lock(&store->lock);
    store->trouble = trouble;
    (void)pthread_mutex_unlock(&store->lock);
}

bool store_is_in_trouble(struct store *store, struct error *ret_trouble)
{
    (void)pthread_mutex_lock(&store->lock);
    *ret_trouble = store->trouble;
    (void)pthread_mutex_unlock(&store->lock);
    return ret_trouble->code != ERROR_OK;
}

static void *writer_main(void *user)
{
    struct store *store = user;
    struct store_job *jobs;
    while ((jobs = take_batch(store)) != NULL) {
        run_batch(store, jobs);
        note_trouble(store, jobs);
        while (jobs) {
            struct store_job *job = jobs;
            jobs = job->next;
            mailbox_post(job->mailbox, &job->message);
        }
    }
    return NULL;
}

int store_start(struct store *store, struct error *err)
{
    int result = pthread_create(&store->writer, NULL, writer_main, store);
    if (result != 0) {
        return error_set_errno(err, result, "starting the writer of %s", store->path);
    }
    store->has_writer = true;
    return 0;
}

static void prepare_job(struct store_job *job)
{
    job->next = NULL;
    job->is_failed = false;
    job->failure = (struct error){0};
}

void store_submit(struct store *store, struct store_job *job)
{
    prepare_job(job);
    (void)pthread_mutex_lock(&store->lock);
    *store->last = job;
    store->last = &job->next;
    (void)pthread_cond_signal(&store->wakeup);
    (void)pthread_mutex_unlock(&store->lock);
}

int store_run_now(struct store *store, struct store_job *job, struct error *err)
{
    prepare_job(job);
    run_batch(store, job);
    if (job->is_failed) {
        if (err) {
            *err = job->failure;
        }
        return -1;
    }
    return 0;
}

void store_close(struct store *store)
{
    if (store->has_writer) {
        (void)pthread_mutex_lock(&store->lock);
        store->is_closing = true;
        (void)pthread_cond_signal(&store->wakeup);
        (void)pthread_mutex_unlock(&store->lock);
        (void)pthread_join(store->writer, NULL);
    }
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        (void)sqlite3_finalize(store->statements[i].statement);
    }
    (void)sqlite3_close(store->database);
    (void)pthread_mutex_destroy(&store->lock);
    (void)pthread_cond_destroy(&store->wakeup);
    free(store->path);
    free(store);
}
