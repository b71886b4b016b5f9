#include "agent/issuer/store_schema.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum { APPLICATION_ID = 0x7369676e }; /* "sign" */

/* Item i leads from version i to version i + 1 and is never changed once released. */
static const char *const migrations[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES('bundle_sequence', 0);"
    "CREATE TABLE authority("
    " id BLOB PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, key_type TEXT NOT NULL,"
    " keystore TEXT NOT NULL, reference BLOB NOT NULL, public_key BLOB NOT NULL,"
    " certificate BLOB NOT NULL, not_before INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " created_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE entry("
    " id TEXT PRIMARY KEY, spiffe_id TEXT NOT NULL, selectors TEXT NOT NULL,"
    " dns_names TEXT NOT NULL, hint TEXT NOT NULL, x509_svid_ttl INTEGER NOT NULL,"
    " jwt_svid_ttl INTEGER NOT NULL, created_at INTEGER NOT NULL, was_seen INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* What the configuration cannot say of its entries. */
    "CREATE TABLE configured_entry("
    " id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, was_seen INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* The inventory. serial: of a certificate, or the jti of a token. */
    "CREATE TABLE issued("
    " serial TEXT NOT NULL, kind TEXT NOT NULL, spiffe_id TEXT NOT NULL, entry_id TEXT NOT NULL,"
    " authority TEXT NOT NULL, key_id TEXT NOT NULL, protection TEXT NOT NULL,"
    " not_before INTEGER NOT NULL, expires_at INTEGER NOT NULL, issued_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX issued_by_expiry ON issued(expires_at);"
    "CREATE INDEX issued_by_serial ON issued(serial);",
};

static int read_number(void *user, sqlite3_stmt *row, struct error *err)
{
    (void)err;
    *(int64_t *)user = sqlite3_column_int64(row, 0);
    return 0;
}

static int migrate(sqlite3 *database, const char *path, int64_t version, struct error *err)
{
    _cleanup_(free_cleanup) char *sql =
        text_format("BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %" PRId64
                    "; COMMIT;",
                    migrations[version], APPLICATION_ID, version + 1);
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) {
        error_set(err, ERROR_UNAVAILABLE,
                  "bringing the issuer's store %s from version %" PRId64 " to %" PRId64 ": %s",
                  path, version, version + 1, sqlite3_errmsg(database));
        (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    return 0;
}

int store_schema_apply(struct store *store, sqlite3 *database, const char *path, struct error *err)
{
    static const char read_version[] = "PRAGMA user_version",
                      read_application[] = "PRAGMA application_id",
                      count_tables[] = "SELECT count(*) FROM sqlite_schema";
    int64_t version = 0, application = 0, tables = 0;
    TRY(store_execute(store, read_version, NULL, 0, read_number, &version, err));
    TRY(store_execute(store, read_application, NULL, 0, read_number, &application, err));
    TRY(store_execute(store, count_tables, NULL, 0, read_number, &tables, err));
    if (application != APPLICATION_ID && (application != 0 || tables > 0)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening the issuer's store %s: it belongs to another program; move it "
                         "away to start anew",
                         path);
    }
    if (version < 0 || version > (int64_t)ARRAY_SIZE(migrations)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening the issuer's store %s: its schema is version %" PRId64
                         " and this signetd knows versions up to %zu; run the newer signetd, or "
                         "restore the store of this one from a backup",
                         path, version, ARRAY_SIZE(migrations));
    }
    for (; version < (int64_t)ARRAY_SIZE(migrations); version++) {
        TRY(migrate(database, path, version, err));
    }
    return 0;
}

static int read_text(void *user, sqlite3_stmt *row, struct error *err)
{
    (void)err;
    *(char **)user = memory_copy_text((const char *)sqlite3_column_text(row, 0));
    return 0;
}

int store_schema_check_trust_domain(struct store *store, const char *path, const char *trust_domain,
                                    struct error *err)
{
    static const char read[] = "SELECT value FROM meta WHERE name = 'trust_domain'",
                      write[] = "INSERT INTO meta VALUES('trust_domain', ?1)";
    _cleanup_(free_cleanup) char *stored = NULL;
    TRY(store_execute(store, read, NULL, 0, read_text, &stored, err));
    if (!stored) {
        struct store_value value = store_text(trust_domain);
        return store_execute(store, write, &value, 1, NULL, NULL, err);
    }
    if (strcmp(stored, trust_domain) != 0) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "opening the issuer's store %s: it is that of trust domain \"%s\", but "
                         "the configuration says \"%s\"; name another data_dir, or move the store "
                         "away to start a new CA",
                         path, stored, trust_domain);
    }
    return 0;
}
