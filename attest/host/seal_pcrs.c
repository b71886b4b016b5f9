#include "attest/host/seal_pcrs.h"

#include "attest/host/seal.h"
#include "pkcs11/tpm/tpm_seal_command.h"

/* An answer holds eight values. */
enum { ROUNDS_MAX = PCR_BANKS_MAX * PCR_COUNT / 4, RESTARTS_MAX = 8 };

static bool is_empty(const struct pcr_selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].mask != 0) {
            return false;
        }
    }
    return true;
}

/* The values come in the order of the selection that they answer. Each is taken off what is wanted
 * still; false when the answer is not one to it. */
static bool take_values(struct pcr_selection *wanted, const TPML_PCR_SELECTION *read,
                        const TPML_DIGEST *values, struct pcr_set *pcrs)
{
    size_t used = 0;
    for (size_t i = 0; i < read->count && i < wanted->count; i++) {
        const TPMS_PCR_SELECTION *bank = &read->pcrSelections[i];
        for (unsigned index = 0; index < 8U * bank->sizeofSelect && index < PCR_COUNT; index++) {
            if (!(bank->pcrSelect[index / 8] >> index % 8 & 1)) {
                continue;
            }
            if (used == values->count || bank->hash != wanted->banks[i].bank ||
                !(wanted->banks[i].mask >> index & 1)) {
                return false;
            }
            const TPM2B_DIGEST *value = &values->digests[used++];
            if (pcr_set_put(pcrs, bank->hash, index, (struct bytes){value->buffer, value->size},
                            NULL) < 0) {
                return false;
            }
            wanted->banks[i].mask &= ~(UINT32_C(1) << index);
        }
    }
    return used == values->count;
}

TSS2_RC seal_pcrs_read(struct tpm_device *device, const struct pcr_selection *selection,
                       struct pcr_set *ret_pcrs)
{
    struct pcr_selection wanted = *selection;
    uint32_t first_counter = 0;
    unsigned restarts = 0;
    *ret_pcrs = (struct pcr_set){0};
    for (unsigned round = 0; round < ROUNDS_MAX && !is_empty(&wanted); round++) {
        TPML_PCR_SELECTION list;
        TPML_PCR_SELECTION read;
        TPML_DIGEST values;
        uint32_t counter = 0;
        pcr_selection_tpm(&wanted, &list);
        TSS2_RC rc =
            tpm_command_pcr_read_audited(&device->session, &list, &counter, &read, &values);
        if (rc != TSS2_RC_SUCCESS) {
            return rc;
        }
        if (round > 0 && counter != first_counter && restarts++ < RESTARTS_MAX) {
            wanted = *selection;
            *ret_pcrs = (struct pcr_set){0};
            round = 0;
        }
        first_counter = counter;
        if (!take_values(&wanted, &read, &values, ret_pcrs)) {
            return TPM_RC_BAD_ANSWER;
        }
        if (values.count == 0) {
            break;
        }
    }
    return TSS2_RC_SUCCESS;
}

struct reading {
    const struct pcr_selection *selection;
    struct pcr_set *pcrs;
};

static TSS2_RC read_operation(struct tpm_device *device, void *argument)
{
    const struct reading *reading = argument;
    TSS2_RC rc = tpm_device_session(device);
    return rc == TSS2_RC_SUCCESS ? seal_pcrs_read(device, reading->selection, reading->pcrs) : rc;
}

/* The first register that is not there; 0 when all are. */
static int check_complete(const struct pcr_selection *selection, const struct pcr_set *pcrs,
                          struct error *err)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct hash_algorithm *hash = hash_by_id(selection->banks[i].bank);
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if ((selection->banks[i].mask >> index & 1) && !pcr_set_value(pcrs, hash->id, index)) {
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "reading register %s:%u: the TPM does not have it; is the bank %s "
                                 "active (tpm2_getcap pcrs)?",
                                 hash->name, index, hash->name);
            }
        }
    }
    return 0;
}

int seal_read_pcrs(struct tpm_device *device, const struct pcr_selection *selection,
                   struct pcr_set *ret_pcrs, struct error *err)
{
    struct reading reading = {.selection = selection, .pcrs = ret_pcrs};
    if (tpm_device_attempt(device, read_operation, &reading, err) < 0) {
        return error_prepend(err, "reading registers of the TPM");
    }
    return check_complete(selection, ret_pcrs, err);
}
