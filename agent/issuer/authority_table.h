/* The authorities in the store. For who may call: store.h. */
#pragma once

#include "agent/issuer/authority.h"
#include "agent/issuer/store.h"

int authority_table_insert(struct store *store, const struct authority *authority,
                           struct error *err);
/* All that authority_make has filled in, and the state prepared. */
int authority_table_set_made(struct store *store, const struct authority *authority,
                             struct error *err);
int authority_table_set_state(struct store *store, const struct authority *authority,
                              enum authority_state state, struct error *err);
int authority_table_delete(struct store *store, const struct authority *authority,
                           struct error *err);
/* Each in the order in which they were made; taken by the callback. */
int authority_table_each(struct store *store,
                         int (*each)(void *user, struct authority *authority, struct error *err),
                         void *user, struct error *err);

/* The bundle's sequence number, which a change of the published authorities moves on. */
int authority_table_next_sequence(struct store *store, struct error *err);
int authority_table_sequence(struct store *store, uint64_t *ret_sequence, struct error *err);
