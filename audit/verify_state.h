/* The insides of a verification, for the files of this room. */
#pragma once

#include "audit/verify.h"

/* A place of the log that a record may go on from. */
struct verify_place {
    struct audit_link link;
    bool is_good;    /* it was in its place itself; else it is one that did not fit */
    bool is_pending; /* it is what the finding that waits is about */
};

/* A finding that waits for the next record to tell what it is. */
struct verify_pending {
    bool is_there;
    struct audit_finding finding;
    char file[256];
    uint64_t before; /* the sequence that it came after */
};

struct verify_key {
    char id[41];
    struct buffer der;
    bool is_there, is_trusted;
};

struct verify_known {
    struct audit_link link;
    const char *origin; /* static: of whom, in findings */
    bool is_seen;
};

/* What comes before the first record that is left: enough to judge it once a head tells. */
struct verify_beginning {
    bool is_late;   /* it is not the first record that there ever was */
    bool is_proven; /* its file's head says that it follows from what lay before */
    bool has_head;  /* a head of a new file, or of a start, came in its file */
    struct verify_pending place;
    struct audit_link claimed;
    struct buffer text;
};

/* A head may be of a record some way back: the hardware takes its time, and records go on. */
enum { VERIFY_PLACES = 32, VERIFY_KEYS = 16, VERIFY_LINKS = 1 << 17 };

struct verifier {
    struct audit_reader *reader;
    void (*found)(void *user, const struct audit_finding *finding);
    void *user;
    struct audit_verdict *verdict;
    uint64_t told;

    /* The chain. */
    struct audit_link anchor; /* the last record in its place */
    bool has_anchor;
    uint64_t highest;
    uint64_t unreadable; /* lines since the anchor that are no records */
    struct verify_place places[VERIFY_PLACES];
    size_t next_place;
    struct verify_pending pending;

    struct verify_beginning beginning;

    /* Heads. */
    struct verify_key keys[VERIFY_KEYS];
    size_t next_key;
    struct audit_link *links; /* the last records, by number modulo VERIFY_LINKS */
    bool is_running;          /* the newest head is none of a stop */
    uint64_t last_head;       /* the record that the newest good head is */

    struct verify_known known[AUDIT_KNOWN_MAX + 1];
    size_t known_count;
};

/* A line that is a record. */
struct verify_record {
    const struct audit_line *line;
    struct audit_link claimed;
    struct bytes body;
    bool is_head;
    struct audit_head head; /* where it is one */
};

/* Tells it and counts it. */
void verify_tell(struct verifier *verifier, const struct audit_finding *finding);
/* A finding of that kind where `place` says. */
void verify_tell_place(struct verifier *verifier, enum audit_finding_kind kind,
                       const struct audit_finding *place, const char *format, ...) _printf_(4, 5);
/* A finding about a line. */
void verify_tell_line(struct verifier *verifier, enum audit_finding_kind kind, bool is_remark,
                      const struct audit_line *line, uint64_t sequence, const char *format, ...)
    _printf_(6, 7);

/* verify_chain.c: whether the record is in its place; where it is not, that was or will be told. */
bool verify_place(struct verifier *verifier, const struct verify_record *record);
/* A line that is no record at all. */
void verify_unreadable(struct verifier *verifier);
/* Tells what still waits. */
void verify_settle(struct verifier *verifier);

/* verify_head.c: a head that is in its place. */
void verify_head(struct verifier *verifier, const struct verify_record *record);
/* A head that is not in the log. name: of its file. */
void verify_head_signature(struct verifier *verifier, const struct audit_head *head,
                           const char *name);
void verify_keys_clear(struct verifier *verifier);
