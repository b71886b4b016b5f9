/* A key: a child of the storage primary. What outlives everything is its wrapped blob, which only
 * this TPM can open; in memory for an ephemeral key, in the caller's store for a lasting one.
 *
 * A key has no authorization value: there is no place for one that is safer than the blob itself.
 * Using a key takes this TPM and the blob. Nobody without both gains from the missing value, and
 * with it nobody who has both would be stopped. */
#pragma once

#include "pkcs11/tpm/tpm_device.h"

struct tpm_key {
    struct driver_key base;
    struct tpm_object object;
    struct buffer reference; /* version, TPM2B_PUBLIC, TPM2B_PRIVATE */
};

/* What a reference of at most this size holds; larger ones are refused unread. */
enum { TPM_REFERENCE_LIMIT_BYTES = 2048 };

/* id NULL: ephemeral. The key is not loaded before it is used. */
int tpm_key_generate(struct tpm_device *device, enum key_type type, const uint8_t *id,
                     struct tpm_key **ret_key, struct error *err);
/* Opens and loads a key by its reference. DataLoss: the reference is damaged; InvalidArgument: it
 * is of another type or not of our template; NotFound: this TPM did not make it. */
int tpm_key_open(struct tpm_device *device, enum key_type type, const uint8_t id[16],
                 struct bytes reference, struct tpm_key **ret_key, struct error *err);
/* The same for an attestation key (tpm_public_ak_template): P-256 or RSA-2048. DataLoss: the
 * reference is damaged or not one of an attestation key; FailedPrecondition: of one of another
 * type.
 */
int tpm_ak_generate(struct tpm_device *device, enum key_type type, struct tpm_key **ret_key,
                    struct error *err);
int tpm_ak_open(struct tpm_device *device, enum key_type type, struct bytes reference,
                struct tpm_key **ret_key, struct error *err);
int tpm_key_sign(struct tpm_device *device, struct tpm_key *key, const struct sign_request *request,
                 uint8_t ret_signature[SIGNATURE_MAX_BYTES], size_t *ret_size, struct error *err);
/* Frees. */
void tpm_key_close(struct tpm_device *device, struct tpm_key *key);

/* Takes a reference apart, for tests and fuzzing too: every byte must be accounted for. */
int tpm_key_parse_reference(struct bytes reference, TPM2B_PUBLIC *ret_public,
                            TPM2B_PRIVATE *ret_private, struct error *err);
