#include "agent/issuer/entry_table.h"

#include <jansson.h>
#include <sqlite3.h>

#include "lib/base/memory.h"

static char *format_list(const struct text_list *list)
{
    _cleanup_(json_decrefp) json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        (void)json_array_append_new(array, json_string(list->items[i]));
    }
    char *text = json_dumps(array, JSON_COMPACT);
    if (!text) {
        abort(); /* only for lack of memory: an entry's texts are UTF-8 */
    }
    return text;
}

static int parse_list(const char *text, struct text_list *ret_list, struct error *err)
{
    json_error_t fault;
    _cleanup_(json_decrefp) json_t *array = json_loads(text, 0, &fault);
    if (!json_is_array(array)) {
        return error_set(err, ERROR_DATA_LOSS, "a list of an entry is not a JSON array");
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *item = json_string_value(json_array_get(array, i));
        if (!item) {
            return error_set(err, ERROR_DATA_LOSS, "an item in a list of an entry is no string");
        }
        text_list_add(ret_list, item);
    }
    return 0;
}

int entry_table_insert(struct store *store, const struct entry *entry, struct error *err)
{
    static const char sql[] = "INSERT INTO entry VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    _cleanup_(free_cleanup) char *selectors = format_list(&entry->selectors);
    _cleanup_(free_cleanup) char *dns_names = format_list(&entry->dns_names);
    const struct store_value values[] = {
        store_text(entry->id),
        store_text(entry->spiffe_id),
        store_text(selectors),
        store_text(dns_names),
        store_text(entry->hint),
        store_number(entry->x509_svid_ttl_s),
        store_number(entry->jwt_svid_ttl_s),
        store_number(entry->created_at_s),
        store_number(entry->was_seen),
    };
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int entry_table_delete(struct store *store, const char *id, struct error *err)
{
    static const char sql[] = "DELETE FROM entry WHERE id = ?1";
    const struct store_value value = store_text(id);
    return store_execute(store, sql, &value, 1, NULL, NULL, err);
}

static const char *column_text(sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? text : "";
}

struct each {
    int (*each)(void *user, struct entry *entry, struct error *err);
    void *user;
};

static int read_entry(void *user, sqlite3_stmt *row, struct error *err)
{
    struct each *each = user;
    _cleanup_(entry_unref_cleanup) struct entry *entry = NEW(struct entry);
    entry->references = 1;
    entry->revision = 1;
    entry->id = memory_copy_text(column_text(row, 0));
    entry->spiffe_id = memory_copy_text(column_text(row, 1));
    TRY(parse_list(column_text(row, 2), &entry->selectors, err));
    TRY(parse_list(column_text(row, 3), &entry->dns_names, err));
    entry->hint = memory_copy_text(column_text(row, 4));
    entry->x509_svid_ttl_s = (uint32_t)sqlite3_column_int64(row, 5);
    entry->jwt_svid_ttl_s = (uint32_t)sqlite3_column_int64(row, 6);
    entry->created_at_s = sqlite3_column_int64(row, 7);
    entry->was_seen = sqlite3_column_int(row, 8) != 0;
    return each->each(each->user, take_ptr(entry), err);
}

int entry_table_each(struct store *store,
                     int (*each)(void *user, struct entry *entry, struct error *err), void *user,
                     struct error *err)
{
    static const char sql[] = "SELECT id, spiffe_id, selectors, dns_names, hint, x509_svid_ttl, "
                              "jwt_svid_ttl, created_at, was_seen FROM entry ORDER BY id";
    struct each context = {each, user};
    return store_execute(store, sql, NULL, 0, read_entry, &context, err);
}

int entry_table_remember(struct store *store, const struct entry_memory *memory, struct error *err)
{
    static const char sql[] = "INSERT OR REPLACE INTO configured_entry VALUES(?1, ?2, ?3)";
    const struct store_value values[] = {store_text(memory->id), store_number(memory->created_at_s),
                                         store_number(memory->was_seen)};
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int entry_table_forget(struct store *store, const char *id, struct error *err)
{
    static const char sql[] = "DELETE FROM configured_entry WHERE id = ?1";
    const struct store_value value = store_text(id);
    return store_execute(store, sql, &value, 1, NULL, NULL, err);
}

struct each_memory {
    void (*each)(void *user, const struct entry_memory *memory);
    void *user;
};

static int read_memory(void *user, sqlite3_stmt *row, struct error *err)
{
    struct each_memory *each = user;
    _cleanup_(free_cleanup) char *id = memory_copy_text(column_text(row, 0));
    const struct entry_memory memory = {id, sqlite3_column_int64(row, 1),
                                        sqlite3_column_int(row, 2) != 0};
    (void)err;
    each->each(each->user, &memory);
    return 0;
}

int entry_table_each_memory(struct store *store,
                            void (*each)(void *user, const struct entry_memory *memory), void *user,
                            struct error *err)
{
    static const char sql[] = "SELECT id, created_at, was_seen FROM configured_entry";
    struct each_memory context = {each, user};
    return store_execute(store, sql, NULL, 0, read_memory, &context, err);
}

int entry_table_set_seen(struct store *store, const char *id, struct error *err)
{
    static const char added[] = "UPDATE entry SET was_seen = 1 WHERE id = ?1",
                      configured[] = "UPDATE configured_entry SET was_seen = 1 WHERE id = ?1";
    const struct store_value value = store_text(id);
    TRY(store_execute(store, added, &value, 1, NULL, NULL, err));
    return store_execute(store, configured, &value, 1, NULL, NULL, err);
}
