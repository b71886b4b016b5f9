/* The audit log on disk: a folder of files "audit-NNNNNN.jsonl", written one after the other; the
 * chain goes on from one to the next. Beside them "head.json" (the newest signed head, replaced
 * atomically, so that a log cut back behind it shows at the next start) and "keys/KEY_ID.pem", the
 * public keys that signed heads. Not thread safe: one thread at a time. */
#pragma once

#include "audit/head.h"

struct audit_log;

struct audit_log_config {
    const char *folder;      /* made with mode 0700 where it is missing; its parent must exist */
    uint64_t file_max_bytes; /* a new file is begun then */
    uint32_t file_max_age_s; /* and when the first record of the file is that old; 0: never */
    unsigned files_kept;     /* older ones are removed; 0: none ever */
};

/* What was found at the end of an existing log, for the first record of this run to tell. */
struct audit_found {
    bool is_new;         /* no log was there */
    bool is_in_order;    /* the last record is a head with reason stop */
    uint64_t torn_bytes; /* of a last line that was never finished: cut off, kept in
                            "torn-NNNNNN" beside the files */
    char damage[256];    /* what does not verify: the log was changed, or cut behind the head
                            that head.json has. Empty: nothing. Writing goes on in a new file */
};

/* Opens the newest file for appending, after checking it and where it joins the file before.
 * Errors: the folder is not a folder, not ours, writable by others, or cannot be written. */
int audit_log_open(const struct audit_log_config *config, struct audit_log **ret_log,
                   struct audit_found *ret_found, struct error *err);
void audit_log_close(struct audit_log *log);
/* The last record appended. */
const struct audit_link *audit_log_link(const struct audit_log *log);

/* Chains a record and keeps it for the next write; begins another file where it is time for one:
 * then *ret_is_new_file, and the caller is to append a head with AUDIT_HEAD_FILE next.
 * ResourceExhausted: too much waits to be written. */
int audit_log_append(struct audit_log *log, struct bytes body, bool *ret_is_new_file,
                     struct error *err);
/* Writes what was appended and waits until it is on disk. Blocks. With an error (disk full, folder
 * or file removed or replaced under our hands, which is looked for here) nothing is lost: what was
 * appended stays, in order, for the next try. The file never ends in half a line that a later one
 * continues wrongly. */
int audit_log_sync(struct audit_log *log, struct error *err);
/* Bytes appended that are not on disk. */
size_t audit_log_pending_bytes(const struct audit_log *log);
/* Replaces head.json; call after audit_log_sync. Blocks. */
int audit_log_set_head(struct audit_log *log, const struct audit_head *head, struct error *err);
/* Writes the public key of heads to keys/. */
int audit_log_add_key(struct audit_log *log, struct bytes public_key, struct error *err);
