#include "agent/access/usage_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { SCHEMA_VERSION = 1, APPLICATION_ID = 0x73677573 }; /* "sgus" */

struct usage_store {
    sqlite3 *database;
    char *path;
    sqlite3_stmt *replace, *delete;
};

/* Numbers of a record in the order of their columns. */
static const size_t numbers[] = {
    offsetof(struct usage_record, known_at_s),
    offsetof(struct usage_record, row.known_since_s),
    offsetof(struct usage_record, row.last_issued_s),
    offsetof(struct usage_record, row.last_used_s),
    offsetof(struct usage_record, row.last_fetched_s),
    offsetof(struct usage_record, row.last_denied_s),
    offsetof(struct usage_record, row.issued),
    offsetof(struct usage_record, row.used),
    offsetof(struct usage_record, row.fetched),
    offsetof(struct usage_record, row.denied),
    offsetof(struct usage_record, day),
};
enum { COLUMN_DAYS = 1 + (int)ARRAY_SIZE(numbers), DAYS_BYTES = 8 * USAGE_DAYS };

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE usage(spiffe_id TEXT PRIMARY KEY, known_at INTEGER NOT NULL,"
    " known_since INTEGER NOT NULL, last_issued INTEGER NOT NULL, last_used INTEGER NOT NULL,"
    " last_fetched INTEGER NOT NULL, last_denied INTEGER NOT NULL, issued INTEGER NOT NULL,"
    " used INTEGER NOT NULL, fetched INTEGER NOT NULL, denied INTEGER NOT NULL,"
    " day INTEGER NOT NULL, used_days BLOB NOT NULL) STRICT, WITHOUT ROWID;"
    "PRAGMA application_id = 1936160115; PRAGMA user_version = 1;"
    "COMMIT;";

static int fail(const struct usage_store *store, int result, struct error *err)
{
    const char *text = store->database ? sqlite3_errmsg(store->database) : sqlite3_errstr(result);
    bool is_damaged = (result & 0xff) == SQLITE_CORRUPT || (result & 0xff) == SQLITE_NOTADB;
    return error_set(err, is_damaged ? ERROR_DATA_LOSS : ERROR_UNAVAILABLE, "accessing %s: %s",
                     store->path, text);
}

static int run(struct usage_store *store, const char *sql, struct error *err)
{
    int result = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : fail(store, result, err);
}

static int read_number(struct usage_store *store, const char *sql, int64_t *ret_number,
                       struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    if (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        *ret_number = sqlite3_column_int64(statement, 0);
        result = SQLITE_OK;
    }
    (void)sqlite3_finalize(statement);
    return result == SQLITE_OK ? 0 : fail(store, result, err);
}

static int apply_schema(struct usage_store *store, struct error *err)
{
    int64_t version = 0, application = 0, tables = 0;
    TRY(read_number(store, "PRAGMA user_version", &version, err));
    TRY(read_number(store, "PRAGMA application_id", &application, err));
    TRY(read_number(store, "SELECT count(*) FROM sqlite_schema", &tables, err));
    if (tables == 0) {
        return run(store, schema, err);
    }
    if (version != SCHEMA_VERSION || application != APPLICATION_ID) {
        return error_set(err, ERROR_DATA_LOSS,
                         "%s is not of this program or of another version of it: schema %" PRId64
                         ", known is %d",
                         store->path, version, SCHEMA_VERSION);
    }
    return 0;
}

/* False: it is not as save_record writes it. */
static bool read_row(sqlite3_stmt *statement, struct usage_record *record)
{
    struct reader days = reader_of((struct bytes){
        sqlite3_column_blob(statement, COLUMN_DAYS),
        (size_t)sqlite3_column_bytes(statement, COLUMN_DAYS),
    });
    bool is_good = true;
    *record = (struct usage_record){
        .spiffe_id = memory_copy_text((const char *)sqlite3_column_text(statement, 0))};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        int64_t number = sqlite3_column_int64(statement, 1 + (int)i);
        *(int64_t *)(void *)((char *)record + numbers[i]) = number;
        is_good = is_good && number >= 0;
    }
    for (size_t i = 0; i < USAGE_DAYS; i++) {
        record->row.used_days[i] = reader_u64(&days);
    }
    return is_good && reader_is_done(&days) && !days.is_bad && record->spiffe_id;
}

static int load(struct usage_store *store, void (*each)(void *user, struct usage_record *record),
                void *user, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->database, "SELECT * FROM usage", -1, &statement, NULL);
    bool is_good = true;
    while (is_good && result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct usage_record record;
        is_good = read_row(statement, &record);
        if (is_good) {
            each(user, &record);
        } else {
            free(record.spiffe_id);
        }
        result = SQLITE_OK;
    }
    (void)sqlite3_finalize(statement);
    if (!is_good) {
        return error_set(err, ERROR_DATA_LOSS, "%s has a row that this program did not write",
                         store->path);
    }
    return result == SQLITE_DONE ? 0 : fail(store, result, err);
}

