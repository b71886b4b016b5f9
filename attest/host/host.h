/* The host's half of attestation: evidence made with the TPM of a keystore. Every function blocks
 * while the keystore's worker is at it and must not run on the event loop; one thread at a time for
 * a host. Each TPM command takes its turn among the signatures of workloads, as one more of them:
 * they must not be able to put a verdict off, nor it them.
 *
 * The AK is a child of the storage primary, so its counters of resets are offset by a constant:
 * only differences mean something. Nothing is written to NV.
 *
 * Errors of all that asks the TPM, besides those named below: Unavailable: it does not answer;
 * ResourceExhausted: other programs fill its slots; NotFound: it no longer has the AK, as it was
 * cleared or replaced meanwhile; FailedPrecondition: something on this host has to be set right,
 * such as a password of the endorsement hierarchy. */
#pragma once

#include "attest/evidence.h"
#include "attest/public.h"
#include "lib/base/secret.h"
#include "pkcs11/keystore.h"

struct attest_host;

struct attest_host_config {
    struct keystore *keystore;  /* of the driver "tpm"; FailedPrecondition otherwise */
    enum key_type ak_type;      /* KEY_TYPE_EC_P256 (ECDSA) or KEY_TYPE_RSA_2048 (RSASSA) */
    const char *ak_path;        /* where the AK's wrapped blob is kept; made when it is not there */
    const char *event_log_path; /* NULL: none */
    const char *ima_path;       /* NULL: none */
};
#define ATTEST_HOST_EVENT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"
#define ATTEST_HOST_IMA "/sys/kernel/security/ima/binary_runtime_measurements"

/* Finds the EKs (certificates in NV first: P-256, P-384, RSA; then the bare P-256 or RSA EK) and
 * opens or makes the AK. DataLoss: the AK's file is damaged. NotFound: this TPM does not load the
 * AK of the file (it was cleared or replaced, or the file is another host's); nothing was changed,
 * and attest_host_new_ak makes another. FailedPrecondition: it is an AK of the other type. */
int attest_host_open(const struct attest_host_config *config, struct attest_host **ret_host,
                     struct error *err);
void attest_host_close(struct attest_host *host);
DEFINE_CLEANUP(struct attest_host, attest_host_close, attest_host_close);
/* Makes a new AK in place of the one in the file, before attest_host_open. */
int attest_host_new_ak(const struct attest_host_config *config, struct error *err);

/* The EK that this TPM has now, without an AK: ek_public and ek_certificates are set. To tell a
 * cleared TPM from a replaced one. */
int attest_host_read_ek(struct keystore *keystore, struct evidence *ret_evidence,
                        struct error *err);
/* ek_public, ek_certificates, ak_public of the evidence. */
int attest_host_identify(struct attest_host *host, struct evidence *ret_evidence,
                         struct error *err);
/* TPM2_ActivateCredential. PermissionDenied: the credential is not for this EK and AK. */
int attest_host_activate(struct attest_host *host, const struct challenge *challenge,
                         struct secret *ret_secret, struct error *err);
/* nonce, made_at_s, quote, pcrs, event_log and ima_list. PCRs that change between the quote and
 * their reading are read again, a few times; logs are read after the quote. A log that cannot be
 * read is left out, which the verifier sees; a warning says why, once. */
int attest_host_quote(struct attest_host *host, struct bytes nonce,
                      const struct pcr_selection *selection, struct evidence *ret_evidence,
                      struct error *err);
/* key_public and key: TPM2_Certify of a key of the same keystore. FailedPrecondition: another
 * keystore's, or a key that is lost. */
int attest_host_certify(struct attest_host *host, struct key *key, struct bytes nonce,
                        struct evidence *ret_evidence, struct error *err);
/* Registers as they are now, proven to this host alone. */
int attest_host_read_pcrs(struct attest_host *host, const struct pcr_selection *selection,
                          struct pcr_set *ret_pcrs, struct error *err);
