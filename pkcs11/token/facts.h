/* What is known of a certificate or key: the values behind attributes, read once and kept together
 * in one piece of memory. For the files of this folder; immutable once read, then every thread. */
#pragma once

#include <openssl/x509.h>

#include "pkcs11/keystore.h"

enum fact {
    FACT_NONE,
    FACT_LABEL,
    FACT_ID,
    FACT_SUBJECT, /* DER, like all that comes from a certificate */
    FACT_ISSUER,
    FACT_SERIAL_NUMBER, /* DER INTEGER */
    FACT_CERTIFICATE,
    FACT_START_DATE, /* CK_DATE */
    FACT_END_DATE,
    FACT_PUBLIC_KEY_INFO, /* DER SubjectPublicKeyInfo */
    FACT_KEY_TYPE,        /* CK_KEY_TYPE */
    FACT_EC_PARAMS,       /* DER OBJECT IDENTIFIER */
    FACT_EC_POINT,        /* DER OCTET STRING */
    FACT_MODULUS,
    FACT_MODULUS_BITS, /* CK_ULONG */
    FACT_PUBLIC_EXPONENT,
    FACT_COUNT,
};

/* All zero knows nothing. */
struct facts {
    struct buffer storage;
    struct {
        uint32_t offset, size; /* size 0: not known */
    } places[FACT_COUNT];
};

void facts_set(struct facts *facts, enum fact fact, const void *data, size_t size);
/* Borrowed until the next facts_set; empty when not known. */
struct bytes facts_get(const struct facts *facts, enum fact fact);
void facts_clear(struct facts *facts);

DEFINE_CLEANUP(X509, x509, X509_free);

/* Takes the first DER certificate off rest: the parsed one, to be freed with X509_free, and its
 * bytes, borrowed. Errors: InvalidArgument. */
int facts_next_certificate(struct bytes *rest, X509 **ret_certificate, struct bytes *ret_der,
                           struct error *err);
/* All facts of a certificate except label and ID. Errors: InvalidArgument. */
int facts_read_certificate(X509 *certificate, struct bytes der, struct facts *facts,
                           struct error *err);
/* All facts of a key except label. Errors: InvalidArgument. */
int facts_read_key(const struct key *key, struct facts *facts, struct error *err);
