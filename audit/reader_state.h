/* The insides of a reader, for the files of this room. */
#pragma once

#include "audit/files.h"
#include "audit/reader.h"

enum { READER_BEGINNING_BYTES = 256 };

struct audit_reader {
    char *folder_name;
    int folder;
    bool is_folder; /* a whole log, not one of its files */
    struct audit_files files;
    size_t next_file;
    char *key_folder; /* NULL: the log's own */

    /* The file that is being read. */
    char name[256];
    int descriptor; /* -1: none */
    uint64_t line, offset;
    uint8_t *chunk;
    size_t begin, end; /* what of the chunk is not used yet */
    bool is_at_end;
    uint8_t beginning[READER_BEGINNING_BYTES]; /* of a line that is too long */
};

/* What head.json of the log says. NotFound: there is none, or the reader has only one file. */
int audit_reader_newest_head(struct audit_reader *reader, struct audit_head *ret_head,
                             struct error *err);
