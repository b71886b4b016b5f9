#include <openssl/ecdsa.h>
#include <string.h>

#include "attest/host/seal_opening.h"
#include "pkcs11/tpm/tpm_policy.h"
#include "pkcs11/tpm/tpm_seal_command.h"

DEFINE_CLEANUP(ECDSA_SIG, ecdsa_sig, ECDSA_SIG_free);

enum { COORDINATE_BYTES = 32 };

static TSS2_RC conclude(struct seal_opening *opening, enum seal_outcome outcome)
{
    opening->outcome = outcome;
    return TSS2_RC_SUCCESS;
}

static bool read_signature(const struct seal_state *state, TPMT_SIGNATURE *ret_signature)
{
    const unsigned char *der = state->signature;
    _cleanup_(ecdsa_sig_cleanup) ECDSA_SIG *numbers =
        d2i_ECDSA_SIG(NULL, &der, (long)state->signature_size);
    *ret_signature = (TPMT_SIGNATURE){.sigAlg = TPM2_ALG_ECDSA};
    TPMS_SIGNATURE_ECDSA *ecdsa = &ret_signature->signature.ecdsa;
    ecdsa->hash = TPM2_ALG_SHA256;
    ecdsa->signatureR.size = COORDINATE_BYTES;
    ecdsa->signatureS.size = COORDINATE_BYTES;
    return numbers &&
           BN_bn2binpad(ECDSA_SIG_get0_r(numbers), ecdsa->signatureR.buffer, COORDINATE_BYTES) >
               0 &&
           BN_bn2binpad(ECDSA_SIG_get0_s(numbers), ecdsa->signatureS.buffer, COORDINATE_BYTES) > 0;
}

/* What the authority agreed to, as the TPM believes it. */
struct approval {
    struct seal_digest approved;
    struct tpm_name key;
    TPMT_TK_VERIFIED ticket;
};

static TSS2_RC verify_approval(struct tpm_device *device, struct seal_opening *opening,
                               const struct seal_state *state, struct approval *ret_approval)
{
    TPM2B_PUBLIC public;
    TPMT_SIGNATURE signature;
    uint8_t digest[TPM_HASH_BYTES];
    _cleanup_(buffer_clear) struct buffer text = {0};
    if (seal_policy_check_signature(opening->file, state, NULL) < 0 ||
        seal_policy_pcrs(opening->file, state, &ret_approval->approved, NULL) < 0 ||
        seal_policy_to_sign(opening->file, state, &text, NULL) < 0 ||
        seal_authority_public(opening->file->authority, &public, &ret_approval->key, NULL) < 0 ||
        !read_signature(state, &signature)) {
        return conclude(opening, SEAL_BAD_APPROVAL);
    }
    const struct bytes part = buffer_bytes(&text);
    if (!tpm_crypto_hash(&device->crypto, &part, 1, digest)) {
        return TPM_RC_CRYPTO;
    }
    tpm_cache_make_room(&device->cache);
    return tpm_command_verify_external(&device->transport, &public, digest, &signature,
                                       &ret_approval->ticket);
}

static TSS2_RC assert_pcrs(struct tpm_device *device, struct seal_opening *opening,
                           const struct seal_state *state, TPM2_HANDLE policy)
{
    struct seal_digest digest;
    TPML_PCR_SELECTION list;
    pcr_selection_tpm(&opening->file->selection, &list);
    if (seal_policy_pcr_digest(opening->file, state, &digest, NULL) < 0) {
        return conclude(opening, SEAL_DAMAGED);
    }
    TSS2_RC rc = tpm_command_policy_pcr(&device->transport, policy, digest.data, &list);
    return tpm_rc_is(rc, TPM2_RC_VALUE) || tpm_rc_is(rc, TPM2_RC_PCR_CHANGED)
               ? conclude(opening, SEAL_MOVING)
               : rc;
}

/* One branch is the state's own; both end in the same. */
static TSS2_RC assert_authority(struct tpm_device *device, struct seal_opening *opening,
                                const struct approval *approval, TPM2_HANDLE policy)
{
    struct seal_digest branches[2];
    TPML_DIGEST list = {.count = ARRAY_SIZE(branches)};
    TSS2_RC rc = TSS2_RC_SUCCESS;
    if (seal_policy_pcrs(opening->file, &opening->file->states[0], &branches[0], NULL) < 0 ||
        seal_policy_authority(opening->file, &branches[1], NULL) < 0) {
        return conclude(opening, SEAL_DAMAGED);
    }
    for (size_t i = 0; i < ARRAY_SIZE(branches); i++) {
        list.digests[i].size = TPM_HASH_BYTES;
        memcpy(list.digests[i].buffer, branches[i].data, TPM_HASH_BYTES);
    }
    if (approval) {
        rc = tpm_command_policy_authorize(&device->transport, policy, approval->approved.data,
                                          bytes_of_text(SEAL_POLICY_REFERENCE), &approval->key,
                                          &approval->ticket);
    }
    return rc == TSS2_RC_SUCCESS ? tpm_command_policy_or(&device->transport, policy, &list) : rc;
}

