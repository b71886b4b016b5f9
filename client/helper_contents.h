/* What goes into the helper's files. */
#pragma once

#include "client/helper_config.h"
#include "client/identity.h"

/* An identity and what came with it; borrowed from the response. */
struct helper_identity {
    struct identity identity;
    const ProtobufCMessage *response;
};

/* By enum helper_file; a file that does not apply, such as the key of an identity whose key stays
 * in hardware, is empty. */
struct helper_contents {
    struct buffer files[HELPER_FILES];
};
/* Zeroes and frees. Also for _cleanup_. */
void helper_contents_clear(struct helper_contents *contents);

/* The files of an identity that the output names. FailedPrecondition where it names no file for the
 * kind of key that this identity has. */
int helper_contents_x509(const struct helper_output *output, const struct helper_identity *identity,
                         struct helper_contents *ret_contents, struct error *err);

/* JWT bundles by the SPIFFE ID of their trust domain, each a JWK set (RFC 7517 5). response is a
 * Workload__JWTBundlesResponse. */
int helper_contents_jwt_bundle(const ProtobufCMessage *response, struct buffer *ret_json,
                               struct error *err);

/* A PKCS#11 URI as the PEM that pkcs11-provider reads in the place of a key: type "PKCS#11 PROVIDER
 * URI", SEQUENCE { VisibleString "PKCS#11 Provider URI v1.0", UTF8String uri }. */
void helper_contents_uri_pem(const char *uri, struct buffer *ret_pem);
