/* The embedded issuer: a CA of its own in this process, its keys in a keystore, entries and
 * inventory in SQLite. */
#pragma once

#include "agent/issuer/issuer.h"
#include "pkcs11/keystore.h"

struct embedded_config {
    const char *trust_domain;
    const char *data_dir;      /* checked by the caller; issuer.sqlite lies in it */
    struct keystore *keystore; /* of the CA's and the JWT keys; a memory keystore is refused */
    enum key_type ca_key_type, jwt_key_type;
    uint32_t ca_ttl_s, x509_svid_ttl_s, jwt_svid_ttl_s;
};

/* Opens the store and the CA (or makes them, which blocks for the time of two key generations). All
 * of config is copied but for the keystore, which must outlive the issuer. */
int issuer_embedded_new(uv_loop_t *loop, const struct embedded_config *config,
                        struct issuer **ret_issuer, struct error *err);
