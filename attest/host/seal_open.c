#include <inttypes.h>
#include <string.h>

#include "attest/host/counter.h"
#include "attest/host/seal.h"
#include "attest/host/seal_opening.h"
#include "attest/host/seal_pcrs.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_child.h"
#include "pkcs11/tpm/tpm_seal_command.h"

/* How often it is begun anew because registers change in between. */
enum { MOVES_MAX = 4 };

static TSS2_RC load(struct tpm_device *device, struct tpm_object *object, TPM2_HANDLE *ret_handle)
{
    const struct seal_opening *opening = container_of(object, struct seal_opening, object);
    return tpm_child_load(device, &device->primary.object, &opening->file->public,
                          &opening->file->private, ret_handle);
}

static void forget_primary(struct tpm_device *device)
{
    struct tpm_primary *primary = &device->primary;
    tpm_session_end(&device->session, true);
    tpm_cache_drop(&device->cache, &primary->object);
    primary->object.handle = 0;
    primary->object.name = (struct tpm_name){0};
    primary->object.is_persistent = false;
    primary->is_known = false;
}

/* The file names the primary that it was sealed under. There may be another one meanwhile, such as
 * one that was persisted since; the session must be salted to the one that is known. */
static TSS2_RC use_primary(struct tpm_device *device, struct seal_opening *opening)
{
    struct tpm_primary *primary = &device->primary;
    if (tpm_name_is_equal(&primary->object.name, &opening->file->parent)) {
        return TSS2_RC_SUCCESS;
    }
    forget_primary(device);
    primary->object.name = opening->file->parent;
    primary->is_known = true;
    TSS2_RC rc = tpm_primary_find(device);
    if (rc == TSS2_RC_SUCCESS) {
        return rc;
    }
    /* Not half known: the next try looks for it again. */
    forget_primary(device);
    if (rc != TPM_RC_OTHER_PRIMARY) {
        return rc;
    }
    opening->outcome = SEAL_OTHER_TPM;
    return tpm_primary_find(device);
}

static bool fits(const struct seal_opening *opening, const struct seal_state *state)
{
    const struct seal_file one = {
        .selection = opening->file->selection,
        .states = (struct seal_state *)state,
        .state_count = 1,
    };
    return seal_file_find(&one, &opening->now) != NULL;
}

static TSS2_RC open_operation(struct tpm_device *device, void *argument)
{
    struct seal_opening *opening = argument;
    opening->outcome = SEAL_OPENED;
    TSS2_RC rc = use_primary(device, opening);
    if (rc != TSS2_RC_SUCCESS || opening->outcome != SEAL_OPENED) {
        return rc;
    }
    opening->outcome = SEAL_OTHER_STATE;
    rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = seal_pcrs_read(device, &opening->file->selection, &opening->now);
    }
    for (size_t i = 0; rc == TSS2_RC_SUCCESS && i < opening->file->state_count; i++) {
        if (fits(opening, &opening->file->states[i])) {
            rc = seal_unseal_by(device, opening, &opening->file->states[i]);
        }
        if (opening->outcome == SEAL_OPENED) {
            break;
        }
    }
    return rc;
}

static int tell_counter(struct tpm_device *device, const struct seal_counter *counter,
                        struct error *err)
{
    uint64_t value = 0;
    struct error reason;
    if (counter_read(device, counter->index, &value, &reason) < 0) {
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "it goes by a counter that cannot be used: %s", reason.text);
    }
    return error_set(err, ERROR_PERMISSION_DENIED,
                     value > counter->value
                         ? "it is an old one: it was sealed at %" PRIu64 " of the counter 0x%08x, "
                           "which has gone on to %" PRIu64 "; use the file that was sealed last"
                         : "it is not in force yet: it was sealed for %" PRIu64 " of the counter "
                           "0x%08x, which is at %" PRIu64 "; run signet seal step",
                     counter->value, counter->index, value);
}

static int tell_state(const struct seal_opening *opening, struct error *err)
{
    _cleanup_(free_cleanup) char *names = seal_file_difference(opening->file, &opening->now);
    return error_set(err, ERROR_PERMISSION_DENIED,
                     "the host is not in a state that was agreed to: %s changed (%zu set%s of "
                     "values would do); %s",
                     names[0] ? names : "registers", opening->file->state_count,
                     opening->file->state_count == 1 ? "" : "s",
                     opening->file->authority
                         ? "if the change was meant, have the authority approve the new values"
                         : "if the change was meant, seal the secret anew");
}

static int tell(struct tpm_device *device, const struct seal_opening *opening, struct error *err)
{
    switch (opening->outcome) {
    case SEAL_OPENED:
        return 0;
    case SEAL_OTHER_TPM:
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "another TPM sealed it, or this one was cleared since; seal the secret "
                         "anew on this host");
    case SEAL_OTHER_STATE:
    case SEAL_MOVING:
        return tell_state(opening, err);
    case SEAL_BAD_APPROVAL:
        return error_set(err, ERROR_PERMISSION_DENIED,
                         "the approval for the registers as they are now is not the authority's");
    case SEAL_COUNTER_WENT_ON:
    case SEAL_NO_COUNTER:
        return tell_counter(device, &opening->file->counter, err);
    default:
        return error_set(err, ERROR_DATA_LOSS,
                         "its sealed object is damaged; restore the file from a backup, or seal "
                         "the secret anew");
    }
}

/* The public area must be one of ours and have the policy that the file tells; the TPM would find
 * out too, but could not say what is wrong. */
static int check_object(const struct seal_file *file, struct error *err)
{
    struct seal_digest policy;
    TPM2B_PUBLIC template;
    TRY(seal_policy_compute(file, &policy, err));
    seal_template(policy.data, &template);
    return tpm_public_matches(&file->public, &template)
               ? 0
               : error_set(err, ERROR_DATA_LOSS,
                           "the sealed object does not have the policy that the file tells of");
}

static int open_sealed(struct tpm_device *device, const struct seal_file *file,
                       struct secret *ret_secret, struct error *err)
{
    struct seal_opening opening = {.file = file, .object.load = load};
    TRY(check_object(file, err));
    TSS2_RC rc = tpm_public_name(&device->crypto, &file->public, &opening.object.name);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_error(err, rc, "computing the name of a sealed object");
    }
    TRY(secret_new(TPM_SEAL_DATA_BYTES, &opening.data, err));
    int result = 0;
    opening.outcome = SEAL_MOVING;
    for (unsigned i = 0; i < MOVES_MAX && result == 0 && opening.outcome == SEAL_MOVING; i++) {
        result = tpm_device_attempt(device, open_operation, &opening, err);
    }
    tpm_cache_drop(&device->cache, &opening.object);
    if (result == 0) {
        result = tell(device, &opening, err);
    }
    if (result == 0) {
        const TPM2B_SENSITIVE_DATA *data = (const TPM2B_SENSITIVE_DATA *)opening.data.data;
        result = secret_copy((struct bytes){data->buffer, data->size}, ret_secret, err);
    }
    secret_clear(&opening.data);
    return result;
}

int seal_open(struct tpm_device *device, struct bytes text, struct secret *ret_secret,
              struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    if (seal_file_decode(text, &file, err) < 0 || open_sealed(device, file, ret_secret, err) < 0) {
        return error_prepend(err, "opening a sealed file");
    }
    return 0;
}
