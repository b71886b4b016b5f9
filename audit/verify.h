/* Whether an audit log is whole: judged here, on any machine, without the agent. */
#pragma once

#include "audit/reader.h"

enum audit_finding_kind {
    AUDIT_FINDING_CUT,         /* records are missing between two, or at the start of a file */
    AUDIT_FINDING_CHANGED,     /* a record's hash is not that of its text */
    AUDIT_FINDING_MOVED,       /* a number comes again, or goes back */
    AUDIT_FINDING_NO_RECORD,   /* a line that is not a record */
    AUDIT_FINDING_SIGNATURE,   /* a head is not signed by the key that it names */
    AUDIT_FINDING_UNKNOWN_KEY, /* a head is signed by a key that is not trusted here */
    AUDIT_FINDING_ROLLED_BACK, /* the log ends before a head that is known to have existed */
    AUDIT_FINDING_TORN,        /* the last line is not whole: what was being written when the agent
                                  died. No finding but a remark */
    AUDIT_FINDING_CRASH,       /* a start without a stop before it: up to the last head interval of
                                  records that were never answered for may be missing. A remark */
    AUDIT_FINDING_UNSIGNED,    /* records after the last head: chained, not yet signed. A remark */
};

struct audit_finding {
    enum audit_finding_kind kind;
    bool is_remark;   /* does not make the log broken */
    const char *file; /* borrowed for the call */
    uint64_t line;
    uint64_t sequence; /* 0: unknown */
    char text[256];    /* for people */
};

struct audit_verdict {
    bool is_whole;
    uint64_t records, heads, files;
    struct audit_link first, last;
    struct audit_link signed_last;      /* the newest that a good head vouches for */
    uint64_t findings;                  /* in all, without remarks; told are the first
                                           AUDIT_FINDINGS_MAX, remarks among them */
    char key_id[41];                    /* of the newest good head; empty: none */
    char first_time[32], last_time[32]; /* "@timestamp" of the first and last; empty: unknown */
};
enum { AUDIT_FINDINGS_MAX = 1000 };

/* Reads all of it. known: a head kept elsewhere that the log must contain; NULL: none is known but
 * the log's own head.json. Errors only where it cannot be read. */
int audit_verify(struct audit_reader *reader, const struct audit_link *known,
                 void (*found)(void *user, const struct audit_finding *finding), void *user,
                 struct audit_verdict *ret_verdict, struct error *err);
/* As above with several such heads: at most AUDIT_KNOWN_MAX. */
enum { AUDIT_KNOWN_MAX = 8 };
int audit_verify_against(struct audit_reader *reader, const struct audit_link *known,
                         size_t known_count,
                         void (*found)(void *user, const struct audit_finding *finding), void *user,
                         struct audit_verdict *ret_verdict, struct error *err);
/* "cut", "changed", "moved", …; never NULL. */
const char *audit_finding_name(enum audit_finding_kind kind);
