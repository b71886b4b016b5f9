/* The files of an audit log by name: "audit-NNNNNN.jsonl". Every thread. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/error.h"

enum { AUDIT_FILES_MAX = 2000000, AUDIT_FILE_NAME_BYTES = 32 };

struct audit_files {
    uint32_t *numbers; /* ascending */
    size_t count;
};

void audit_file_name(uint32_t number, char ret_name[AUDIT_FILE_NAME_BYTES]);
/* Whether the name is that of a file of a log, and its number. */
bool audit_file_number(const char *name, uint32_t *ret_number);

/* Those in an open folder. ResourceExhausted: more than AUDIT_FILES_MAX. */
int audit_files_list(int folder, const char *folder_name, struct audit_files *ret_files,
                     struct error *err);
void audit_files_clear(struct audit_files *files);

/* Opens a file of the folder and refuses whatever is not a regular file: a symbolic link, a pipe, a
 * folder, a device. flags: of open(2). */
int audit_file_open(int folder, const char *folder_name, const char *name, int flags,
                    int *ret_descriptor, struct error *err);
/* The newest head, as head.json has it. NotFound: there is no such file. DataLoss: it is not what
 * was written there. */
struct audit_head;
int audit_files_head(int folder, const char *folder_name, struct audit_head *ret_head,
                     struct error *err);
