#include "attest/host/host_ek.h"

#include <string.h>

#include "attest/host/host_state.h"
#include "lib/base/memory.h"

/* From the template. Of a known one the name must come out the same. */
static TSS2_RC make(struct tpm_device *device, struct tpm_object *object, TPM2_HANDLE *ret_handle)
{
    struct host_ek *ek = container_of(object, struct host_ek, object);
    TPM2B_PUBLIC public;
    struct tpm_name name;
    TSS2_RC rc = tpm_command_create_primary(&device->transport, TPM2_RH_ENDORSEMENT, &ek->request,
                                            ret_handle, &public);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_is_bad_auth(rc) ? TPM_RC_ENDORSEMENT_PASSWORD : rc;
    }
    rc = tpm_public_name(&device->crypto, &public, &name);
    if (rc == TSS2_RC_SUCCESS && ek_template_of(&public.publicArea) != ek->template) {
        rc = TPM_RC_BAD_ANSWER;
    }
    if (rc == TSS2_RC_SUCCESS && object->name.size > 0 &&
        !tpm_name_is_equal(&name, &object->name)) {
        rc = TPM_RC_OTHER_EK;
    }
    if (rc != TSS2_RC_SUCCESS) {
        (void)tpm_command_flush(&device->transport, *ret_handle);
        return rc;
    }
    object->name = name;
    device->ek_name = name;
    ek->public = public;
    return TSS2_RC_SUCCESS;
}

struct host_ek *host_ek_new(const struct ek_template *template)
{
    struct host_ek *ek = NEW(struct host_ek);
    ek->template = template;
    ek->request.publicArea = template->public;
    ek->object.load = make;
    return ek;
}

void host_ek_free(struct host_ek *ek)
{
    for (size_t i = 0; i < ek->certificates.count; i++) {
        buffer_clear(&ek->certificates.items[i]);
    }
    buffer_clear(&ek->object.context);
    free(ek);
}

struct making {
    struct host_ek *ek;
    bool is_refused;
};

static TSS2_RC make_operation(struct tpm_device *device, void *argument)
{
    struct making *making = argument;
    TSS2_RC rc = tpm_device_sync(device);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_cache_acquire(&device->cache, &making->ek->object);
    }
    tpm_cache_release(&device->cache, &making->ek->object);
    making->is_refused = tpm_rc_is_parameter(rc);
    return making->is_refused ? TSS2_RC_SUCCESS : rc;
}

static int run_make(void *state, void *argument, struct error *err)
{
    return host_attempt(state, make_operation, argument, err);
}

int host_ek_make(struct keystore *keystore, struct host_ek *ek, bool *ret_is_refused,
                 struct error *err)
{
    struct making making = {.ek = ek};
    if (host_run(keystore, run_make, &making, err) < 0) {
        return error_prepend(err, "making the endorsement key of template %s", ek->template->name);
    }
    *ret_is_refused = making.is_refused;
    return 0;
}

int host_ek_take_persistent(struct host_ek *ek, TPM2_HANDLE handle, const TPM2B_PUBLIC *public,
                            struct error *err)
{
    struct tpm2_name name;
    TRY(public_name(&public->publicArea, &name, err));
    ek->public = *public;
    ek->object.handle = handle;
    ek->object.is_persistent = true;
    ek->object.name = (struct tpm_name){.size = name.size};
    memcpy(ek->object.name.data, name.data, name.size);
    return 0;
}

void host_add_certificate(struct evidence_chain *chain, struct bytes der)
{
    struct buffer *item = &chain->items[chain->count++];
    *item = (struct buffer){0};
    buffer_append(item, der.data, der.size);
}

void host_ek_tell(const struct host_ek *ek, struct evidence *ret_evidence)
{
    struct evidence_chain *chain = &ret_evidence->ek_certificates;
    buffer_reset(&ret_evidence->ek_public);
    public_encode(&ek->public.publicArea, &ret_evidence->ek_public);
    for (size_t i = 0; i < chain->count; i++) {
        buffer_clear(&chain->items[i]);
    }
    chain->count = 0;
    for (size_t i = 0; i < ek->certificates.count; i++) {
        host_add_certificate(chain, buffer_bytes(&ek->certificates.items[i]));
    }
}

TSS2_RC host_ek_check(struct tpm_device *device, struct host_ek *ek)
{
    struct tpm_object *object = &ek->object;
    TPM2B_PUBLIC public;
    struct tpm_name name;
    if (!object->is_persistent) {
        return TSS2_RC_SUCCESS;
    }
    TSS2_RC rc = tpm_command_read_public(&device->transport, object->handle, &public, NULL);
    bool is_same = rc == TSS2_RC_SUCCESS &&
                   tpm_public_name(&device->crypto, &public, &name) == TSS2_RC_SUCCESS &&
                   tpm_name_is_equal(&name, &object->name);
    if (!is_same && (rc == TSS2_RC_SUCCESS || tpm_rc_is_handle(rc))) {
        object->is_persistent = false;
        object->handle = 0;
        return TSS2_RC_SUCCESS;
    }
    return rc;
}
