/* Of the entry book: the entries of the configuration, and what the store remembers about entries
 * without anybody waiting for it. */
#include <inttypes.h>
#include <string.h>

#include "agent/issuer/entry_book_state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Many small writes in one job: what configuring, or having been seen, leaves to remember. */
struct notes {
    struct store_job record;
    struct entry_book *book;
    struct entry_memory *remember;
    size_t remember_count;
    struct text_list forget, delete, seen;
};

/* NOLINTNEXTLINE(readability-function-size): it is all in uthash's macro */
void entry_memories_add(void *user, const struct entry_memory *memory)
{
    struct entry_book *book = user;
    struct remembered *remembered = NEW(struct remembered);
    remembered->memory = *memory;
    remembered->memory.id = memory_copy_text(memory->id);
    HASH_ADD_KEYPTR(hh, book->remembered, remembered->memory.id, strlen(remembered->memory.id),
                    remembered);
}

void entry_memories_clear(struct entry_book *book)
{
    struct remembered *remembered, *next;
    HASH_ITER (hh, book->remembered, remembered, next) {
        /* NOLINTNEXTLINE(clang-analyzer-*): it cannot know that uthash takes each item out whole */
        HASH_DEL(book->remembered, remembered);
        free(remembered->memory.id);
        free(remembered);
    }
}

static int record_notes(struct store *store, struct store_job *job, struct error *err)
{
    const struct notes *notes = container_of(job, struct notes, record);
    for (size_t i = 0; i < notes->remember_count; i++) {
        TRY(entry_table_remember(store, &notes->remember[i], err));
    }
    for (size_t i = 0; i < notes->forget.count; i++) {
        TRY(entry_table_forget(store, notes->forget.items[i], err));
    }
    for (size_t i = 0; i < notes->delete.count; i++) {
        TRY(entry_table_delete(store, notes->delete.items[i], err));
    }
    for (size_t i = 0; i < notes->seen.count; i++) {
        TRY(entry_table_set_seen(store, notes->seen.items[i], err));
    }
    return 0;
}

static void notes_free(struct notes *notes)
{
    for (size_t i = 0; i < notes->remember_count; i++) {
        free(notes->remember[i].id);
    }
    free(notes->remember);
    text_list_clear(&notes->forget);
    text_list_clear(&notes->delete);
    text_list_clear(&notes->seen);
    free(notes);
}

static void notes_delivered(struct mailbox_message *message)
{
    struct store_job *job = container_of(message, struct store_job, message);
    struct notes *notes = container_of(job, struct notes, record);
    notes->book->in_hand--;
    if (job->is_failed) {
        log_warning("what is to be remembered of %zu entries was not stored: %s",
                    notes->remember_count + notes->forget.count + notes->delete.count +
                        notes->seen.count,
                    job->failure.text);
        text_list_copy(&notes->book->seen, &notes->seen);
    }
    notes_free(notes);
}

static void submit_notes(struct entry_book *book, struct notes *notes)
{
    notes->book = book;
    notes->record.run = record_notes;
    notes->record.mailbox = book->config.mailbox;
    notes->record.message.deliver = notes_delivered;
    book->in_hand++;
    store_submit(book->config.store, &notes->record);
}

void entry_book_set_seen(struct entry_book *book, const struct entry *entry)
{
    struct held *held = entry_book_find_id(book, entry->id);
    if (held && !held->entry->was_seen) {
        held->entry->was_seen = true;
        text_list_add(&book->seen, entry->id);
    }
}

void entry_book_flush(struct entry_book *book)
{
    if (book->seen.count > 0) {
        struct notes *notes = NEW(struct notes);
        notes->seen = book->seen;
        book->seen = (struct text_list){0};
        submit_notes(book, notes);
    }
}

static void note_memory(struct notes *notes, const struct entry *entry)
{
    notes->remember =
        memory_resize_array(notes->remember, notes->remember_count + 1, sizeof(*notes->remember));
    notes->remember[notes->remember_count++] =
        (struct entry_memory){memory_copy_text(entry->id), entry->created_at_s, entry->was_seen};
}

