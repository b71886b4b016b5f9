/* The entries in the store. For who may call: store.h. */
#pragma once

#include "agent/issuer/entry.h"
#include "agent/issuer/store.h"

/* What the store remembers of a configured entry. */
struct entry_memory {
    char *id;
    int64_t created_at_s;
    bool was_seen;
};

int entry_table_insert(struct store *store, const struct entry *entry, struct error *err);
int entry_table_delete(struct store *store, const char *id, struct error *err);
/* Each in the order of id, not checked; taken by the callback. */
int entry_table_each(struct store *store,
                     int (*each)(void *user, struct entry *entry, struct error *err), void *user,
                     struct error *err);

int entry_table_remember(struct store *store, const struct entry_memory *memory, struct error *err);
int entry_table_forget(struct store *store, const char *id, struct error *err);
/* The memory is borrowed for the call. */
int entry_table_each_memory(struct store *store,
                            void (*each)(void *user, const struct entry_memory *memory), void *user,
                            struct error *err);

/* For entries of both kinds. */
int entry_table_set_seen(struct store *store, const char *id, struct error *err);
