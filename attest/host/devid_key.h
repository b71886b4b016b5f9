/* The key of a DevID: below the storage primary of its own type, made from the template each time,
 * as SPIRE's tpm_devid plugin does it; with the scheme that it signs with fixed. One thread. */
#pragma once

#include "pkcs11/tpm/tpm_device.h"

/* At most what a TPMT_PUBLIC and a TPM2B_PRIVATE of these types have. */
enum { DEVID_BLOB_MAX_BYTES = 2048 };

struct devid_key {
    struct tpm_device *device; /* borrowed */
    enum key_type type;
    struct tpm_object parent;
    struct tpm_object object;
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
};

/* Makes one; P-256 or RSA-2048, InvalidArgument otherwise. */
int devid_key_new(struct tpm_device *device, enum key_type type, struct devid_key **ret_key,
                  struct error *err);
/* From the contents of the blobs, and loads it. DataLoss: they are damaged, or of another kind of
 * key; NotFound: this TPM did not make it. */
int devid_key_open(struct tpm_device *device, struct bytes public, struct bytes private,
                   struct devid_key **ret_key, struct error *err);
/* Flushes and frees. */
void devid_key_close(struct devid_key *key);
DEFINE_CLEANUP(struct devid_key, devid_key_close, devid_key_close);

/* A TPMT_PUBLIC, and what is in a TPM2B_PRIVATE: neither with a size before it. Appended. */
int devid_key_blobs(const struct devid_key *key, struct buffer *ret_public,
                    struct buffer *ret_private, struct error *err);
/* Over a SHA-256 digest, as X.509 has it; appended. */
int devid_key_sign(struct devid_key *key, const uint8_t digest[TPM_HASH_BYTES],
                   struct buffer *ret_signature, struct error *err);
