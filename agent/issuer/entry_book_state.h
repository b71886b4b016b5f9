/* What entry_book.c and entry_configure.c share. */
#pragma once

#define uthash_fatal(message) abort()
#include <uthash.h>

#include "agent/issuer/entry_book.h"
#include "agent/issuer/entry_table.h"

struct held {
    struct entry *entry;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    bool is_durable; /* else its change is still on the way to the store */
    bool is_being_removed;
    bool is_stale; /* while configuring: not in the new configuration */
    UT_hash_handle by_id, by_digest;
};

/* Of a configured entry, from an earlier run, until the configuration has been read. */
struct remembered {
    struct entry_memory memory;
    UT_hash_handle hh;
};

struct entry_book {
    struct entry_book_config config;
    struct held *by_id, *by_digest;
    struct remembered *remembered;
    struct issuer_listener listener;
    bool is_started;
    struct text_list seen; /* ids to be written */
    size_t in_hand;
};

struct held *entry_book_find_id(const struct entry_book *book, const char *id);
struct held *entry_book_find_digest(const struct entry_book *book, const uint8_t *digest);
/* Takes the entry. */
struct held *entry_book_hold(struct entry_book *book, struct entry *entry, const uint8_t *digest);
void entry_book_let_go(struct entry_book *book, struct held *held);
/* The listener, once there is one. */
void entry_book_tell_set(struct entry_book *book, struct entry *entry);
void entry_book_tell_removed(struct entry_book *book, const char *id);

/* For entry_table_each_memory; user is the book. */
void entry_memories_add(void *user, const struct entry_memory *memory);
void entry_memories_clear(struct entry_book *book);
