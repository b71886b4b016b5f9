/* The file of struct usage. One thread at a time. */
#pragma once

#include <stdbool.h>

#include "agent/access/usage.h"

struct usage_store;

struct usage_record {
    char *spiffe_id;
    int64_t known_at_s;   /* when an entry last gave it */
    struct usage_row row; /* used_days as of day; spiffe_id is not used */
    int64_t day;          /* since 1970 */
    bool is_gone;         /* to be deleted */
};

/* Opens or makes it and tells of each record, whose spiffe_id is taken. One that is damaged or not
 * of this version is moved aside, to PATH.damaged, with a warning, and begun anew; *ret_was_damaged
 * then, and what could be read has been told. */
int usage_store_open(const char *path, void (*each)(void *user, struct usage_record *record),
                     void *user, struct usage_store **ret_store, bool *ret_was_damaged,
                     struct error *err);
void usage_store_close(struct usage_store *store);
/* All in one transaction. */
int usage_store_save(struct usage_store *store, const struct usage_record *records, size_t count,
                     struct error *err);
