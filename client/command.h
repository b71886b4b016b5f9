/* A subcommand of `signet`, and what the command line said. */
#pragma once

#include "lib/base/text.h"
#include "pkcs11/keystore.h"

enum output_format { OUTPUT_TEXT, OUTPUT_JSON };
enum { HELPER_BLOCK_OPTIONS_MAX = 32 };
enum audit_format { AUDIT_FORMAT_ECS, AUDIT_FORMAT_OCSF };
enum bundle_format { BUNDLE_SUMMARY, BUNDLE_PEM, BUNDLE_JWKS, BUNDLE_SPIFFE };

/* The values of all options of all commands; a command reads those that it lists. Not given: NULL,
 * 0 or empty. */
struct arguments {
    char *run_dir;
    enum output_format output;
    uint64_t timeout_ms;
    char *folder;
    struct text_list audience;
    char *spiffe_id;
    char *token;
    char *id;
    struct text_list selectors;
    struct text_list dns_names;
    char *hint;
    uint64_t x509_svid_ttl_ms, jwt_svid_ttl_ms;
    enum bundle_format bundle_format;
    uint64_t pid;
    char *executable, *reason;
    char *operand;                              /* the word after the command */
    char *keys, *head, *serial, *since, *until; /* of `signet audit` */
    enum audit_format audit_format;
    uint64_t lock_ms, unused_ms;
    bool is_node;
    struct buffer nonce; /* from here on of `signet attest` and `signet svid evidence` */
    char *key_id, *challenge, *out, *secret;
    char *ek_cas, *bundle, *policy, *at;
    struct text_list ek_hashes;
    char *name, *pcrs, *event_log;
    struct text_list pcr_values;
    uint64_t ttl_ms;
    char *tcti, *authority, *to_sign, *signature, *subject; /* of `signet seal`, `attest devid` */
    char *second_operand;
    enum key_type key_type;
    bool has_counter, is_for_next_step;
    uint32_t counter_index;
    char *config;
    bool is_once, is_check;
    bool is_now, has_pcrs;                            /* of `signet attest` too */
    uint32_t open_mask;                               /* bit n: register n */
    struct text_list block[HELPER_BLOCK_OPTIONS_MAX]; /* of `signet helper`, by its option table */
    char **words;                                     /* after "--", NULL ends; borrowed */
};

struct command_option {
    const char *name;     /* without the dashes */
    const char *argument; /* such as "DIR"; NULL: it has none, and set gets "true" */
    const char *help;     /* one line */
    /* Reads text into the field; may be called again for a list. */
    int (*set)(void *field, const char *text, struct error *err);
    size_t offset; /* of the field in struct arguments */
    bool is_required;
};

struct command {
    const char *name;           /* "svid fetch x509" */
    const char *operand;        /* such as "PATH": one word may follow; NULL: none */
    const char *second_operand; /* another one; NULL: none */
    const char *summary;
    const char *about; /* more, in --help */
    const char *example;
    const struct command_option *options; /* its own, besides those of all commands */
    size_t option_count;
    char first_letter; /* -c for the first of them; 0: none */
    bool takes_words;  /* a command of the host after "--" */
    int (*run)(const struct arguments *arguments, struct error *err);
};

/* Every command, in the order of the help; NULL ends (subcommands.c). */
extern const struct command *const commands[];

/* Setters for options. Memory goes with arguments_clear. */
int option_set_text(void *field, const char *text, struct error *err);
int option_set_list(void *field, const char *text, struct error *err);
/* As option_set_list, and commas separate items. */
int option_set_comma_list(void *field, const char *text, struct error *err);
int option_set_duration(void *field, const char *text, struct error *err);
/* As option_set_duration, and whole seconds: 1 to UINT32_MAX. */
int option_set_seconds(void *field, const char *text, struct error *err);
/* uint64_t: a pid. */
int option_set_pid(void *field, const char *text, struct error *err);
/* bool. */
int option_set_flag(void *field, const char *text, struct error *err);

/* Reads argv (argv[0] is not looked at) by the command's options and those of all commands.
 * Returns 1 when --help was asked for, which has been printed. Without a command (NULL) it stops at
 * the first word, whose index is left in optind. InvalidArgument names what is known. */
int command_parse(const struct command *command, int argc, char **argv, struct arguments *arguments,
                  struct error *err);
/* The help of all. */
void command_print_overview(void);
/* The command that the words at the start of argv name, NULL for none; *ret_words of them. */
const struct command *command_find(int argc, char **argv, int *ret_words);
void arguments_clear(struct arguments *arguments);
