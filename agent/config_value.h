/* Reads one value of the configuration. Every thread. */
#pragma once

#include "lib/base/text.h"

enum {
    CONFIG_KEY_REQUIRED = 1,
    CONFIG_KEY_LIST = 2, /* read is called for each item */
};

/* What a key takes. The table of keys gives the meaning of minimum and maximum. */
struct config_key {
    const char *name;
    /* Reads value into field, which is as the function below says; the error says what was
     * expected. */
    int (*read)(const struct config_key *key, const char *value, void *field, struct error *err);
    size_t offset;             /* of the field in what the block fills */
    uint64_t minimum, maximum; /* of a number or of seconds; of a list, how many items */
    unsigned flags;
};

/* char *: anything printable. */
int config_read_text(const struct config_key *key, const char *value, void *field,
                     struct error *err);
/* char *: an absolute path without "." and ".." and a slash at the end. */
int config_read_path(const struct config_key *key, const char *value, void *field,
                     struct error *err);
/* char *: 1 to 64 of a-z A-Z 0-9 . _ - */
int config_read_name(const struct config_key *key, const char *value, void *field,
                     struct error *err);
/* char *: a path, or the name of a module that p11-kit knows. */
int config_read_module(const struct config_key *key, const char *value, void *field,
                       struct error *err);
/* char *: the label of a token, or a pkcs11: URI without a PIN. */
int config_read_token(const struct config_key *key, const char *value, void *field,
                      struct error *err);
/* struct pin_source. The value is never repeated in an error. */
int config_read_pin(const struct config_key *key, const char *value, void *field,
                    struct error *err);
/* char *: a trust domain name. */
int config_read_trust_domain(const struct config_key *key, const char *value, void *field,
                             struct error *err);
/* unsigned. */
int config_read_number(const struct config_key *key, const char *value, void *field,
                       struct error *err);
/* uint64_t: a number of bytes, with K, M, G or nothing behind it. */
int config_read_size(const struct config_key *key, const char *value, void *field,
                     struct error *err);
/* uint32_t: seconds. */
int config_read_duration(const struct config_key *key, const char *value, void *field,
                         struct error *err);
/* bool. */
int config_read_boolean(const struct config_key *key, const char *value, void *field,
                        struct error *err);
/* enum log_level, enum key_type, enum key_protection, enum config_keystore_type. */
int config_read_log_level(const struct config_key *key, const char *value, void *field,
                          struct error *err);
int config_read_key_type(const struct config_key *key, const char *value, void *field,
                         struct error *err);
int config_read_protection(const struct config_key *key, const char *value, void *field,
                           struct error *err);
int config_read_keystore_type(const struct config_key *key, const char *value, void *field,
                              struct error *err);
/* struct text_list: of selectors that are known here; of anything printable. */
int config_read_selector(const struct config_key *key, const char *value, void *field,
                         struct error *err);
int config_read_item(const struct config_key *key, const char *value, void *field,
                     struct error *err);

/* uint64_t: a number. */
int config_read_large_number(const struct config_key *key, const char *value, void *field,
                             struct error *err);
/* uint32_t: milliseconds; minimum and maximum are, too. */
int config_read_milliseconds(const struct config_key *key, const char *value, void *field,
                             struct error *err);
/* enum audit_on_failure. */
int config_read_on_failure(const struct config_key *key, const char *value, void *field,
                           struct error *err);
/* struct text_list: of patterns of SPIFFE IDs; of patterns of audiences; of digests as in
 * "sha256:HEX", each kept as the selector that a process with it has. */
int config_read_pattern(const struct config_key *key, const char *value, void *field,
                        struct error *err);
int config_read_audience(const struct config_key *key, const char *value, void *field,
                         struct error *err);
int config_read_executable(const struct config_key *key, const char *value, void *field,
                           struct error *err);
/* Of the block node. struct pcr_selection; struct text_list of hashes of EKs, and of facts; char *:
 * of an event log and of IMA's list ("none", "kernel" or a path); enum reset_policy; enum
 * node_on_failure; enum key_type; uint32_t: an NV index, 0 for "none". */
int config_read_selection(const struct config_key *key, const char *value, void *field,
                          struct error *err);
int config_read_ek_hash(const struct config_key *key, const char *value, void *field,
                        struct error *err);
int config_read_fact(const struct config_key *key, const char *value, void *field,
                     struct error *err);
int config_read_event_log(const struct config_key *key, const char *value, void *field,
                          struct error *err);
int config_read_ima(const struct config_key *key, const char *value, void *field,
                    struct error *err);
int config_read_resets(const struct config_key *key, const char *value, void *field,
                       struct error *err);
int config_read_node_failure(const struct config_key *key, const char *value, void *field,
                             struct error *err);
int config_read_ak_type(const struct config_key *key, const char *value, void *field,
                        struct error *err);
int config_read_counter(const struct config_key *key, const char *value, void *field,
                        struct error *err);
/* struct pcr_set: one more register. */
int config_read_pcr(const struct config_key *key, const char *value, void *field,
                    struct error *err);
/* char *: metrics_listen_check. */
int config_read_listen(const struct config_key *key, const char *value, void *field,
                       struct error *err);
