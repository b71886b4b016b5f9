/* ECDSA signatures. Every thread. */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"

/* Appends the DER (RFC 3279 2.2.3), which is what OpenSSL makes and verifies, of the two numbers as
 * plain big endian bytes. false: OpenSSL could not; its error queue says why. */
bool ecdsa_encode(struct bytes r, struct bytes s, struct buffer *ret_der);
/* The same of r || s, which have one length. */
bool ecdsa_encode_pair(struct bytes pair, struct buffer *ret_der);
