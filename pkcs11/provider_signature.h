/* A signature in progress, as OpenSSL's signature contexts are. For the files of the provider. */
#pragma once

#include "pkcs11/provider.h"

struct signature {
    bool is_rsa;
    struct key *key;  /* NULL: a public key, to verify with */
    EVP_PKEY *public; /* the same key, as the default provider has it */
    bool has_digest, has_mask_digest;
    enum sign_digest digest, mask_digest;
    int padding;      /* of RSA */
    int salt_bytes;   /* of PSS; RSA_PSS_SALTLEN_DIGEST is what keystores make */
    EVP_MD_CTX *hash; /* of what is being signed or verified */
};

/* Raises an OpenSSL error; returns 0. */
int signature_fail(int reason, const char *text);

/* Understands the name of a digest as OpenSSL gives it; 0 for one that is not signed here. */
int signature_parse_digest(const char *name, enum sign_digest *ret_digest);

enum sign_scheme signature_scheme(const struct signature *signature);

/* OSSL_FUNC_signature_{set,settable,get,gettable}_ctx_params. */
int signature_set(void *data, const OSSL_PARAM params[]);
const OSSL_PARAM *signature_settable(void *data, void *context);
int signature_get(void *data, OSSL_PARAM params[]);
const OSSL_PARAM *signature_gettable(void *data, void *context);

/* Carries the parameters over to a context of the default provider. */
int signature_set_other(const struct signature *signature, EVP_PKEY_CTX *context);
