/* The OpenSSL provider "signet", which lives inside this process: it knows the keys of a keystore
 * as EC and RSA keys whose private half cannot be had, and signs with them. Loaded beside
 * "default", whose encoders, verification and everything else work on such keys too.
 *
 * A fetch that does not ask for "provider=signet" never finds it. For the files of this folder. */
#pragma once

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

#include "pkcs11/keystore.h"

#define PROVIDER_NAME "signet"
#define PROVIDER_QUERY "provider=signet"
#define PROVIDER_DEFAULT_QUERY "provider=default"
/* The pointer to a struct key, as an octet string; meant for this process alone. */
#define PROVIDER_PARAM_KEY "signet-key"

/* What OpenSSL holds of a key of ours. */
struct provider_key {
    const char *algorithm;
    struct key *key;  /* NULL: only a public key that was given to compare with */
    EVP_PKEY *public; /* the public key, as the default provider has it */
};

/* Loads the provider, once per process; any thread. */
int provider_load(struct error *err);

extern const OSSL_DISPATCH provider_keymgmt_ec[], provider_keymgmt_rsa[];
extern const OSSL_DISPATCH provider_signature_ecdsa[], provider_signature_rsa[];

/* The AlgorithmIdentifier (RFC 5280 4.1.1.2) of such a signature, DER, appended. */
int provider_algorithm_id(enum sign_scheme scheme, enum sign_digest digest, struct buffer *ret_der,
                          struct error *err);
