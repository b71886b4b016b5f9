/* The configuration file: read, checked whole, and refused with file, line and what was expected.
 */
#pragma once

#include "agent/issuer/entry.h"
#include "agent/policy/rule.h"
#include "lib/base/log.h"

enum config_keystore_type { CONFIG_KEYSTORE_TPM, CONFIG_KEYSTORE_PKCS11 };

struct config_keystore {
    char *name;
    enum config_keystore_type type;
    char *module, *token; /* pkcs11 */
    char *pin_path; /* of pin = "file:PATH" (or "credential:NAME": below $CREDENTIALS_DIRECTORY);
                       NULL: no login */
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
    uint32_t delivered_max_ttl_s; /* default 1h */
    unsigned key_pool_size;       /* default 4 */
    unsigned connections_per_uid; /* default 1024 */
    uint64_t sha256_limit_bytes;  /* default 0: none */
};

enum { CONFIG_MAX_BYTES = 8 << 20 };

/* Reads and checks the file. The error of the first thing wrong: "FILE:LINE: what". One
 * thread at a time: libconfuse keeps its place in the text in globals. */
int config_read(const char *path, struct config **ret_config, struct error *err);
/* As config_read for text that was read from a file of that name. */
int config_parse(struct bytes text, const char *name, struct config **ret_config,
                 struct error *err);
void config_free(struct config *config);
DEFINE_CLEANUP(struct config, config_free, config_free);
