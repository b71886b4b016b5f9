/* The chain: after a record that does not fit, the next ones tell what was done, and the check goes
 * on from there, so that one change is one finding. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit/verify_state.h"

static bool goes_on_from(const struct verify_record *record, const struct audit_link *before)
{
    uint8_t hash[AUDIT_HASH_BYTES];
    if (record->claimed.sequence != before->sequence + 1) {
        return false;
    }
    audit_record_hash(record->line->text, before->hash, hash);
    return memcmp(hash, record->claimed.hash, sizeof(hash)) == 0;
}

static void remember(struct verifier *verifier, const struct verify_place *place)
{
    verifier->places[verifier->next_place] = *place;
    verifier->next_place = (verifier->next_place + 1) % VERIFY_PLACES;
}

static const struct verify_place *find_place(const struct verifier *verifier,
                                             const struct verify_record *record)
{
    for (size_t i = 0; i < VERIFY_PLACES; i++) {
        const struct verify_place *place = &verifier->places[i];
        if (place->link.sequence > 0 && goes_on_from(record, &place->link)) {
            return place;
        }
    }
    return NULL;
}

void verify_settle(struct verifier *verifier)
{
    struct verify_pending *pending = &verifier->pending;
    if (!pending->is_there) {
        return;
    }
    pending->is_there = false;
    for (size_t i = 0; i < VERIFY_PLACES; i++) {
        verifier->places[i].is_pending = false;
    }
    verify_tell(verifier, &pending->finding);
}

/* The record after the one that did not fit goes on from the one before it. */
static void settle_as_put_in(struct verifier *verifier)
{
    struct verify_pending *pending = &verifier->pending;
    struct audit_finding *finding = &pending->finding;
    if (!pending->is_there) {
        return;
    }
    if (finding->kind == AUDIT_FINDING_CUT) {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "record %" PRIu64 " was moved here: record %" PRIu64 " belongs here",
                       finding->sequence, pending->before + 1);
    } else if (finding->kind == AUDIT_FINDING_CHANGED) {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "a record numbered %" PRIu64
                       " was put in: the real one of that number comes after it",
                       finding->sequence);
    }
    finding->kind = AUDIT_FINDING_MOVED;
    verify_settle(verifier);
}

static void describe_cut(struct audit_finding *finding, uint64_t first, uint64_t last)
{
    if (first == last) {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "record %" PRIu64 " is missing before this one", first);
    } else {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "%" PRIu64 " records are missing before this one, %" PRIu64 " to %" PRIu64,
                       last - first + 1, first, last);
    }
}

static void describe(const struct verifier *verifier, struct audit_finding *finding)
{
    uint64_t expected = verifier->anchor.sequence + 1;
    uint64_t sequence = finding->sequence;
    if (sequence == expected) {
        finding->kind = AUDIT_FINDING_CHANGED;
        (void)snprintf(finding->text, sizeof(finding->text),
                       "record %" PRIu64 " was changed, or the one before it and its hash",
                       sequence);
    } else if (sequence < expected) {
        finding->kind = AUDIT_FINDING_MOVED;
        (void)snprintf(finding->text, sizeof(finding->text),
                       "record %" PRIu64 " comes again or out of order: after record %" PRIu64,
                       sequence, verifier->anchor.sequence);
    } else {
        finding->kind = AUDIT_FINDING_CUT;
        describe_cut(finding, expected, sequence - 1);
    }
}

static void keep_pending(const struct verifier *verifier, const struct verify_record *record,
                         struct verify_pending *ret_pending)
{
    const struct audit_line *line = record->line;
    *ret_pending = (struct verify_pending){
        .is_there = true,
        .finding = {.line = line->line, .sequence = record->claimed.sequence},
        .before = verifier->anchor.sequence,
    };
    (void)snprintf(ret_pending->file, sizeof(ret_pending->file), "%s", line->file);
    ret_pending->finding.file = ret_pending->file;
}

/* What follows may go on from the record as it claims to be, or as it is if only its hash was
 * changed. */
static void begin_anomaly(struct verifier *verifier, const struct verify_record *record)
{
    struct verify_place place = {.link = record->claimed, .is_pending = true};
    verify_settle(verifier);
    keep_pending(verifier, record, &verifier->pending);
    describe(verifier, &verifier->pending.finding);
    remember(verifier, &place);
    audit_record_hash(record->line->text, verifier->anchor.hash, place.link.hash);
    remember(verifier, &place);
}

static void accept(struct verifier *verifier, const struct verify_record *record)
{
    verifier->links[record->claimed.sequence % VERIFY_LINKS] = record->claimed;
    verifier->anchor = record->claimed;
    verifier->has_anchor = true;
    verifier->unreadable = 0;
    verifier->highest = MAX(verifier->highest, record->claimed.sequence);
}

/* The record goes on from a place other than the last one. */
static void jump(struct verifier *verifier, const struct verify_record *record,
                 const struct verify_place *place)
{
    const struct verify_place left = {.link = verifier->anchor, .is_good = true};
    bool goes_back = place->is_good && record->claimed.sequence <= verifier->highest;
    verify_settle(verifier);
    if (goes_back) {
        verify_tell_line(verifier, AUDIT_FINDING_MOVED, false, record->line,
                         record->claimed.sequence,
                         "record %" PRIu64 " comes again or out of order: after record %" PRIu64,
                         record->claimed.sequence, verifier->anchor.sequence);
    }
    remember(verifier, &left);
}

/* The log begins: with its first record, or with the head of a file where the files before it were
 * removed, which tells what it goes on from; or that head comes a little later. */
static bool begin(struct verifier *verifier, const struct verify_record *record)
{
    struct verify_beginning *beginning = &verifier->beginning;
    if (record->claimed.sequence == 1) {
        verifier->anchor = (struct audit_link){0};
    } else if (record->is_head && record->head.reason == AUDIT_HEAD_FILE &&
               record->head.link.sequence == record->claimed.sequence - 1) {
        verifier->anchor = record->head.link;
        verifier->links[verifier->anchor.sequence % VERIFY_LINKS] = verifier->anchor;
    } else {
        struct bytes text = record->line->text;
        beginning->is_late = true;
        beginning->claimed = record->claimed;
        keep_pending(verifier, record, &beginning->place);
        buffer_append(&beginning->text, text.data, text.size);
        return false;
    }
    verifier->has_anchor = true;
    return true;
}

bool verify_place(struct verifier *verifier, const struct verify_record *record)
{
    uint64_t sequence = record->claimed.sequence;
    if (!verifier->has_anchor && !begin(verifier, record)) {
        accept(verifier, record);
        return true;
    }
    if (goes_on_from(record, &verifier->anchor)) {
        settle_as_put_in(verifier);
        accept(verifier, record);
        return true;
    }
    const struct verify_place *place = find_place(verifier, record);
    if (place) {
        jump(verifier, record, place);
        accept(verifier, record);
        return true;
    }
    /* In the place of lines that were told of already. */
    if (sequence > verifier->anchor.sequence + 1 &&
        sequence - verifier->anchor.sequence - 1 <= verifier->unreadable) {
        verify_settle(verifier);
        accept(verifier, record);
        return true;
    }
    begin_anomaly(verifier, record);
    return false;
}

void verify_unreadable(struct verifier *verifier)
{
    verify_settle(verifier);
    verifier->unreadable++;
}
