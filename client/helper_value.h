/* Reads one value of the helper's configuration. The errors say what was expected. */
#pragma once

#include "client/helper_config.h"

/* What a read function may know of its key. */
struct helper_key {
    const char *name;
    int (*read)(const struct helper_key *key, const char *value, void *field, struct error *err);
    size_t offset;
    unsigned blocks; /* where it may stand, bits as helper_config.c has them */
    bool is_list;
    mode_t mode_max; /* of a mode */
};

/* char *: something printable; an absolute path; the name of a file within a folder; a SPIFFE ID.
 */
int helper_read_text(const struct helper_key *key, const char *value, void *field,
                     struct error *err);
int helper_read_path(const struct helper_key *key, const char *value, void *field,
                     struct error *err);
/* The same, of a folder, spelled in one way: without slashes at its end, doubled ones and "/./". */
int helper_read_directory(const struct helper_key *key, const char *value, void *field,
                          struct error *err);
int helper_read_file_name(const struct helper_key *key, const char *value, void *field,
                          struct error *err);
int helper_read_spiffe_id(const struct helper_key *key, const char *value, void *field,
                          struct error *err);
/* struct text_list; the first word of a command is an absolute path. */
int helper_read_item(const struct helper_key *key, const char *value, void *field,
                     struct error *err);
int helper_read_command(const struct helper_key *key, const char *value, void *field,
                        struct error *err);
/* bool, mode_t, uid_t, gid_t, uint64_t in ms, int, enum log_level. */
int helper_read_boolean(const struct helper_key *key, const char *value, void *field,
                        struct error *err);
int helper_read_mode(const struct helper_key *key, const char *value, void *field,
                     struct error *err);
int helper_read_owner(const struct helper_key *key, const char *value, void *field,
                      struct error *err);
int helper_read_group(const struct helper_key *key, const char *value, void *field,
                      struct error *err);
int helper_read_duration(const struct helper_key *key, const char *value, void *field,
                         struct error *err);
int helper_read_signal(const struct helper_key *key, const char *value, void *field,
                       struct error *err);
int helper_read_log_level(const struct helper_key *key, const char *value, void *field,
                          struct error *err);
