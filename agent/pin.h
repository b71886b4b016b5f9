/* Where the PIN of a token comes from: pin = "file:PATH", "credential:NAME" or "tpm-sealed:PATH".
 */
#pragma once

#include "lib/base/secret.h"

enum pin_kind { PIN_FILE, PIN_TPM_SEALED };

/* Of the configuration. */
struct pin_source {
    enum pin_kind kind;
    char *path; /* of the file, or of what signet seal wrote; NULL: no login */
};

/* module_config's read_pin; user is the tcti. The sealed file is opened in the TPM with a device of
 * its own, anew each time, so that a host whose state has changed gets the PIN no more: neither
 * when the agent starts nor when the module's process does. */
int pin_read_sealed(const void *user, const char *path, size_t limit_bytes, struct secret *ret_pin,
                    struct error *err);
