/* Whether an EK certificate is one, and leads to a certificate that is believed. Every thread. */
#pragma once

#include <openssl/x509.h>

#include "attest/ek_cache.h"
#include "lib/base/bytes.h"

/* Of intermediate certificates, in evidence and in a chain that is built. */
enum { EK_CHAIN_MAX = 8 };

/* The purpose of an EK certificate, no CA, and a chain to one of the anchors that holds at that
 * time. chain: certificates to build it from, DER each, EK_CHAIN_MAX at most; nothing is ever
 * fetched. ret_validity: as long as the same chain holds. PermissionDenied: it is not so;
 * InvalidArgument: chain cannot be read. */
int ek_chain_verify(X509_STORE *anchors, X509 *certificate, const struct bytes *chain,
                    size_t chain_count, int64_t now_s, struct ek_validity *ret_validity,
                    struct error *err);
