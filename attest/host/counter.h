/* A counter in the TPM's NV that only goes up: what was written beside an older value is found out
 * when it is put back. Index with the owner's (empty) authorization; blocks, on a TPM worker or a
 * thread of a command. */
#pragma once

#include "lib/base/error.h"
#include "pkcs11/tpm/tpm_device.h"

/* In the range that the TCG gives to owners (0x01800000 to 0x01bfffff). */
enum {
    COUNTER_INDEX_DEFAULT = 0x01805347,
    COUNTER_INDEX_FIRST = 0x01800000,
    COUNTER_INDEX_LAST = 0x01bfffff
};

/* Reads it, having made it (and stepped it once) where it is not there: *ret_is_new.
 * PermissionDenied where the owner's password is set; FailedPrecondition where the index is used
 * for something else. */
int counter_open(struct tpm_device *device, uint32_t index, uint64_t *ret_value, bool *ret_is_new,
                 struct error *err);
/* As it is; NotFound: there is none. */
int counter_read(struct tpm_device *device, uint32_t index, uint64_t *ret_value, struct error *err);
/* One up; the new value. NotFound: there is none. */
int counter_step(struct tpm_device *device, uint32_t index, uint64_t *ret_value, struct error *err);
