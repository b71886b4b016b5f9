/* Public keys that signed heads, as files "KEY_ID.pem". Every thread. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/error.h"

/* Appends the SubjectPublicKeyInfo DER. NotFound: there is no such file. DataLoss: it holds no, or
 * another, key. */
int audit_keys_read(const char *folder, const char *key_id, struct buffer *ret_key,
                    struct error *err);
/* Writes the key's file where it is not there yet; the folder is made. */
int audit_keys_write(const char *folder, struct bytes public_key, struct error *err);
