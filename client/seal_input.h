/* What is to be sealed, as it comes in. */
#pragma once

#include "lib/base/secret.h"

/* From the file, by the rules of secret_read_file, or from standard input where path is "-". One
 * newline at the end is dropped. InvalidArgument: empty, or more than a TPM seals. */
int seal_input_secret(const char *path, struct secret *ret_secret, struct error *err);