static int prepare(struct usage_store *store, struct error *err)
{
    static const char replace[] =
        "INSERT OR REPLACE INTO usage VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)";
    static const char delete[] = "DELETE FROM usage WHERE spiffe_id = ?1";
    int result = sqlite3_prepare_v2(store->database, replace, -1, &store->replace, NULL);
    if (result == SQLITE_OK) {
        result = sqlite3_prepare_v2(store->database, delete, -1, &store->delete, NULL);
    }
    return result == SQLITE_OK ? 0 : fail(store, result, err);
}

/* Of statistics a power cut may take the last minutes, but not the file: NORMAL. */
static int open_database(struct usage_store *store,
                         void (*each)(void *user, struct usage_record *record), void *user,
                         struct error *err)
{
    static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                                   "PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;"
                                   "PRAGMA cache_size = -512; PRAGMA journal_size_limit = 1048576;";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    /* SQLite would give it the mode that the umask leaves. */
    _cleanup_(file_close_cleanup) int descriptor =
        open(store->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "opening %s", store->path);
    }
    int result = sqlite3_open_v2(store->path, &store->database, flags, NULL);
    if (result != SQLITE_OK) {
        return fail(store, result, err);
    }
    TRY(run(store, settings, err));
    TRY(apply_schema(store, err));
    TRY(load(store, each, user, err));
    return prepare(store, err);
}

static int move_aside(const char *path, struct error *err)
{
    static const char *const endings[] = {"", "-wal"};
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        _cleanup_(free_cleanup) char *from = text_format("%s%s", path, endings[i]);
        _cleanup_(free_cleanup) char *to = text_format("%s.damaged%s", path, endings[i]);
        if (rename(from, to) < 0 && errno != ENOENT) {
            return error_set_errno(err, errno, "moving %s to %s", from, to);
        }
    }
    return 0;
}

static int open_at(const char *path, void (*each)(void *user, struct usage_record *record),
                   void *user, struct usage_store **ret_store, struct error *err)
{
    struct usage_store *store = NEW(struct usage_store);
    store->path = memory_copy_text(path);
    if (open_database(store, each, user, err) < 0) {
        usage_store_close(store);
        return -1;
    }
    *ret_store = store;
    return 0;
}

int usage_store_open(const char *path, void (*each)(void *user, struct usage_record *record),
                     void *user, struct usage_store **ret_store, bool *ret_was_damaged,
                     struct error *err)
{
    struct error damage;
    *ret_was_damaged = false;
    if (open_at(path, each, user, ret_store, &damage) == 0) {
        return 0;
    }
    if (damage.code != ERROR_DATA_LOSS) {
        return error_set(err, damage.code, "opening the record of uses: %s", damage.text);
    }
    TRY(move_aside(path, err));
    log_warning("the record of uses is damaged; begun anew, and the damaged one kept as "
                "%s.damaged; the audit log has all of it error=\"%s\"",
                path, damage.text);
    *ret_was_damaged = true;
    return open_at(path, each, user, ret_store, err);
}

void usage_store_close(struct usage_store *store)
{
    (void)sqlite3_finalize(store->replace);
    (void)sqlite3_finalize(store->delete);
    (void)sqlite3_close(store->database);
    free(store->path);
    free(store);
}

static int save_record(struct usage_store *store, const struct usage_record *record)
{
    sqlite3_stmt *statement = record->is_gone ? store->delete : store->replace;
    _cleanup_(buffer_clear) struct buffer days = {0};
    (void)sqlite3_bind_text(statement, 1, record->spiffe_id, -1, SQLITE_STATIC);
    if (!record->is_gone) {
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
            (void)sqlite3_bind_int64(
                statement, 2 + (int)i,
                *(const int64_t *)(const void *)((const char *)record + numbers[i]));
        }
        for (size_t i = 0; i < USAGE_DAYS; i++) {
            buffer_append_u64(&days, record->row.used_days[i]);
        }
        (void)sqlite3_bind_blob(statement, COLUMN_DAYS + 1, days.data, DAYS_BYTES, SQLITE_STATIC);
    }
    int result = sqlite3_step(statement);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

int usage_store_save(struct usage_store *store, const struct usage_record *records, size_t count,
                     struct error *err)
{
    int result = SQLITE_DONE;
    TRY(run(store, "BEGIN IMMEDIATE", err));
    for (size_t i = 0; i < count && result == SQLITE_DONE; i++) {
        result = save_record(store, &records[i]);
    }
    if (result == SQLITE_DONE && run(store, "COMMIT", err) == 0) {
        return 0;
    }
    if (result != SQLITE_DONE) {
        (void)fail(store, result, err);
    }
    (void)sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}
