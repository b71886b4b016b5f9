/* What a TPM that does not do what it did comes from. */
#include "agent/node/attestation.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_device.h"

static int copy_primary_name(void *state, void *argument, struct error *err)
{
    const struct tpm_device *device = state;
    struct bytes name = tpm_name_bytes(&device->primary.object.name);
    (void)err;
    buffer_append(argument, name.data, name.size);
    return 0;
}

int node_primary_name(struct keystore *keystore, struct buffer *ret_name, struct error *err)
{
    return keystore_run_driver(keystore, &keystore_driver_tpm, KEYSTORE_PRIORITY_USE,
                               copy_primary_name, ret_name, err);
}

/* Who the TPM is now. */
struct found {
    bool has_ek;
    struct evidence evidence;
    struct buffer primary;
};

static void found_clear(struct found *found)
{
    evidence_clear(&found->evidence);
    buffer_clear(&found->primary);
}

/* The keystore knows one storage primary and refuses a TPM with another. This one takes any, for a
 * question. */
static void look_past_the_keystore(const char *tcti, struct found *found)
{
    const struct tpm_config driver_config = {.tcti = tcti};
    const struct keystore_config config = {
        .name = "tpm-identity", .driver = &keystore_driver_tpm, .driver_config = &driver_config};
    struct keystore *keystore = NULL;
    if (tcti && keystore_new(&config, &keystore, NULL) == 0) {
        found->has_ek = attest_host_read_ek(keystore, &found->evidence, NULL) == 0 &&
                        node_primary_name(keystore, &found->primary, NULL) == 0;
        keystore_free(keystore);
    }
}

static void set_reason(struct attestation *attestation, enum claim claim, enum claim_result result,
                       enum verdict_reason reason, const char *text, const struct error *failure)
{
    attestation->verdict.required |= 1U << claim;
    verdict_set(&attestation->verdict, claim, result, reason, "%s: %.200s", text, failure->text);
}

static bool is_equal(const struct buffer *a, const struct buffer *b)
{
    return bytes_is_equal(buffer_bytes(a), buffer_bytes(b));
}

/* Whether the TPM is another one, or not what it was. */
static bool tell_of_change(struct attestation *attestation, const struct found *found,
                           const struct error *failure)
{
    const struct node_memory *memory = &attestation->memory;
    if (!found->has_ek || !memory->is_known) {
        return false;
    }
    if (!is_equal(&found->evidence.ek_public, &memory->ek_public)) {
        set_reason(attestation, CLAIM_EK_GENUINE, CLAIM_REFUTED, VERDICT_TPM_REPLACED,
                   "this is another TPM than before, with another EK; where that is meant, see "
                   "signetd(8), A NEW TPM",
                   failure);
        return true;
    }
    if (!is_equal(&found->primary, &memory->primary)) {
        set_reason(attestation, CLAIM_AK_IN_TPM, CLAIM_REFUTED, VERDICT_TPM_CLEARED,
                   "the TPM was cleared: it is the same one, and has lost every key; where that "
                   "is meant, see signetd(8), A NEW TPM",
                   failure);
        return true;
    }
    return false;
}

void attestation_diagnose(struct attestation *attestation, const struct error *failure)
{
    _cleanup_(found_clear) struct found found = {0};
    const struct node_tpm *tpm = attestation->tpm;
    bool is_key_lost = failure->code == ERROR_NOT_FOUND || failure->code == ERROR_DATA_LOSS;
    look_past_the_keystore(tpm->tcti, &found);
    if (tell_of_change(attestation, &found, failure)) {
        return;
    }
    if (is_key_lost) {
        set_reason(attestation, CLAIM_AK_IN_TPM, CLAIM_REFUTED, VERDICT_AK_LOST,
                   "the attestation key is lost, and the TPM is the same; where the host is "
                   "trusted, remove attestation-key from the data folder and a new one is made",
                   failure);
    } else if (failure->code == ERROR_PERMISSION_DENIED) {
        set_reason(attestation, CLAIM_AK_IN_TPM, CLAIM_REFUTED, VERDICT_ACTIVATION,
                   "the TPM does not show that it has the attestation key", failure);
    } else {
        set_reason(attestation, CLAIM_QUOTE, CLAIM_NOT_PROVEN, VERDICT_TPM_UNREACHABLE,
                   "the TPM cannot be asked", failure);
    }
}

void node_explain_refusal(const char *data_dir, const char *tcti, struct error *err)
{
    _cleanup_(free_cleanup) char *path = file_join(data_dir, "node.json");
    _cleanup_(found_clear) struct found found = {0};
    const struct error failure = *err;
    /* Structures of the TPM are large. */
    _cleanup_(free_cleanup) struct attestation *attestation = NEW(struct attestation);
    if (node_memory_read(path, &attestation->memory, NULL) == 0) {
        look_past_the_keystore(tcti, &found);
    }
    if (tell_of_change(attestation, &found, &failure)) {
        enum claim claim = CLAIM_EK_GENUINE;
        const struct finding *flaw = verdict_first_flaw(&attestation->verdict, &claim);
        (void)error_set(err, failure.code, "%s: %s", verdict_reason_name(flaw->reason), flaw->text);
    }
    attestation_clear(attestation);
}
