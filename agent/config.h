/* The configuration file: read, checked whole, and refused with file, line and what was expected.
 */
#pragma once

#include "agent/audit/audit.h"
#include "agent/issuer/entry.h"
#include "agent/node/settings.h"
#include "agent/pin.h"
#include "agent/policy/outside.h"
#include "agent/policy/rule.h"
#include "lib/base/log.h"

enum config_keystore_type { CONFIG_KEYSTORE_TPM, CONFIG_KEYSTORE_PKCS11 };

struct config_keystore {
    char *name;
    enum config_keystore_type type;
    char *module, *token;  /* pkcs11 */
    struct pin_source pin; /* "credential:NAME" is a file below $CREDENTIALS_DIRECTORY */
    bool is_isolated;
    unsigned workers;
};

struct config {
    char *path;
    char *trust_domain, *data_dir, *run_dir;
    enum log_level log_level;
    char *tcti; /* NULL: no tpm block */
    struct config_keystore *keystores;
    size_t keystore_count;
    struct {
        char *keystore; /* name of one of the above */
        enum key_type ca_key_type, jwt_key_type;
        uint32_t ca_ttl_s, x509_svid_ttl_s, jwt_svid_ttl_s;
    } issuer;
    struct entry **entries;
    size_t entry_count;
    struct rules rules;
    /* audit { } */
    struct {
        char *folder;                     /* key dir; default data_dir/audit */
        enum audit_on_failure on_failure; /* default deny */
        uint64_t file_max_bytes;          /* key file_size, default 64M */
        uint32_t file_max_age_s;          /* key file_age, default 24h; "0s": never */
        unsigned files_kept;              /* key files, default 90; 0: all */
        char *keystore;                   /* where heads are signed; default: the issuer's */
        uint32_t head_interval_s;         /* default 1m */
        bool is_journald;                 /* key journald, default false */
    } audit;
    /* policy { opa path timeout cache continue_for } */
    bool has_outside;
    struct outside_config outside; /* default timeout 250ms, cache 1s */
    bool has_node;                 /* node { }; baseline { } */
    struct node_settings node;
    char *metrics_listen;         /* metrics { listen }; NULL: off */
    uint32_t recheck_interval_s;  /* default 10s; how often processes are looked at again */
    uint32_t delivered_max_ttl_s; /* default 1h */
    unsigned key_pool_size;       /* default 4 */
    unsigned connections_per_uid; /* default 1024 */
    uint64_t sha256_limit_bytes;  /* default 0: none */
    struct text_list warnings;    /* "FILE:LINE: what": allowed, and yet hardly meant */
};

enum { CONFIG_MAX_BYTES = 8 << 20 };

/* Reads and checks the file. The error of the first thing wrong: "FILE:LINE: what". One
 * thread at a time: libconfuse keeps its place in the text in globals. */
int config_read(const char *path, struct config **ret_config, struct error *err);
/* As config_read for text that was read from a file of that name. */
int config_parse(struct bytes text, const char *name, struct config **ret_config,
                 struct error *err);
/* Logs the warnings, at the start and whenever the configuration takes effect anew. */
void config_log_warnings(const struct config *config);
void config_free(struct config *config);
DEFINE_CLEANUP(struct config, config_free, config_free);
