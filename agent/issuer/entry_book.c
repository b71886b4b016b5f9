#include "agent/issuer/entry_book_state.h"

#include <inttypes.h>
#include <openssl/rand.h>
#include <string.h>

#include "agent/issuer/entry_table.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { CHANGES_MAX = 1024 };

/* An addition or a removal on its way to the store. */
struct change {
    struct store_job record;
    struct entry_book *book;
    struct entry *entry; /* NULL where it failed before one was found */
    void (*apply)(struct change *change);
    entry_book_done *done;
    void *user;
};

struct held *entry_book_find_id(const struct entry_book *book, const char *id)
{
    struct held *held = NULL;
    HASH_FIND(by_id, book->by_id, id, strlen(id), held);
    return held;
}

struct held *entry_book_find_digest(const struct entry_book *book, const uint8_t *digest)
{
    struct held *held = NULL;
    HASH_FIND(by_digest, book->by_digest, digest, ENTRY_DIGEST_BYTES, held);
    return held;
}

/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macros */
struct held *entry_book_hold(struct entry_book *book, struct entry *entry, const uint8_t *digest)
{
    struct held *held = NEW(struct held);
    held->entry = entry;
    memcpy(held->digest, digest, ENTRY_DIGEST_BYTES);
    HASH_ADD_KEYPTR(by_id, book->by_id, held->entry->id, strlen(held->entry->id), held);
    HASH_ADD(by_digest, book->by_digest, digest, ENTRY_DIGEST_BYTES, held);
    return held;
}

void entry_book_let_go(struct entry_book *book, struct held *held)
{
    /* NOLINTBEGIN(clang-analyzer-*): it cannot know that uthash takes each item out whole */
    HASH_DELETE(by_id, book->by_id, held);
    HASH_DELETE(by_digest, book->by_digest, held);
    /* NOLINTEND(clang-analyzer-*) */
    entry_unref(held->entry);
    free(held);
}

void entry_book_tell_set(struct entry_book *book, struct entry *entry)
{
    if (book->is_started) {
        book->listener.entry_set(book->listener.user, entry);
    }
}

void entry_book_tell_removed(struct entry_book *book, const char *id)
{
    if (book->is_started) {
        book->listener.entry_removed(book->listener.user, id);
    }
}

static void change_delivered(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    struct change *change = container_of(job, struct change, record);
    struct entry_book *book = change->book;
    book->in_hand--;
    if (change->apply) {
        change->apply(change);
    }
    change->done(change->user, job->is_failed ? NULL : change->entry,
                 job->is_failed ? &job->failure : NULL);
    entry_unref(change->entry);
    free(change);
}

static struct change *change_new(struct entry_book *book, entry_book_done *done, void *user)
{
    struct change *change = NEW(struct change);
    change->book = book;
    change->done = done;
    change->user = user;
    change->record.mailbox = book->config.mailbox;
    change->record.message.deliver = change_delivered;
    book->in_hand++;
    return change;
}

/* Tells of a failure from the loop, never from within the call. */
static void refuse(struct change *change)
{
    change->record.is_failed = true;
    mailbox_post(change->record.mailbox, &change->record.message);
}

static int record_insert(struct store *store, struct store_job *job, struct error *err)
{
    const struct change *change = container_of(job, struct change, record);
    return entry_table_insert(store, change->entry, err);
}

static void apply_addition(struct change *change)
{
    /* None, where the configuration has taken it over meanwhile. */
    struct held *held = entry_book_find_id(change->book, change->entry->id);
    if (!held) {
        return;
    }
    if (change->record.is_failed) {
        entry_book_let_go(change->book, held);
        return;
    }
    held->is_durable = true;
    log_info("entry is added id=%s spiffe_id=%s", change->entry->id, change->entry->spiffe_id);
    entry_book_tell_set(change->book, change->entry);
}

/* As a random UUID (RFC 9562 5.4). */
static int make_id(char **ret_id, struct error *err)
{
    uint8_t random[16];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return error_set_openssl(err, ERROR_INTERNAL, "drawing a random entry ID");
    }
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40);
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    _cleanup_(free_cleanup) char *hex = text_hex((struct bytes){random, sizeof(random)});
    *ret_id = text_format("%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return 0;
}

static int check_room(const struct entry_book *book, struct error *err)
{
    if (entry_book_count(book) >= ENTRIES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "there are %d entries already, and no more are allowed; remove some",
                         ENTRIES_MAX);
    }
    if (book->in_hand > CHANGES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%d changes of entries wait for the disk; try again later", CHANGES_MAX);
    }
    return 0;
}

