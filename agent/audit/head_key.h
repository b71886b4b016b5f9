/* The key that signs heads, and how the next run of the agent finds it again: a file with its id,
 * reference and keystore. */
#pragma once

#include "pkcs11/keystore.h"

struct audit_head_key {
    struct key *key;
    uint8_t id[16];
    bool is_lasting;
};

/* Opens the key that the file at path names, or makes one and writes the file. A keystore whose
 * keys end with the process gets one that does. ret_notice: why the key is a new one, for a record;
 * NULL where it is not; the caller frees it. Unavailable: the keystore does not answer now. Blocks.
 */
int audit_head_key_open(struct keystore *keystore, const char *path, struct audit_head_key *ret_key,
                        char **ret_notice, struct error *err);
/* Writes the file again where it has gone. */
int audit_head_key_keep(const struct audit_head_key *key, const char *path, struct error *err);
void audit_head_key_clear(struct audit_head_key *key);
