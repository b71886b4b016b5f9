#include "agent/issuer/issued_table.h"

int issued_table_insert(struct store *store, const struct issued *issued, struct error *err)
{
    static const char sql[] = "INSERT INTO issued VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    const struct store_value values[] = {
        store_text(issued->serial),         store_text(authority_kind_name(issued->kind)),
        store_text(issued->spiffe_id),      store_text(issued->entry_id),
        store_text(issued->authority),      store_text(issued->key_id),
        store_text(issued->protection),     store_number(issued->not_before_s),
        store_number(issued->expires_at_s), store_number(issued->issued_at_s),
    };
    return store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err);
}

int issued_table_prune(struct store *store, int64_t expired_before_s, size_t limit,
                       size_t *ret_deleted, struct error *err)
{
    static const char sql[] = "DELETE FROM issued WHERE rowid IN (SELECT rowid FROM issued WHERE "
                              "expires_at < ?1 ORDER BY expires_at LIMIT ?2)";
    const struct store_value values[] = {store_number(expired_before_s),
                                         store_number((int64_t)limit)};
    TRY(store_execute(store, sql, values, ARRAY_SIZE(values), NULL, NULL, err));
    *ret_deleted = store_changes(store);
    return 0;
}
