/* Signed heads: whether the key that each names has signed what lies before it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit/verify_state.h"

void verify_keys_clear(struct verifier *verifier)
{
    for (size_t i = 0; i < VERIFY_KEYS; i++) {
        buffer_clear(&verifier->keys[i].der);
    }
}

/* The key of that name; one that is not trusted is told of once. */
static const struct verify_key *find_key(struct verifier *verifier, const char *key_id,
                                         const struct audit_finding *place)
{
    for (size_t i = 0; i < VERIFY_KEYS; i++) {
        if (verifier->keys[i].is_there && strcmp(verifier->keys[i].id, key_id) == 0) {
            return &verifier->keys[i];
        }
    }
    struct error reason;
    struct verify_key *key = &verifier->keys[verifier->next_key];
    verifier->next_key = (verifier->next_key + 1) % VERIFY_KEYS;
    buffer_reset(&key->der);
    (void)snprintf(key->id, sizeof(key->id), "%s", key_id);
    key->is_there = true;
    key->is_trusted = audit_reader_key(verifier->reader, key_id, &key->der, &reason) == 0;
    if (!key->is_trusted) {
        verify_tell_place(verifier, AUDIT_FINDING_UNKNOWN_KEY, place,
                          "the head is signed by the key %s: %s", key_id, reason.text);
    }
    return key;
}

static bool is_signed(struct verifier *verifier, const struct audit_head *head,
                      const struct audit_finding *place)
{
    struct error reason;
    const struct verify_key *key = find_key(verifier, head->key_id, place);
    if (!key->is_trusted) {
        return false;
    }
    if (audit_head_verify(head, buffer_bytes(&key->der), &reason) == 0) {
        return true;
    }
    verify_tell_place(verifier, AUDIT_FINDING_SIGNATURE, place, "%s", reason.text);
    return false;
}

void verify_head_signature(struct verifier *verifier, const struct audit_head *head,
                           const char *name)
{
    const struct audit_finding place = {.file = name, .line = 1, .sequence = head->link.sequence};
    (void)is_signed(verifier, head, &place);
}

/* Starts and stops. */
static void follow_life(struct verifier *verifier, const struct verify_record *record)
{
    if (record->head.reason == AUDIT_HEAD_START && verifier->is_running) {
        verify_tell_line(verifier, AUDIT_FINDING_CRASH, true, record->line,
                         record->claimed.sequence,
                         "the agent started without having stopped: what it had not yet answered "
                         "for when it ended may be missing before this");
    }
    verifier->is_running = record->head.reason != AUDIT_HEAD_STOP;
}

/* Whether the log still has the record that the head is of. */
enum signed_record { SIGNED_OTHER, SIGNED_GONE, SIGNED_SAME };

static enum signed_record find_signed(const struct verifier *verifier,
                                      const struct verify_record *record)
{
    static const struct audit_link none = {0};
    const struct audit_link *link = &record->head.link;
    const struct audit_link *own =
        link->sequence == 0 ? &none : &verifier->links[link->sequence % VERIFY_LINKS];
    if (link->sequence >= record->claimed.sequence) {
        return SIGNED_OTHER;
    }
    if (own->sequence != link->sequence) {
        return SIGNED_GONE;
    }
    return memcmp(own->hash, link->hash, AUDIT_HASH_BYTES) == 0 ? SIGNED_SAME : SIGNED_OTHER;
}

/* What the head of the first file that is left says of what lay before it. */
static void prove_beginning(struct verifier *verifier, const struct verify_record *record)
{
    struct verify_beginning *beginning = &verifier->beginning;
    const struct audit_head *head = &record->head;
    uint8_t hash[AUDIT_HASH_BYTES];
    if (!beginning->is_late || head->reason != AUDIT_HEAD_FILE ||
        strcmp(record->line->file, beginning->place.file) != 0) {
        return;
    }
    beginning->has_head = true;
    if (head->link.sequence + 1 != beginning->claimed.sequence) {
        return;
    }
    beginning->is_proven = true;
    audit_record_hash(buffer_bytes(&beginning->text), head->link.hash, hash);
    if (memcmp(hash, beginning->claimed.hash, sizeof(hash)) != 0) {
        verify_tell_place(verifier, AUDIT_FINDING_CHANGED, &beginning->place.finding,
                          "record %" PRIu64 " was changed, by what the head of its file says",
                          beginning->claimed.sequence);
    }
}

void verify_head(struct verifier *verifier, const struct verify_record *record)
{
    const struct audit_head *head = &record->head;
    struct audit_verdict *verdict = verifier->verdict;
    const struct audit_finding place = {.file = record->line->file,
                                        .line = record->line->line,
                                        .sequence = record->claimed.sequence};
    enum signed_record found = find_signed(verifier, record);
    verdict->heads++;
    follow_life(verifier, record);
    if (found == SIGNED_OTHER) {
        verify_tell_place(verifier, AUDIT_FINDING_SIGNATURE, &place,
                          "the head is of another record %" PRIu64 " than the log has",
                          head->link.sequence);
        return;
    }
    if (!is_signed(verifier, head, &place)) {
        return;
    }
    prove_beginning(verifier, record);
    if (found == SIGNED_SAME && head->link.sequence >= verdict->signed_last.sequence) {
        verdict->signed_last = head->link;
        verifier->last_head = record->claimed.sequence;
        (void)snprintf(verdict->key_id, sizeof(verdict->key_id), "%s", head->key_id);
    }
}
