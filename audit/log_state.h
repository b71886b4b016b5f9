/* The insides of a log that is written, for the files of this room. */
#pragma once

#include <sys/types.h>

#include "audit/files.h"
#include "audit/log.h"

enum { LOG_PENDING_MAX_BYTES = 64 << 20 };

struct audit_log {
    char *folder_name;
    uint64_t file_max_bytes;
    uint32_t file_max_age_s;
    unsigned files_kept;
    struct audit_link link; /* the last record appended */
    struct buffer key;      /* public, of heads; for a folder that has to be made anew */

    /* Records that are not on disk: of the file that is open, then of each file after it. */
    struct buffer pending;
    size_t *cuts; /* places in pending where another file begins; ascending */
    size_t cut_count;
    int64_t began_at_s; /* first record of the newest file, open or still to be begun; 0: it has
                           none */

    /* On disk. */
    int folder, file; /* -1: not open */
    uint32_t number;  /* of the file, or of the last one that there was */
    uint64_t size;    /* of the file: all of it is whole records, and synced */
};

/* log_place.c */

/* Makes or checks the folder, opens it and takes it for this process alone. */
int log_open_folder(struct audit_log *log, struct error *err);
/* Begins the next file in it, and removes those that are too old. */
int log_begin_file(struct audit_log *log, struct error *err);
/* Whether folder and file are still what was opened, and the file has that size: nobody else wrote.
 * FailedPrecondition: they are not, and the file is given up: the next one is begun at the next
 * sync. */
int log_check_place(struct audit_log *log, uint64_t size, struct error *err);
void log_close_file(struct audit_log *log);
void log_close_folder(struct audit_log *log);

/* log_open.c: finds the end of what is there, by reading. */
int log_find_end(struct audit_log *log, struct audit_found *ret_found, struct error *err);
