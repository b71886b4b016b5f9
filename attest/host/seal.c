#include "attest/host/seal.h"

#include <string.h>

#include "attest/host/counter.h"
#include "attest/host/seal_policy.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_nv_counter.h"
#include "pkcs11/tpm/tpm_seal_command.h"

/* Anybody may set these back, so what they hold says nothing about the host (PC Client Platform TPM
 * Profile 4.6). */
#define RESETTABLE_MASK ((UINT32_C(1) << 16) | (UINT32_C(1) << 23))

static int check_request(const struct seal_request *request, struct error *err)
{
    const struct pcr_selection *selection = &request->selection;
    if (request->secret.size < 1 || request->secret.size > SEAL_SECRET_MAX_BYTES) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "the secret has %zu bytes and a TPM seals 1 to %d; seal a key, and encrypt "
            "the rest by it",
            request->secret.size, SEAL_SECRET_MAX_BYTES);
    }
    if (selection->count == 0) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "no register is named to seal to; name some, such as sha256:0,7");
    }
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->banks[i].mask & RESETTABLE_MASK) {
            return error_set(err, ERROR_INVALID_ARGUMENT,
                             "registers 16 and 23 can be set back by anybody, so they protect "
                             "nothing; leave them out");
        }
    }
    return 0;
}

static int read_states(struct tpm_device *device, const struct seal_request *request,
                       struct seal_file *file, struct error *err)
{
    struct pcr_set now = {0};
    struct seal_state *state = NULL;
    if (!request->pcrs) {
        TRY(seal_read_pcrs(device, &request->selection, &now, err));
    }
    return seal_file_add(file, request->pcrs ? request->pcrs : &now, &state, err);
}

static int read_counter(struct tpm_device *device, const struct seal_request *request,
                        struct seal_file *file, struct error *err)
{
    TPMS_NV_PUBLIC public;
    bool is_new = false;
    struct seal_counter *counter = &file->counter;
    counter->index = request->counter_index;
    if (counter->index == 0) {
        return 0;
    }
    TRY(counter_open(device, counter->index, &counter->value, &is_new, err));
    counter->value += request->is_for_next_step ? 1 : 0;
    tpm_nv_counter_template(counter->index, &public);
    TSS2_RC rc = tpm_nv_counter_name(&device->crypto, &public, &counter->name);
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(err, rc, "computing the counter's name");
}

struct sealing {
    struct bytes secret;
    struct secret room;
    TPM2B_PUBLIC template;
    struct seal_file *file;
};

static TSS2_RC seal_operation(struct tpm_device *device, void *argument)
{
    struct sealing *sealing = argument;
    struct tpm_object *parent = &device->primary.object;
    TSS2_RC rc = tpm_device_session(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, parent);
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_create_sealed(&device->session, parent->handle, &parent->name,
                                       sealing->secret, &sealing->template, &sealing->room,
                                       &sealing->file->public, &sealing->file->private);
    }
    if (rc == TSS2_RC_SUCCESS && !tpm_public_matches(&sealing->file->public, &sealing->template)) {
        rc = TPM_RC_BAD_ANSWER;
    }
    sealing->file->parent = parent->name;
    return rc;
}

static int create(struct tpm_device *device, struct bytes secret, struct seal_file *file,
                  struct error *err)
{
    struct seal_digest policy;
    struct sealing sealing = {.secret = secret, .file = file};
    TRY(seal_policy_compute(file, &policy, err));
    seal_template(policy.data, &sealing.template);
    TRY(secret_new(TPM_SEAL_ROOM_BYTES, &sealing.room, err));
    int result = tpm_device_attempt(device, seal_operation, &sealing, err);
    secret_clear(&sealing.room);
    return result;
}

static int make(struct tpm_device *device, const struct seal_request *request,
                struct buffer *ret_file, struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NEW(struct seal_file);
    TRY(check_request(request, err));
    file->selection = request->selection;
    if (request->authority_pem.size > 0) {
        TRY(seal_authority_read(request->authority_pem, &file->authority, err));
    }
    TRY(read_states(device, request, file, err));
    TRY(read_counter(device, request, file, err));
    TRY(create(device, request->secret, file, err));
    return seal_file_encode(file, ret_file, err);
}

int seal_make(struct tpm_device *device, const struct seal_request *request,
              struct buffer *ret_file, struct error *err)
{
    return make(device, request, ret_file, err) < 0 ? error_prepend(err, "sealing a secret") : 0;
}

int seal_selection(struct bytes text, struct pcr_selection *ret_selection, struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    TRY(seal_file_decode(text, &file, err));
    *ret_selection = file->selection;
    return 0;
}

/* The file with room for one more state, of these values. */
static int open_for_approval(struct bytes text, const struct pcr_set *pcrs,
                             struct seal_file **ret_file, struct seal_state **ret_state,
                             struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    TRY(seal_file_decode(text, &file, err));
    if (!file->authority) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the file was sealed without an authority, so nobody can agree to other "
                         "values; seal the secret anew");
    }
    if (seal_file_find(file, pcrs)) {
        return error_set(err, ERROR_ALREADY_EXISTS, "these register values open the file already");
    }
    TRY(seal_file_add(file, pcrs, ret_state, err));
    *ret_file = take_ptr(file);
    return 0;
}

int seal_approval_request(struct bytes text, const struct pcr_set *pcrs, struct buffer *ret_to_sign,
                          struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    struct seal_state *state = NULL;
    TRY(open_for_approval(text, pcrs, &file, &state, err));
    return seal_policy_to_sign(file, state, ret_to_sign, err);
}

int seal_approve(struct bytes text, const struct pcr_set *pcrs, struct bytes signature,
                 struct buffer *ret_file, struct error *err)
{
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    struct seal_state *state = NULL;
    TRY(open_for_approval(text, pcrs, &file, &state, err));
    if (signature.size < 1 || signature.size > sizeof(state->signature)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "the signature has %zu bytes and one of P-256 in DER has 1 to %zu",
                         signature.size, sizeof(state->signature));
    }
    memcpy(state->signature, signature.data, signature.size);
    state->signature_size = signature.size;
    TRY(seal_policy_check_signature(file, state, err));
    return seal_file_encode(file, ret_file, err);
}
