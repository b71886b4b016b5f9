#include "agent/issuer/authority_table.h"

#include <sqlite3.h>
#include <string.h>

#include "lib/base/memory.h"

static struct store_value id_of(const struct authority *authority)
{
    return store_blob((struct bytes){authority->id, sizeof(authority->id)});
}

int authority_table_insert(struct store *store, const struct authority *authority,
                           struct error *err)
{
    static const char sql[] =
        "INSERT INTO authority VALUES(?1, ?2, ?3, ?4, ?5, x'', x'', x'', ?6, ?7, ?8)";
    const struct store_value values[] = {
        id_of(authority),
        store_text(authority_kind_name(authority->kind)),
        store_text(authority_state_name(authority->state)),
        store_text(key_type_name(authority->key_type)),
        store_text(authority->keystore),
        store_number(authority->not_before_s),
        store_number(authority->expires_at_s),
        store_number(authority->created_at_s),
    };
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int authority_table_set_made(struct store *store, const struct authority *authority,
                             struct error *err)
{
    static const char sql[] = "UPDATE authority SET state = ?2, reference = ?3, public_key = ?4, "
                              "certificate = ?5 WHERE id = ?1";
    const struct store_value values[] = {
        id_of(authority),
        store_text(authority_state_name(AUTHORITY_STATE_PREPARED)),
        store_blob(buffer_bytes(&authority->reference)),
        store_blob(buffer_bytes(&authority->public_key)),
        store_blob(buffer_bytes(&authority->certificate)),
    };
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int authority_table_set_state(struct store *store, const struct authority *authority,
                              enum authority_state state, struct error *err)
{
    static const char sql[] = "UPDATE authority SET state = ?2 WHERE id = ?1";
    const struct store_value values[] = {id_of(authority), store_text(authority_state_name(state))};
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int authority_table_delete(struct store *store, const struct authority *authority,
                           struct error *err)
{
    static const char sql[] = "DELETE FROM authority WHERE id = ?1";
    const struct store_value value = id_of(authority);
    return store_execute(store, sql, &value, 1, NULL, NULL, err);
}

static const char *column_text(sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? text : "";
}

static void column_bytes(sqlite3_stmt *row, int column, struct buffer *ret)
{
    const void *data = sqlite3_column_blob(row, column);
    buffer_append(ret, data, (size_t)sqlite3_column_bytes(row, column));
}

static int read_row(sqlite3_stmt *row, struct authority *authority, struct error *err)
{
    if (sqlite3_column_bytes(row, 0) != AUTHORITY_ID_BYTES) {
        return error_set(err, ERROR_DATA_LOSS, "an authority's ID has a wrong size");
    }
    memcpy(authority->id, sqlite3_column_blob(row, 0), AUTHORITY_ID_BYTES);
    TRY(authority_kind_parse(column_text(row, 1), &authority->kind, err));
    TRY(authority_state_parse(column_text(row, 2), &authority->state, err));
    TRY(key_type_parse(column_text(row, 3), &authority->key_type, err));
    authority->keystore = memory_copy_text(column_text(row, 4));
    column_bytes(row, 5, &authority->reference);
    column_bytes(row, 6, &authority->public_key);
    column_bytes(row, 7, &authority->certificate);
    authority->not_before_s = sqlite3_column_int64(row, 8);
    authority->expires_at_s = sqlite3_column_int64(row, 9);
    authority->created_at_s = sqlite3_column_int64(row, 10);
    if (authority_is_published(authority)) {
        return authority_parse(authority, err);
    }
    if (authority->public_key.size > 0) {
        (void)authority_parse(authority, NULL); /* only for the log */
    }
    return 0;
}

struct each {
    int (*each)(void *user, struct authority *authority, struct error *err);
    void *user;
};

static int read_each(void *user, sqlite3_stmt *row, struct error *err)
{
    struct each *each = user;
    _cleanup_(authority_unref_cleanup) struct authority *authority = NEW(struct authority);
    authority->references = 1;
    if (read_row(row, authority, err) < 0) {
        return error_prepend(err, "reading an authority from the issuer's store");
    }
    return each->each(each->user, take_ptr(authority), err);
}

int authority_table_each(struct store *store,
                         int (*each)(void *user, struct authority *authority, struct error *err),
                         void *user, struct error *err)
{
    static const char sql[] =
        "SELECT id, kind, state, key_type, keystore, reference, public_key, certificate, "
        "not_before, expires_at, created_at FROM authority ORDER BY created_at, id";
    struct each context = {each, user};
    return store_execute(store, sql, NULL, 0, read_each, &context, err);
}

static int read_sequence(void *user, sqlite3_stmt *row, struct error *err)
{
    (void)err;
    *(uint64_t *)user = (uint64_t)sqlite3_column_int64(row, 0);
    return 0;
}

int authority_table_sequence(struct store *store, uint64_t *ret_sequence, struct error *err)
{
    static const char sql[] = "SELECT value FROM meta WHERE name = 'bundle_sequence'";
    return store_execute(store, sql, NULL, 0, read_sequence, ret_sequence, err);
}

int authority_table_next_sequence(struct store *store, struct error *err)
{
    static const char sql[] = "UPDATE meta SET value = value + 1 WHERE name = 'bundle_sequence'";
    return store_execute(store, sql, NULL, 0, NULL, NULL, err);
}
