/* The embedded issuer's memory on disk: one SQLite file (WAL, synchronous) and one writer thread
 * that commits what has gathered in one transaction.
 *
 * Until store_start the thread that opened it may call store_run_now and the functions of
 * store_tables.h; from then on those run in jobs on the writer alone. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/mailbox.h"

struct sqlite3_stmt;
struct store;

/* A change to be made durable. Embed it; all but `next` is the sender's until submitted. */
struct store_job {
    /* On the writer, within a transaction; what it did is undone when it fails. */
    int (*run)(struct store *store, struct store_job *job, struct error *err);
    struct mailbox *mailbox;
    struct mailbox_message message; /* posted once committed, or failed for good */
    bool is_failed;
    struct error failure;
    struct store_job *next; /* the store's */
};

/* Opens or creates the file with mode 0600, alone: a second process is refused. A file of a newer
 * schema, of another program or of another trust domain is refused with what to do. */
int store_open(const char *path, const char *trust_domain, struct store **ret_store,
               struct error *err);
/* Starts the writer thread. */
int store_start(struct store *store, struct error *err);
/* Any thread. The job comes back to its mailbox in any case. */
void store_submit(struct store *store, struct store_job *job);
/* Before store_start: does the job now, in a transaction of its own. */
int store_run_now(struct store *store, struct store_job *job, struct error *err);
/* Any thread: whether something in the last batch could not be stored, and why. */
bool store_is_in_trouble(struct store *store, struct error *ret_trouble);
/* Ends the writer once all jobs are done, and closes the file. */
void store_close(struct store *store);
DEFINE_CLEANUP(struct store, store, store_close);

/* For the tables: a statement is prepared once for each text, compared by address. */
struct store_value {
    enum { STORE_VALUE_NUMBER, STORE_VALUE_TEXT, STORE_VALUE_BYTES } type;
    int64_t number;
    struct bytes bytes;
};

static inline struct store_value store_number(int64_t number)
{
    return (struct store_value){.type = STORE_VALUE_NUMBER, .number = number};
}

static inline struct store_value store_text(const char *text)
{
    return (struct store_value){.type = STORE_VALUE_TEXT, .bytes = bytes_of_text(text)};
}

static inline struct store_value store_blob(struct bytes bytes)
{
    return (struct store_value){.type = STORE_VALUE_BYTES, .bytes = bytes};
}

/* Runs a statement with its values (borrowed); each (may be NULL) sees every row. */
int store_execute(struct store *store, const char *sql, const struct store_value *values,
                  size_t count,
                  int (*each)(void *user, struct sqlite3_stmt *row, struct error *err), void *user,
                  struct error *err);
/* Rows changed by the last statement. */
size_t store_changes(struct store *store);
