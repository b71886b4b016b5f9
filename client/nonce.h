/* What a verifier chose for one piece of evidence. */
#pragma once

#include "lib/base/bytes.h"

/* "0011223344556677": hexadecimal, or "base64:AAAA…" in either alphabet, with or without padding; 8
 * to 32 bytes, which are appended. InvalidArgument says how to make one. */
int nonce_parse(const char *text, struct buffer *ret_nonce, struct error *err);
/* Setter of an option: struct buffer. */
int nonce_set(void *field, const char *text, struct error *err);
