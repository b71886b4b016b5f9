#include "attest/host/counter.h"

#include <inttypes.h>

#include "pkcs11/tpm/tpm_nv.h"
#include "pkcs11/tpm/tpm_nv_counter.h"

/* What was found out, where trying again would change nothing. */
enum finding { FOUND, MISSING, FOREIGN, OWNED };

struct counting {
    uint32_t index;
    bool may_make;
    bool must_step;
    enum finding finding;
    bool is_new;
    bool has_target; /* of must_step: an answer that was lost does not make it step twice */
    uint64_t target;
    uint64_t value;
};

static bool is_auth_refused(TSS2_RC rc)
{
    return tpm_rc_is(rc, TPM2_RC_BAD_AUTH) || tpm_rc_is(rc, TPM2_RC_AUTH_FAIL);
}

/* Ends the operation with a finding where the owner's password is what is missing. */
static TSS2_RC note_owner(struct counting *counting, TSS2_RC rc)
{
    if (!is_auth_refused(rc)) {
        return rc;
    }
    counting->finding = OWNED;
    return TSS2_RC_SUCCESS;
}

/* The index itself, made where that is wanted. */
static TSS2_RC find(struct tpm_device *device, struct counting *counting, bool *ret_is_written)
{
    TPMS_NV_PUBLIC wanted;
    TPMS_NV_PUBLIC public;
    *ret_is_written = false;
    counting->finding = FOUND;
    tpm_nv_counter_template(counting->index, &wanted);
    TSS2_RC rc = tpm_command_nv_read_public(&device->transport, counting->index, &public);
    if (rc != TSS2_RC_SUCCESS && tpm_rc_is_handle(rc)) {
        if (!counting->may_make) {
            counting->finding = MISSING;
            return TSS2_RC_SUCCESS;
        }
        counting->is_new = true;
        return note_owner(counting, tpm_command_nv_counter_define(&device->session, &wanted));
    }
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    *ret_is_written = public.attributes & TPMA_NV_WRITTEN;
    public.attributes |= TPMA_NV_WRITTEN;
    if (public.nvIndex != wanted.nvIndex || public.nameAlg != wanted.nameAlg ||
        public.attributes != wanted.attributes || public.authPolicy.size != 0 ||
        public.dataSize != wanted.dataSize) {
        counting->finding = FOREIGN;
    } else if (!*ret_is_written && !counting->may_make) {
        counting->finding = MISSING;
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC step(struct tpm_device *device, struct counting *counting, bool is_written)
{
    TPMS_NV_PUBLIC public;
    struct tpm_name name;
    tpm_nv_counter_template(counting->index, &public);
    if (!is_written) {
        public.attributes &= ~(TPMA_NV)TPMA_NV_WRITTEN;
    }
    TSS2_RC rc = tpm_nv_counter_name(&device->crypto, &public, &name);
    return rc == TSS2_RC_SUCCESS
               ? note_owner(counting,
                            tpm_command_nv_counter_step(&device->session, counting->index, &name))
               : rc;
}

static TSS2_RC read_value(struct tpm_device *device, struct counting *counting)
{
    TPMS_NV_PUBLIC public;
    struct tpm_name name;
    tpm_nv_counter_template(counting->index, &public);
    TSS2_RC rc = tpm_nv_counter_name(&device->crypto, &public, &name);
    return rc == TSS2_RC_SUCCESS ? tpm_command_nv_counter_read(&device->session, counting->index,
                                                               &name, &counting->value)
                                 : rc;
}

/* An index that was never stepped has no value yet. */
static TSS2_RC count_operation(struct tpm_device *device, void *argument)
{
    struct counting *counting = argument;
    bool is_written = false;
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = find(device, counting, &is_written);
    }
    if (rc == TSS2_RC_SUCCESS && counting->finding == FOUND && !is_written) {
        counting->is_new = true;
        rc = step(device, counting, false);
    }
    if (rc == TSS2_RC_SUCCESS && counting->finding == FOUND) {
        rc = read_value(device, counting);
    }
    if (rc != TSS2_RC_SUCCESS || counting->finding != FOUND || !counting->must_step) {
        return rc;
    }
    if (!counting->has_target) {
        counting->has_target = true;
        counting->target = counting->value + 1;
    }
    if (counting->value < counting->target) {
        rc = step(device, counting, true);
    }
    return rc == TSS2_RC_SUCCESS && counting->finding == FOUND ? read_value(device, counting) : rc;
}

static int tell(const struct counting *counting, struct error *err)
{
    switch (counting->finding) {
    case MISSING:
        return error_set(err, ERROR_NOT_FOUND,
                         "there is none; the TPM was cleared or replaced, or somebody removed it");
    case FOREIGN:
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the index is used for something else; choose another one from 0x%08x to "
                         "0x%08x",
                         COUNTER_INDEX_FIRST, COUNTER_INDEX_LAST);
    case OWNED:
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the TPM's owner has set a password; take it away for the moment "
                         "(tpm2_changeauth -c owner -p PASSWORD), or do without a counter");
    default:
        return 0;
    }
}

static int count(struct tpm_device *device, struct counting *counting, struct error *err)
{
    const char *act = counting->must_step ? "stepping" : "reading";
    if (counting->index < COUNTER_INDEX_FIRST || counting->index > COUNTER_INDEX_LAST) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "0x%08x is no index for a counter: owners have 0x%08x to 0x%08x",
                         counting->index, COUNTER_INDEX_FIRST, COUNTER_INDEX_LAST);
    }
    if (tpm_device_attempt(device, count_operation, counting, err) < 0 || tell(counting, err) < 0) {
        return error_prepend(err, "%s the counter 0x%08x of the TPM", act, counting->index);
    }
    return 0;
}

int counter_open(struct tpm_device *device, uint32_t index, uint64_t *ret_value, bool *ret_is_new,
                 struct error *err)
{
    struct counting counting = {.index = index, .may_make = true};
    TRY(count(device, &counting, err));
    *ret_value = counting.value;
    *ret_is_new = counting.is_new;
    return 0;
}

int counter_step(struct tpm_device *device, uint32_t index, uint64_t *ret_value, struct error *err)
{
    struct counting counting = {.index = index, .must_step = true};
    TRY(count(device, &counting, err));
    *ret_value = counting.value;
    return 0;
}

int counter_read(struct tpm_device *device, uint32_t index, uint64_t *ret_value, struct error *err)
{
    struct counting counting = {.index = index};
    TRY(count(device, &counting, err));
    *ret_value = counting.value;
    return 0;
}
