/* The storage primary: the parent of all keys, and whom sessions are salted to.
 *
 * The object persisted at 0x81000001 is used when it is of our template. Else the primary is made
 * from the template, P-256 or, on a TPM without it, RSA-2048; that gives the same key each time and
 * takes 1 to 300 ms (RSA: seconds) after each reset of the TPM. It is never persisted: that would
 * need the owner's password, write NV, and leave something behind.
 *
 * What comes back from TPM2_CreatePrimary cannot be authenticated, so its name is pinned in a file
 * the first time and must be the same ever after. */
#pragma once

#include "pkcs11/tpm/tpm_cache.h"

struct tpm_primary {
    struct tpm_object object;
    TPM2B_PUBLIC public;
    enum tpm_primary_kind kind;
    bool is_known; /* the object's name is fixed: another one is refused */
};

/* Makes the pinned name the known one; leaves it unknown when there is no such file yet. */
int tpm_primary_read_pin(struct tpm_primary *primary, const char *path, struct error *err);
int tpm_primary_write_pin(const struct tpm_primary *primary, const char *path, struct error *err);

/* Finds or makes the primary, which is known afterwards. One that was known before, as its name was
 * pinned, must come out the same: else TPM_RC_OTHER_PRIMARY. */
TSS2_RC tpm_primary_find(struct tpm_device *device);
/* After a reset or reconnection: whether a persistent primary is still the one that is known.
 * One that was removed is made from the template from now on. */
TSS2_RC tpm_primary_check(struct tpm_device *device);