static TSS2_RC assert_counter(struct tpm_device *device, struct seal_opening *opening,
                              TPM2_HANDLE policy)
{
    _cleanup_(buffer_clear) struct buffer value = {0};
    const struct seal_counter *counter = &opening->file->counter;
    buffer_append_u64(&value, counter->value);
    TSS2_RC rc = tpm_command_policy_nv_equals(&device->transport, policy, counter->index,
                                              buffer_bytes(&value));
    if (tpm_rc_is(rc, TPM2_RC_POLICY)) {
        return conclude(opening, SEAL_COUNTER_WENT_ON);
    }
    return rc != TSS2_RC_SUCCESS &&
                   (tpm_rc_is(rc, TPM2_RC_HANDLE) || tpm_rc_is(rc, TPM2_RC_NV_UNINITIALIZED) ||
                    tpm_rc_is(rc, TPM2_RC_NV_RANGE) || tpm_rc_is(rc, TPM2_RC_NV_AUTHORIZATION) ||
                    tpm_rc_is(rc, TPM2_RC_AUTH_UNAVAILABLE) || tpm_rc_is(rc, TPM2_RC_BAD_AUTH) ||
                    tpm_rc_is(rc, TPM2_RC_AUTH_FAIL))
               ? conclude(opening, SEAL_NO_COUNTER)
               : rc;
}

static TSS2_RC unseal(struct tpm_device *device, struct seal_opening *opening, TPM2_HANDLE policy)
{
    TSS2_RC rc = tpm_command_unseal(&device->session, opening->object.handle, &opening->object.name,
                                    policy, &opening->data);
    if (tpm_rc_is(rc, TPM2_RC_PCR_CHANGED)) {
        return conclude(opening, SEAL_MOVING);
    }
    /* The policy comes to what the file says, or it was not taken; so what differs is what the
     * index is. */
    return tpm_rc_is(rc, TPM2_RC_POLICY_FAIL)
               ? conclude(opening, opening->file->counter.index ? SEAL_NO_COUNTER : SEAL_DAMAGED)
               : rc;
}

static TSS2_RC satisfy(struct tpm_device *device, struct seal_opening *opening,
                       const struct seal_state *state, const struct approval *approval,
                       TPM2_HANDLE policy)
{
    TSS2_RC rc = assert_pcrs(device, opening, state, policy);
    if (rc == TSS2_RC_SUCCESS && opening->outcome == SEAL_OPENED && opening->file->authority) {
        rc = assert_authority(device, opening, approval, policy);
    }
    if (rc == TSS2_RC_SUCCESS && opening->outcome == SEAL_OPENED && opening->file->counter.index) {
        rc = assert_counter(device, opening, policy);
    }
    return rc;
}

TSS2_RC seal_unseal_by(struct tpm_device *device, struct seal_opening *opening,
                       const struct seal_state *state)
{
    struct approval approval = {0};
    TPM2_HANDLE policy = 0;
    bool is_approved = state != &opening->file->states[0];
    opening->outcome = SEAL_OPENED;
    TSS2_RC rc = is_approved ? verify_approval(device, opening, state, &approval) : TSS2_RC_SUCCESS;
    if (rc == TSS2_RC_SUCCESS && opening->outcome == SEAL_OPENED) {
        rc = tpm_cache_acquire(&device->cache, &opening->object);
        if (tpm_rc_is_integrity(rc) || tpm_rc_is_parameter(rc)) {
            return conclude(opening, SEAL_DAMAGED);
        }
    }
    if (rc != TSS2_RC_SUCCESS || opening->outcome != SEAL_OPENED) {
        return rc;
    }
    rc = tpm_command_policy_start(&device->transport, TPM2_ALG_SHA256, &policy);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    rc = satisfy(device, opening, state, is_approved ? &approval : NULL, policy);
    if (rc == TSS2_RC_SUCCESS && opening->outcome == SEAL_OPENED) {
        rc = unseal(device, opening, policy);
    }
    if (rc != TSS2_RC_SUCCESS || opening->outcome != SEAL_OPENED) {
        (void)tpm_command_flush(&device->transport, policy);
    }
    return rc;
}
