/* What the audit log tells of: one event for each decision. The names that reach the file are those
 * of the Elastic Common Schema (ECS 8), as flat dotted keys; what ECS has no name for is below
 * "signet.". docs/audit.md has the table. Everything is borrowed for the call. */
#pragma once

#include <sys/types.h>

#include "lib/base/text.h"

enum audit_action {
    AUDIT_IDENTIFIED, /* a process was given an identity: its SVID, or its key on the token */
    AUDIT_ISSUED,     /* a credential was made */
    AUDIT_RENEWED,    /* one was replaced by the next */
    AUDIT_DENIED,     /* an identity, or a use of it, was refused */
    AUDIT_USED,       /* keys signed */
    AUDIT_WITHDRAWN,  /* a process lost what it had */
    AUDIT_LOCKED,
    AUDIT_UNLOCKED,
    AUDIT_ENTRY_SET,
    AUDIT_ENTRY_REMOVED,
    AUDIT_RULES_CHANGED,
    AUDIT_NODE_ATTESTED,
    AUDIT_NODE_NOT_ATTESTED,
    AUDIT_EVIDENCE, /* evidence about the node, or a key of an identity, was made for somebody */
    AUDIT_KEYSTORE_LOST,
    AUDIT_KEYSTORE_BACK,
    AUDIT_STARTED,
    AUDIT_STOPPED,
};
enum { AUDIT_ACTION_COUNT = AUDIT_STOPPED + 1 };
/* "identified", "issued", …: ECS event.action. */
const char *audit_action_name(enum audit_action action);

/* Who made the decision. */
enum audit_decider {
    AUDIT_DECIDER_NONE,
    AUDIT_DECIDER_ENTRY,   /* id: the entry's */
    AUDIT_DECIDER_RULE,    /* id: the rule's pattern */
    AUDIT_DECIDER_LOCK,    /* id: the lock's */
    AUDIT_DECIDER_OUTSIDE, /* the outside policy; id: its path */
    AUDIT_DECIDER_PROCESS, /* the process is not, or no more, who it was */
    AUDIT_DECIDER_NODE,    /* the node is not attested, or the agent cannot go on */
    AUDIT_DECIDER_ADMIN,   /* somebody with the admin socket; process says who */
};
const char *audit_decider_name(enum audit_decider decider);

struct audit_process {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    uint64_t start_time;               /* ticks since boot; with pid it names the process */
    int64_t started_at_ms;             /* since 1970; 0: unknown */
    const char *executable;            /* path in its own mount namespace; NULL: unknown */
    const char *sha256;                /* of it, hexadecimal; NULL: unknown */
    const char *container_id;          /* NULL: none known */
    const char *unit;                  /* systemd's; NULL: none known */
    const struct text_list *selectors; /* NULL: unknown */
};

struct audit_credential {
    const char *kind;        /* "x509-svid", "jwt-svid", "key" */
    const char *serial;      /* or jti; NULL: none */
    const char *fingerprint; /* SHA-256 of the leaf certificate, hexadecimal; NULL: none */
    const char *key_id;      /* hexadecimal; NULL: none */
    const char *protection;  /* key_protection_name; NULL: none */
    int64_t expires_at_s;    /* 0: none */
};

struct audit_event {
    enum audit_action action;
    bool is_failure;                     /* ECS event.outcome */
    const char *spiffe_id;               /* NULL: none */
    const struct audit_process *process; /* NULL: none, the agent itself */
    const char *asked;                   /* what for: "FetchX509SVID", "sign", …; NULL */
    const struct text_list *audience;    /* of a JWT-SVID; NULL */
    enum audit_decider decider;
    const char *decider_id;                    /* NULL: none */
    const char *reason;                        /* for people; NULL */
    const struct audit_credential *credential; /* NULL: none */
    uint64_t count;                            /* of the same, gathered; 0 means 1 */
    int64_t time_ms;                           /* since 1970; 0: now */
    int64_t first_ms;                          /* of gathered ones; 0: time_ms */
    const char *detail;                        /* which keystore, how many rules, …; NULL */
};

/* Appends the body of the record. Whatever is not printable UTF-8 in the texts is replaced; lists
 * are cut where the record would be too long, and that is said in it. */
void audit_event_body(const struct audit_event *event, struct buffer *ret_body);
