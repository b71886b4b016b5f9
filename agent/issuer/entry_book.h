/* All entries of the embedded issuer: those of the configuration and those added by the admin API,
 * each in the store before it counts. Loop thread only, but for entry_book_open. */
#pragma once

#include "agent/issuer/issuer.h"
#include "agent/issuer/issuer_clock.h"
#include "agent/issuer/store.h"

enum { ENTRIES_MAX = 100000 };

struct entry_book;

struct entry_book_config {
    const char *trust_domain; /* what is pointed to outlives the book */
    struct store *store;
    struct mailbox *mailbox;
    const struct issuer_clock *clock;
};

/* Reads the store; before store_start. */
int entry_book_open(const struct entry_book_config *config, struct entry_book **ret_book,
                    struct error *err);
/* Nothing may be in hand. */
void entry_book_free(struct entry_book *book);
DEFINE_CLEANUP(struct entry_book, entry_book, entry_book_free);

/* Tells the listener (copied) of all entries, and of each change from then on. */
void entry_book_start(struct entry_book *book, const struct issuer_listener *listener);

typedef void entry_book_done(void *user, const struct entry *entry, const struct error *failure);
/* As in issuer_operations. */
void entry_book_add(struct entry_book *book, struct entry *entry, entry_book_done *done,
                    void *user);
void entry_book_remove(struct entry_book *book, const char *entry_id, entry_book_done *done,
                       void *user);
/* Takes effect at once; an added entry that is now configured too becomes the configured one. */
int entry_book_configure(struct entry_book *book, struct entry **entries, size_t count,
                         struct error *err);
/* Written with the next entry_book_flush. */
void entry_book_set_seen(struct entry_book *book, const struct entry *entry);
void entry_book_flush(struct entry_book *book);

size_t entry_book_count(const struct entry_book *book);
/* Whether something waits for the store. */
bool entry_book_is_busy(const struct entry_book *book);