/* Takes the entry, which nobody has under its id. */
static void configure_new(struct entry_book *book, struct entry *entry,
                          const uint8_t digest[ENTRY_DIGEST_BYTES], struct notes *notes)
{
    struct held *added = entry_book_find_digest(book, digest);
    struct remembered *remembered = NULL;
    HASH_FIND_STR(book->remembered, entry->id, remembered);
    if (remembered) {
        entry->created_at_s = remembered->memory.created_at_s;
        entry->was_seen = remembered->memory.was_seen;
    } else if (added) {
        entry->created_at_s = added->entry->created_at_s;
        entry->was_seen = added->entry->was_seen;
    } else {
        entry->created_at_s = issuer_clock_now_s(book->config.clock);
    }
    if (added) {
        log_info("entry %s (%s) is configured now and has got the id %s", added->entry->id,
                 entry->spiffe_id, entry->id);
        text_list_add(&notes->delete, added->entry->id);
        _cleanup_(entry_unref_cleanup) struct entry *before = entry_ref(added->entry);
        entry_book_let_go(book, added);
        entry_book_tell_removed(book, before->id);
    }
    if (!remembered) {
        note_memory(notes, entry);
    }
    entry_book_hold(book, entry, digest)->is_durable = true;
    entry_book_tell_set(book, entry);
}

/* Takes the entry. */
static void configure_entry(struct entry_book *book, struct entry *entry, struct notes *notes)
{
    uint8_t digest[ENTRY_DIGEST_BYTES];
    entry_digest(entry, digest);
    struct held *held = entry_book_find_id(book, entry->id);
    if (!held) {
        configure_new(book, entry, digest, notes);
        return;
    }
    held->is_stale = false;
    if (entry_is_same(held->entry, entry)) {
        entry_unref(entry);
        return;
    }
    entry->created_at_s = held->entry->created_at_s;
    entry->was_seen = held->entry->was_seen;
    entry->revision = held->entry->revision + 1;
    /* The hash borrows its key from the entry. */
    entry_book_let_go(book, held);
    entry_book_hold(book, entry, digest)->is_durable = true;
    entry_book_tell_set(book, entry);
}

static void remove_stale(struct entry_book *book, struct notes *notes)
{
    struct held *held, *next;
    HASH_ITER (by_id, book->by_id, held, next) {
        if (held->is_stale) {
            _cleanup_(entry_unref_cleanup) struct entry *entry = entry_ref(held->entry);
            text_list_add(&notes->forget, entry->id);
            entry_book_let_go(book, held);
            entry_book_tell_removed(book, entry->id);
        }
    }
}

static void forget_unconfigured(struct entry_book *book, struct notes *notes)
{
    struct remembered *remembered, *next;
    HASH_ITER (hh, book->remembered, remembered, next) {
        if (!entry_book_find_id(book, remembered->memory.id)) {
            text_list_add(&notes->forget, remembered->memory.id);
        }
    }
    entry_memories_clear(book);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp((*(struct entry *const *)a)->id, (*(struct entry *const *)b)->id);
}

struct entry_set {
    struct entry **items;
    size_t count;
};

static void entry_set_clear(struct entry_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        entry_unref(set->items[i]);
    }
    free(set->items);
}

/* Copies of all, with their ids, checked against each other. */
static int copy_checked(const struct entry_book *book, struct entry **entries, size_t count,
                        struct entry_set *set, struct error *err)
{
    set->items = memory_new_array(count, sizeof(struct entry *));
    for (size_t i = 0; i < count; i++) {
        struct entry *copy = set->items[set->count++] = entry_copy(entries[i]);
        TRY(entry_check(copy, book->config.trust_domain, err));
        free(copy->id);
        copy->id = entry_configured_id(copy);
        copy->is_configured = true;
        copy->was_seen = false;
        copy->revision = 1;
    }
    qsort((void *)set->items, count, sizeof(struct entry *), compare_ids);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(set->items[i - 1]->id, set->items[i]->id) == 0) {
            return error_set(err, ERROR_ALREADY_EXISTS,
                             "entry %s is configured twice with the same selectors",
                             set->items[i]->spiffe_id);
        }
    }
    return 0;
}

static size_t mark_stale(struct entry_book *book)
{
    size_t added = 0;
    for (struct held *held = book->by_id; held; held = held->by_id.next) {
        held->is_stale = held->entry->is_configured;
        added += !held->is_stale;
    }
    return added;
}

int entry_book_configure(struct entry_book *book, struct entry **entries, size_t count,
                         struct error *err)
{
    _cleanup_(entry_set_clear) struct entry_set set = {0};
    size_t added = mark_stale(book);
    if (count + added > ENTRIES_MAX) {
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%zu configured and %zu added entries are more than the %d allowed", count,
                         added, ENTRIES_MAX);
    }
    TRY(copy_checked(book, entries, count, &set, err));
    struct notes *notes = NEW(struct notes);
    for (size_t i = 0; i < count; i++) {
        configure_entry(book, take_ptr(set.items[i]), notes);
    }
    remove_stale(book, notes);
    forget_unconfigured(book, notes);
    if (notes->remember_count + notes->forget.count + notes->delete.count > 0) {
        submit_notes(book, notes);
    } else {
        notes_free(notes);
    }
    return 0;
}
