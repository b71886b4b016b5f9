/* Which records belong to a story: those of an identity, a process or a credential, and those that
 * are tied to them by the same process or the same key. */
#pragma once

#include "client/audit_scan.h"

enum { AUDIT_PICK_TIES_MAX = 10000 };

struct audit_pick {
    const char *pattern; /* of SPIFFE IDs, "*" stands for anything; NULL: not asked for */
    uint64_t pid;        /* 0: not asked for */
    const char *serial;  /* or jti; NULL: not asked for */

    /* What ties others: sorted. */
    struct text_list processes; /* "pid:start_time" */
    struct text_list keys;
    struct text_list identities; /* for what was done to them: locks, entries */
    char first[AUDIT_TIME_BYTES + 1], last[AUDIT_TIME_BYTES + 1]; /* of what was picked */
};

/* Whether anything is asked for; else all records belong to it. */
bool audit_pick_is_narrow(const struct audit_pick *pick);
/* Reads the log, as often as it takes, to find the ties. */
int audit_pick_prepare(struct audit_pick *pick, const char *path, const struct audit_range *range,
                       struct error *err);
/* Whether the record belongs to it. Heads never do; what was done to its identities does, and what
 * concerns the whole host between the first and the last of it. */
bool audit_pick_has(const struct audit_pick *pick, const struct audit_record_text *record);
void audit_pick_clear(struct audit_pick *pick);
