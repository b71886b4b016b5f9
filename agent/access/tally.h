/* What a process did with one key since the last record: the first of each kind is recorded at
 * once, then what comes is counted and recorded each second. Counted on any thread; all else on the
 * loop. */
#pragma once

#include <stdatomic.h>
#include <sys/queue.h>

#include "agent/svid/manager.h"
#include "lib/base/mailbox.h"

struct access;
struct subject;
struct holding;

enum tally_kind {
    TALLY_FETCHED, /* the SVID was handed out */
    TALLY_USED,
    TALLY_FAILED, /* admitted, but not signed */
    TALLY_DENIED_NODE,
    TALLY_DENIED_PROGRAM,
    TALLY_DENIED_ENDED,
    TALLY_DENIED_TIME,
    TALLY_DENIED_USES,
    TALLY_DENIED_RATE,
    TALLY_DENIED_OUTSIDE,
};
enum { TALLY_KINDS = TALLY_DENIED_OUTSIDE + 1 };
/* A second's records of a thousand processes at once would keep the loop, and a core, from others
 * for too long. */
enum { TALLIES_AT_ONCE = 32, TALLIES_PAUSE_MS = 10 };

struct tally {
    atomic_size_t references;
    atomic_uint counts[TALLY_KINDS];
    atomic_uint gathered;   /* a bit for each kind of which one was recorded a short while ago */
    atomic_bool is_in_mail; /* on its way to the loop, with a reference */
    struct mailbox_message message;
    struct access *access;
    struct subject *subject; /* NULL: forgotten already */
    struct holding *holding;
    uint64_t tag;
    CK_OBJECT_HANDLE handle; /* of the key on the token */
    char key_id[2 * KEY_ID_BYTES + 1];
    char fingerprint[65]; /* of the leaf */
    char *serial, *entry_id;
    char *rule;        /* the pattern of the one whose limits count; NULL: none */
    const char *asked; /* for what it was handed out; static */
    enum key_protection protection;
    int64_t expires_at_s, gathered_since_ms;
    bool is_listed; /* with those that are gathered, with a reference */
    LIST_ENTRY(tally) of_subject;
    TAILQ_ENTRY(tally) gather;
};
TAILQ_HEAD(tally_list, tally);

/* Of the process and the SVID's key; made when there is none. Borrowed from the subject. */
struct tally *tally_get(struct subject *subject, const struct svid_x509 *svid);
struct tally *tally_ref(struct tally *tally);
/* Every thread. */
void tally_unref(struct tally *tally);
/* Whose limits count from now on; NULL: no rule's. */
void tally_set_rule(struct tally *tally, const char *pattern);
/* Every thread: one more. */
void tally_count(struct tally *tally, enum tally_kind kind);
/* The SVID was handed out; on the loop: the first is in the records at the return. */
void tally_fetched(struct tally *tally, const char *asked);
/* Records what was gathered by the next few of those that are due. Returns whether any is left. */
bool tallies_gather(struct access *access);
/* At the end: of all of them, until there is nothing. */
void tallies_gather_all(struct access *access);
