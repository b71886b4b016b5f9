/* Reads an audit log of any size, a bounded piece at a time, while it may be written to. Every
 * thread, one at a time for each reader. */
#pragma once

#include "audit/head.h"

struct audit_reader;

/* A line as it lies in the file, not yet judged. */
struct audit_line {
    struct bytes text;     /* without its newline; borrowed until the next read */
    const char *file;      /* its name; borrowed */
    uint64_t line, offset; /* of the file: from 1, in bytes */
    bool is_first_of_file;
    bool is_torn;     /* the last of its file, without a newline */
    bool is_too_long; /* text is its beginning; the rest was skipped */
};

/* path: the folder of a log, or one of its files. NotFound: no such log. */
int audit_reader_open(const char *path, struct audit_reader **ret_reader, struct error *err);
void audit_reader_close(struct audit_reader *reader);
DEFINE_CLEANUP(struct audit_reader, audit_reader, audit_reader_close);
/* The next line over all files in order; *ret_has_line false at the end. */
int audit_reader_next(struct audit_reader *reader, bool *ret_has_line, struct audit_line *ret_line,
                      struct error *err);
/* The public key of heads with that id, in the log's keys/ (or in the folder given to
 * audit_reader_set_keys); appended as SubjectPublicKeyInfo DER. NotFound. */
int audit_reader_key(struct audit_reader *reader, const char *key_id, struct buffer *ret_key,
                     struct error *err);
/* Trust no keys but those in this folder: a log's own folder may have been replaced with it. */
void audit_reader_set_keys(struct audit_reader *reader, const char *folder);