static int check_addition(const struct entry_book *book, struct entry *entry,
                          uint8_t digest[ENTRY_DIGEST_BYTES], struct error *err)
{
    TRY(entry_check(entry, book->config.trust_domain, err));
    TRY(check_room(book, err));
    entry_digest(entry, digest);
    const struct held *same = entry_book_find_digest(book, digest);
    if (same) {
        return error_set(err, ERROR_ALREADY_EXISTS,
                         "entry %s with these selectors is there already; its id is %s",
                         entry->spiffe_id, same->entry->id);
    }
    return make_id(&entry->id, err);
}

void entry_book_add(struct entry_book *book, struct entry *entry, entry_book_done *done, void *user)
{
    struct change *change = change_new(book, done, user);
    uint8_t digest[ENTRY_DIGEST_BYTES];
    change->entry = entry;
    free(take_ptr(entry->id));
    if (check_addition(book, entry, digest, &change->record.failure) < 0) {
        refuse(change);
        return;
    }
    entry->created_at_s = issuer_clock_now_s(book->config.clock);
    entry->revision = 1;
    entry->is_configured = entry->was_seen = false;
    if (!entry->hint) {
        entry->hint = memory_copy_text("");
    }
    (void)entry_book_hold(book, entry_ref(entry), digest);
    change->apply = apply_addition;
    change->record.run = record_insert;
    store_submit(book->config.store, &change->record);
}

static int record_delete(struct store *store, struct store_job *job, struct error *err)
{
    const struct change *change = container_of(job, struct change, record);
    return entry_table_delete(store, change->entry->id, err);
}

static void apply_removal(struct change *change)
{
    struct held *held = entry_book_find_id(change->book, change->entry->id);
    if (!held) {
        return;
    }
    held->is_being_removed = false;
    if (!change->record.is_failed) {
        log_info("entry is removed id=%s spiffe_id=%s", change->entry->id,
                 change->entry->spiffe_id);
        entry_book_let_go(change->book, held);
        entry_book_tell_removed(change->book, change->entry->id);
    }
}

static int find_removable(const struct entry_book *book, const char *id, struct held **ret_held,
                          struct error *err)
{
    struct held *held = entry_book_find_id(book, id);
    if (!held || !held->is_durable) {
        return error_set(err, ERROR_NOT_FOUND, "removing entry %s: there is none of this id", id);
    }
    if (held->entry->is_configured) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "removing entry %s (%s): it comes from signetd.conf; take it out of that "
                         "file and run signet reload",
                         id, held->entry->spiffe_id);
    }
    if (held->is_being_removed) {
        return error_set(err, ERROR_ABORTED, "removing entry %s: it is being removed already", id);
    }
    *ret_held = held;
    return 0;
}

void entry_book_remove(struct entry_book *book, const char *entry_id, entry_book_done *done,
                       void *user)
{
    struct change *change = change_new(book, done, user);
    struct held *held = NULL;
    if (find_removable(book, entry_id, &held, &change->record.failure) < 0) {
        refuse(change);
        return;
    }
    held->is_being_removed = true;
    change->entry = entry_ref(held->entry);
    change->apply = apply_removal;
    change->record.run = record_delete;
    store_submit(book->config.store, &change->record);
}

static int load_entry(void *user, struct entry *entry, struct error *err)
{
    struct entry_book *book = user;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    struct error fault;
    (void)err;
    if (entry_check(entry, book->config.trust_domain, &fault) < 0) {
        /* Fail closed for this one; the others are as good as before. */
        log_error("a stored entry is left out id=%s: %s", entry->id, fault.text);
        entry_unref(entry);
        return 0;
    }
    entry_digest(entry, digest);
    entry_book_hold(book, entry, digest)->is_durable = true;
    return 0;
}

int entry_book_open(const struct entry_book_config *config, struct entry_book **ret_book,
                    struct error *err)
{
    _cleanup_(entry_book_cleanup) struct entry_book *book = NEW(struct entry_book);
    book->config = *config;
    TRY(entry_table_each(config->store, load_entry, book, err));
    TRY(entry_table_each_memory(config->store, entry_memories_add, book, err));
    *ret_book = take_ptr(book);
    return 0;
}

void entry_book_free(struct entry_book *book)
{
    struct held *held, *next;
    HASH_ITER (by_id, book->by_id, held, next) {
        entry_book_let_go(book, held);
    }
    entry_memories_clear(book);
    text_list_clear(&book->seen);
    free(book);
}

void entry_book_start(struct entry_book *book, const struct issuer_listener *listener)
{
    book->listener = *listener;
    book->is_started = true;
    struct held *held, *next;
    HASH_ITER (by_id, book->by_id, held, next) {
        if (held->is_durable) {
            entry_book_tell_set(book, held->entry);
        }
    }
}

size_t entry_book_count(const struct entry_book *book)
{
    return HASH_CNT(by_id, book->by_id);
}

bool entry_book_is_busy(const struct entry_book *book)
{
    return book->in_hand > 0;
}
