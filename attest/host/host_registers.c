#include "attest/host/host_state.h"

/* How often reading begins anew because registers change meanwhile. */
enum { RESTARTS_MAX = 8 };

struct registers {
    const struct pcr_selection *selection;
    struct pcr_set *pcrs;
};

static uint32_t mask_of(const TPMS_PCR_SELECTION *selection)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < MIN(selection->sizeofSelect, sizeof(selection->pcrSelect)); i++) {
        mask |= (uint32_t)selection->pcrSelect[i] << (8 * i);
    }
    return mask;
}

/* Takes over what was read, in the order of banks and registers, and strikes it off. */
static TSS2_RC take_values(const TPML_PCR_SELECTION *read, const TPML_DIGEST *values,
                           struct pcr_selection *wanted, struct pcr_set *pcrs, bool *ret_has_more)
{
    size_t place = 0;
    *ret_has_more = false;
    for (size_t i = 0; i < MIN(read->count, wanted->count); i++) {
        uint32_t mask = mask_of(&read->pcrSelections[i]);
        if (read->pcrSelections[i].hash != wanted->banks[i].bank ||
            (mask & ~wanted->banks[i].mask) != 0) {
            return TPM_RC_BAD_ANSWER;
        }
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            if (!(mask >> index & 1)) {
                continue;
            }
            if (place >= MIN(values->count, ARRAY_SIZE(values->digests)) ||
                pcr_set_put(
                    pcrs, wanted->banks[i].bank, index,
                    (struct bytes){values->digests[place].buffer, values->digests[place].size},
                    NULL) < 0) {
                return TPM_RC_BAD_ANSWER;
            }
            place++;
        }
        wanted->banks[i].mask &= ~mask;
    }
    *ret_has_more = place > 0;
    return TSS2_RC_SUCCESS;
}

/* Until the TPM gives no more: what is left then is of banks that are not active. *ret_is_steady:
 * no register changed meanwhile. */
static TSS2_RC read_all(struct tpm_device *device, const struct registers *registers,
                        bool *ret_is_steady)
{
    struct pcr_selection wanted = *registers->selection;
    uint32_t first_counter = 0;
    uint32_t counter = 0;
    bool has_more = wanted.count > 0;
    TSS2_RC rc = TSS2_RC_SUCCESS;
    *registers->pcrs = (struct pcr_set){0};
    *ret_is_steady = true;
    for (bool is_first = true; rc == TSS2_RC_SUCCESS && has_more && *ret_is_steady;
         is_first = false) {
        TPML_PCR_SELECTION list;
        TPML_PCR_SELECTION read;
        TPML_DIGEST values;
        pcr_selection_tpm(&wanted, &list);
        rc = tpm_command_pcr_read(&device->transport, &list, &counter, &read, &values);
        if (rc == TSS2_RC_SUCCESS) {
            rc = take_values(&read, &values, &wanted, registers->pcrs, &has_more);
        }
        first_counter = is_first ? counter : first_counter;
        *ret_is_steady = counter == first_counter;
    }
    return rc;
}

static TSS2_RC read_operation(struct tpm_device *device, void *argument)
{
    bool is_steady = false;
    TSS2_RC rc = TSS2_RC_SUCCESS;
    for (unsigned i = 0; rc == TSS2_RC_SUCCESS && !is_steady && i < RESTARTS_MAX; i++) {
        rc = read_all(device, argument, &is_steady);
    }
    return rc == TSS2_RC_SUCCESS && !is_steady ? TPM2_RC_PCR_CHANGED : rc;
}

static int run_read(void *state, void *argument, struct error *err)
{
    return host_attempt(state, read_operation, argument, err);
}

int host_read_registers(struct keystore *keystore, const struct pcr_selection *selection,
                        struct pcr_set *ret_pcrs, struct error *err)
{
    struct registers registers = {selection, ret_pcrs};
    return host_run(keystore, run_read, &registers, err) < 0
               ? error_prepend(err, "reading the TPM's registers")
               : 0;
}
