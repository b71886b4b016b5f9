#include <string.h>

#include "attest/host/host_ek.h"
#include "pkcs11/tpm/tpm_policy.h"

/* Where the maker of a platform may write down another policy for EKs of the high range (EK
 * Credential Profile 2.x B.6.5), as every TPM hashes it into the name: attributes, policy A. */
static const struct {
    TPM2_ALG_ID hash;
    TPM2_HANDLE index;
} policy_indices[] = {
    {TPM2_ALG_SHA256, 0x01c07f01},
    {TPM2_ALG_SHA384, 0x01c07f02},
    {TPM2_ALG_SHA512, 0x01c07f03},
};
enum { POLICY_INDEX_ATTRIBUTES = 0x220f1008 };

/* The digest of before, the command and what it says of it (Part 1 19.7.6). */
static int extend(const struct hash_algorithm *hash, const struct buffer *said,
                  uint8_t digest[HASH_MAX_BYTES])
{
    const struct bytes parts[] = {{digest, hash->size}, buffer_bytes(said)};
    return hash_compute(hash, parts, ARRAY_SIZE(parts), digest, NULL);
}

/* PolicySecret of the endorsement hierarchy, without a reference; which is hashed on its own. */
static int compute_a(const struct hash_algorithm *hash, uint8_t ret_digest[HASH_MAX_BYTES])
{
    _cleanup_(buffer_clear) struct buffer said = {0};
    const struct buffer nothing = {0};
    memset(ret_digest, 0, HASH_MAX_BYTES);
    buffer_append_u32(&said, TPM2_CC_PolicySecret);
    buffer_append_u32(&said, TPM2_RH_ENDORSEMENT);
    TRY(extend(hash, &said, ret_digest));
    return extend(hash, &nothing, ret_digest);
}

/* PolicyAuthorizeNV of the index of that hash, by its name. */
static int compute_c(const struct hash_algorithm *hash, const uint8_t a[HASH_MAX_BYTES],
                     uint8_t ret_digest[HASH_MAX_BYTES])
{
    _cleanup_(buffer_clear) struct buffer public = {0};
    _cleanup_(buffer_clear) struct buffer said = {0};
    uint8_t name[HASH_MAX_BYTES];
    TPM2_HANDLE index = 0;
    for (size_t i = 0; i < ARRAY_SIZE(policy_indices); i++) {
        index = policy_indices[i].hash == hash->id ? policy_indices[i].index : index;
    }
    buffer_append_u32(&public, index);
    buffer_append_u16(&public, hash->id);
    buffer_append_u32(&public, POLICY_INDEX_ATTRIBUTES);
    buffer_append_u16(&public, (uint16_t)hash->size);
    buffer_append(&public, a, hash->size);
    buffer_append_u16(&public, (uint16_t)(2 + hash->size));
    const struct bytes part = buffer_bytes(&public);
    TRY(hash_compute(hash, &part, 1, name, NULL));
    buffer_append_u32(&said, TPM2_CC_PolicyAuthorizeNV);
    buffer_append_u16(&said, hash->id);
    buffer_append(&said, name, hash->size);
    memset(ret_digest, 0, HASH_MAX_BYTES);
    return extend(hash, &said, ret_digest);
}

static void put_digest(const struct hash_algorithm *hash, const uint8_t *digest,
                       TPM2B_DIGEST *ret_digest)
{
    ret_digest->size = (uint16_t)hash->size;
    memcpy(ret_digest->buffer, digest, hash->size);
}

/* Policy B is A or C. */
static TSS2_RC choose_branch(struct tpm_device *device, TPM2_ALG_ID algorithm, TPM2_HANDLE session)
{
    const struct hash_algorithm *hash = hash_by_id(algorithm);
    uint8_t a[HASH_MAX_BYTES];
    uint8_t c[HASH_MAX_BYTES];
    TPML_DIGEST branches = {.count = 2};
    if (!hash || compute_a(hash, a) < 0 || compute_c(hash, a, c) < 0) {
        return TPM_RC_CRYPTO;
    }
    put_digest(hash, a, &branches.digests[0]);
    put_digest(hash, c, &branches.digests[1]);
    return tpm_command_policy_or(&device->transport, session, &branches);
}

void host_policy_end(struct tpm_device *device, struct host_policy *policy)
{
    if (policy->session != 0 && device->is_clock_known &&
        policy->reset_count == device->clock.resetCount) {
        (void)tpm_command_flush(&device->transport, policy->session);
    }
    policy->session = 0;
}

/* The policy also where an empty value would do: a use by value counts as an attempt to guess it
 * when the host goes down without warning, and three of these lock the EK. */
TSS2_RC host_ek_authorize(struct tpm_device *device, const struct host_ek *ek,
                          struct host_policy *policy, TPM2_HANDLE *ret_authorization)
{
    struct tpm_transport *transport = &device->transport;
    TPM2_ALG_ID hash = ek->public.publicArea.nameAlg;
    host_policy_end(device, policy);
    TSS2_RC rc = tpm_device_policy_session(device, hash, &policy->session);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    policy->reset_count = device->clock.resetCount;
    rc = tpm_command_policy_secret(transport, TPM2_RH_ENDORSEMENT, policy->session);
    if (tpm_rc_is_bad_auth(rc)) {
        host_policy_end(device, policy);
        *ret_authorization = TPM2_RS_PW;
        return ek->template->is_low_range ? TPM_RC_ENDORSEMENT_PASSWORD : TSS2_RC_SUCCESS;
    }
    if (rc == TSS2_RC_SUCCESS && !ek->template->is_low_range) {
        rc = choose_branch(device, hash, policy->session);
    }
    *ret_authorization = policy->session;
    return rc;
}
