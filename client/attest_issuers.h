/* Whose certificates of attestation keys and identities `signet attest verify` believes: a trust
 * bundle, from a file or from this host's own agent. */
#pragma once

#include <openssl/x509.h>

#include "client/command.h"

enum { ATTEST_ISSUERS_MAX = 256 };

struct attest_issuers {
    STACK_OF(X509) * certificates; /* NULL: none */
    char *source;                  /* where they came from, or why there are none, for people */
    char *trust_domain;            /* whose they are; NULL: the bundle does not say */
};
/* Also for _cleanup_. */
void attest_issuers_clear(struct attest_issuers *issuers);

/* PEM, a SPIFFE bundle (SPIFFE Trust Domain and Bundle 4) or the JSON of `signet bundle show`.
 * InvalidArgument: it is none of these, or holds no certificate. */
int attest_issuers_parse(struct bytes text, struct attest_issuers *ret_issuers, struct error *err);
int attest_issuers_read(const char *path, struct attest_issuers *ret_issuers, struct error *err);
/* More of them, one after the other, as the Workload API sends them. */
int attest_issuers_add_der(struct attest_issuers *issuers, struct bytes der, struct error *err);
/* Asks the Workload API, then the admin API. Without either there are none, and source says why. */
void attest_issuers_ask(const struct arguments *arguments, struct attest_issuers *ret_issuers);
