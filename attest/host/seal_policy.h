/* The policy of a sealed object, computed without a TPM (TPM 2.0 Part 3 23): PCRs as they were when
 * it was sealed, or as the authority agreed to; then the counter.
 *
 *     PolicyPCR [ PolicyOR PolicyAuthorize(authority) ] [ PolicyNV(counter = value) ] */
#pragma once

#include "attest/host/seal_file.h"

struct seal_digest {
    uint8_t data[TPM_HASH_BYTES];
};

/* What the authority signs besides the policy of the PCRs: that it is about sealed files. */
#define SEAL_POLICY_REFERENCE "signet-seal-1"

/* PolicyPCR alone. */
int seal_policy_pcrs(const struct seal_file *file, const struct seal_state *state,
                     struct seal_digest *ret_policy, struct error *err);
/* PolicyAuthorize, whatever it agreed to. */
int seal_policy_authority(const struct seal_file *file, struct seal_digest *ret_policy,
                          struct error *err);
/* All of it: the object's authPolicy. */
int seal_policy_compute(const struct seal_file *file, struct seal_digest *ret_policy,
                        struct error *err);

/* Over the values of the state, as the TPM computes it. */
int seal_policy_pcr_digest(const struct seal_file *file, const struct seal_state *state,
                           struct seal_digest *ret_digest, struct error *err);
/* Reads the public key of an authority: PEM, P-256. The caller frees it. */
int seal_authority_read(struct bytes pem, EVP_PKEY **ret_key, struct error *err);
/* The public area under which the TPM loads the authority's key, and its name. */
int seal_authority_public(EVP_PKEY *authority, TPM2B_PUBLIC *ret_public, struct tpm_name *ret_name,
                          struct error *err);
/* What the authority signs for the state, appended: PolicyPCR and the reference. */
int seal_policy_to_sign(const struct seal_file *file, const struct seal_state *state,
                        struct buffer *ret_to_sign, struct error *err);
/* Whether the state's signature is the authority's for it, found without a TPM. */
int seal_policy_check_signature(const struct seal_file *file, const struct seal_state *state,
                                struct error *err);
/* The public area of an object under the policy, without what the TPM fills in. */
void seal_template(const uint8_t policy[TPM_HASH_BYTES], TPM2B_PUBLIC *ret_template);
