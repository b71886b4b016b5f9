/* What became of each identity on this host, kept over restarts: for `signet identity list`, which
 * finds what could be taken away. Loop thread only.
 *
 * Kept in SQLite, "usage.db" in data_dir, of rows that changed, every minute and at the end; never
 * waited for: after a crash the last minute may be missing, of which the audit log has all. */
#pragma once

#include <uv.h>

#include "lib/base/error.h"

struct usage;

enum { USAGE_DAYS = 30 };

struct usage_row {
    const char *spiffe_id;
    int64_t known_since_s, last_issued_s, last_used_s, last_fetched_s, last_denied_s; /* 0: never */
    uint64_t issued, used, fetched, denied;
    uint64_t used_days[USAGE_DAYS]; /* today (UTC) first */
};

int usage_open(uv_loop_t *loop, const char *data_dir, struct usage **ret_usage, struct error *err);
/* Begins to save what has changed, on a thread of the pool; happens each minute by itself. */
void usage_save(struct usage *usage);
/* Saves. Its handle of the loop is closed at the loop's next turn. */
void usage_close(struct usage *usage);
/* An entry gives it. */
void usage_known(struct usage *usage, const char *spiffe_id);
void usage_issued(struct usage *usage, const char *spiffe_id, int64_t now_s);
/* Signatures. */
void usage_used(struct usage *usage, const char *spiffe_id, uint64_t count, int64_t now_s);
/* SVIDs handed out. */
void usage_fetched(struct usage *usage, const char *spiffe_id, int64_t now_s);
/* Only where somebody has counted the identity before: who is refused may have asked for anything.
 */
void usage_denied(struct usage *usage, const char *spiffe_id, uint64_t count, int64_t now_s);
/* In order of SPIFFE ID, as of now_s. Of identities without an entry rows are kept for a year. */
void usage_each(struct usage *usage, int64_t now_s,
                void (*each)(void *user, const struct usage_row *row), void *user);
