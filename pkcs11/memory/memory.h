/* The driver whose keys lie in the agent's guarded memory: for `guarded` keys, and for making
 * `delivered` ones. */
#pragma once

#include "pkcs11/driver.h"

extern const struct keystore_driver
    keystore_driver_memory; /* config: NULL. Lasting keys are refused. */

/* Makes a key that is going to be delivered, as PKCS#8 DER in guarded memory, and its
 * SubjectPublicKeyInfo. Any thread; RSA takes long: use a worker. No copy of private numbers stays
 * elsewhere. */
int delivered_key_generate(enum key_type type, struct secret *ret_pkcs8, struct buffer *ret_spki,
                           struct error *err);
