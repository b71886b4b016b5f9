/* What `signet helper` is told to keep up to date: by a file, or by options. */
#pragma once

#include <sys/types.h>

#include "lib/base/log.h"
#include "lib/base/text.h"

/* The files that can be asked for, in the order in which they are put in place: who waits for the
 * certificate finds what belongs to it. */
enum helper_file {
    HELPER_BUNDLE,
    HELPER_KEY_URI,
    HELPER_KEY_URI_PEM,
    HELPER_KEY,
    HELPER_CERTIFICATE,
    HELPER_JWT_BUNDLE,
    HELPER_TOKEN,
    HELPER_FILES,
};

/* A block of the configuration. */
struct helper_output {
    bool is_jwt;            /* a block jwt, else identity */
    char *name;             /* its title */
    char *spiffe_id, *hint; /* NULL: not asked for */
    char *directory;
    char *files[HELPER_FILES]; /* names within the directory; NULL: not wanted */
    struct text_list audience;
    bool has_intermediates_in_bundle, has_federated_bundles, may_omit_expired, may_remove_withdrawn;
    uid_t owner; /* -1: who runs the helper */
    gid_t group; /* -1: as it comes */
    mode_t mode, key_mode;
    int reload_signal; /* 0: none */
    char *pid_file;    /* NULL: the signal goes to COMMAND */
    struct text_list reload_command;
    uint64_t reload_timeout_ms;
};

struct helper_config {
    char *run_dir; /* NULL: not said */
    enum log_level log_level;
    struct helper_output *outputs;
    size_t output_count;
};

/* Whether the key and the tokens of the file are secret. */
bool helper_file_is_secret(enum helper_file file);

/* Reads the file. InvalidArgument says file, line and what was expected. */
int helper_config_read(const char *path, struct helper_config *ret_config, struct error *err);
/* The same from its text; name is for errors. */
int helper_config_parse(struct bytes text, const char *name, struct helper_config *ret_config,
                        struct error *err);

/* Without a file: keys and their values, and one block of each kind that a file was named for. key
 * may be spelled with dashes. */
struct helper_config_options;
struct helper_config_options *helper_config_options_new(void);
void helper_config_options_free(struct helper_config_options *options);
DEFINE_CLEANUP(struct helper_config_options, helper_config_options_free,
               helper_config_options_free);
int helper_config_options_add(struct helper_config_options *options, const char *key, size_t index,
                              const char *value, struct error *err);
int helper_config_options_finish(struct helper_config_options *options,
                                 struct helper_config *ret_config, struct error *err);

/* Frees what it holds. Also for _cleanup_. */
void helper_config_clear(struct helper_config *config);
