/* The endorsement key that a host shows: which one it is, with its certificates, and how it is
 * loaded and authorized. For the files of this folder. */
#pragma once

#include "attest/ek.h"
#include "attest/evidence.h"
#include "pkcs11/tpm/tpm_device.h"

struct host_ek {
    const struct ek_template *template;
    TPM2B_PUBLIC request; /* what TPM2_CreatePrimary makes it from */
    TPM2B_PUBLIC public;
    /* In a slot only while it is used, so that it can be freed by any thread. */
    struct tpm_object object;
    struct evidence_chain certificates; /* none: the manufacturer gave none */
};

/* Blocks. The certificates in NV decide, the better ones first; without one whose key this TPM has,
 * the EK of the low range. FailedPrecondition: the endorsement hierarchy has a password. */
int host_ek_find(struct keystore *keystore, struct host_ek **ret_ek, struct error *err);
/* One of the template, yet to be found. */
struct host_ek *host_ek_new(const struct ek_template *template);
void host_ek_free(struct host_ek *ek);
DEFINE_CLEANUP(struct host_ek, host_ek_free, host_ek_free);
/* Makes it from ek->request, so that it is known. *ret_is_refused: the TPM has no such keys. */
int host_ek_make(struct keystore *keystore, struct host_ek *ek, bool *ret_is_refused,
                 struct error *err);
/* It is the one that lies at the handle for good. */
int host_ek_take_persistent(struct host_ek *ek, TPM2_HANDLE handle, const TPM2B_PUBLIC *public,
                            struct error *err);
/* Copies it to the end; there must be room. */
void host_add_certificate(struct evidence_chain *chain, struct bytes der);
/* ek_public and ek_certificates of the evidence. */
void host_ek_tell(const struct host_ek *ek, struct evidence *ret_evidence);

/* A policy session, and which boot of the TPM it belongs to. */
struct host_policy {
    TPM2_HANDLE session; /* 0: none */
    uint32_t reset_count;
};
/* Before the EK is acquired: whether it is still at its persistent handle, else it is made. */
TSS2_RC host_ek_check(struct tpm_device *device, struct host_ek *ek);
/* What authorizes the EK, for struct tpm_operand: a policy session that the caller ends, or, where
 * the endorsement hierarchy has a password, an EK of the high range's own empty value. Of use once.
 */
TSS2_RC host_ek_authorize(struct tpm_device *device, const struct host_ek *ek,
                          struct host_policy *policy, TPM2_HANDLE *ret_authorization);
/* Flushes the session if there is one and the TPM was not reset since. */
void host_policy_end(struct tpm_device *device, struct host_policy *policy);
