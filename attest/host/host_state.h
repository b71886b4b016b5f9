/* The inside of a host: for the files of this folder. What is said of each function of the driver
 * holds for those that take a device: they run on a worker. */
#pragma once

#include "attest/host/host.h"
#include "attest/host/host_ek.h"
#include "pkcs11/tpm/tpm_attest.h"
#include "pkcs11/tpm/tpm_key.h"

struct attest_host {
    struct keystore *keystore;
    char *event_log_path, *ima_path; /* NULL: none */
    bool has_warned_of_event_log, has_warned_of_ima;
    struct host_ek *ek;
    struct key *ak;
    struct buffer ak_public; /* TPMT_PUBLIC */
    struct tpm2_name ak_name;
};

/* Runs the function on a worker, in turn with the signatures of workloads. */
int host_run(struct keystore *keystore, int (*run)(void *state, void *argument, struct error *err),
             void *argument, struct error *err);

/* The TPM's half of a key. */
struct tpm_key *host_tpm_key(const struct key *key);
/* TPMT_PUBLIC of a key, appended. */
int host_key_public(const struct tpm_key *key, struct buffer *ret_public, struct error *err);
struct tpm_loaded host_loaded(const struct tpm_object *object);
/* After an error that may come of a handle that changed hands: what was saved is made anew. */
void host_doubt(TSS2_RC rc, struct tpm_object *object);

/* tpm_device_attempt of something that workloads do not wait for: ResourceExhausted where other
 * programs fill the TPM's slots. */
int host_attempt(struct tpm_device *device, tpm_operation *operation, void *argument,
                 struct error *err);
/* The same of what takes the AK: NotFound where the TPM no longer loads it. */
int host_attempt_with_ak(struct tpm_device *device, tpm_operation *operation, void *argument,
                         struct error *err);

/* TPM2_Certify of an object by the AK, for host_attempt_with_ak. */
struct host_certification {
    struct tpm_object *key, *ak;
    TPM2B_DATA nonce;
    struct tpm_attested certified; /* the result */
    bool is_key_lost;              /* the TPM no longer takes the key's blob */
};
TSS2_RC host_certify_operation(struct tpm_device *device, void *certification);

/* A nonce of EVIDENCE_NONCE_MIN_BYTES to _MAX_BYTES as the TPM takes it. */
int host_nonce(struct bytes nonce, TPM2B_DATA *ret_nonce, struct error *err);
/* What was signed, as evidence has it. */
int host_keep_attested(const struct tpm_attested *attested, struct evidence_signed *ret_signed,
                       struct error *err);

/* Reads registers; those of banks that are not active are left out. */
int host_read_registers(struct keystore *keystore, const struct pcr_selection *selection,
                        struct pcr_set *ret_pcrs, struct error *err);
