#include "pkcs11/tpm/tpm_reclaim.h"

#include <string.h>

#include "lib/base/log.h"

enum { SESSION_WAIT_MS = 200 };

/* A child's qualified name is a hash over its parent's and its own name (TPM 2.0 Part 1 16), so it
 * proves whose child it is. */
static bool qualify(const struct tpm_crypto *crypto, struct bytes parent,
                    const struct tpm_name *name, struct tpm_name *ret_qualified)
{
    const struct bytes parts[] = {parent, tpm_name_bytes(name)};
    memcpy(ret_qualified->data, name->data, 2);
    ret_qualified->size = TPM_NAME_BYTES;
    return tpm_crypto_hash(crypto, parts, ARRAY_SIZE(parts), ret_qualified->data + 2);
}

static bool is_child_of_primary(const struct tpm_device *device, const struct tpm_name *name,
                                const TPM2B_NAME *qualified)
{
    static const uint8_t owner[] = {TPM2_RH_OWNER >> 24, 0, 0, TPM2_RH_OWNER & 0xff};
    struct tpm_name primary;
    struct tpm_name expected;
    return qualify(&device->crypto, (struct bytes){owner, sizeof(owner)},
                   &device->primary.object.name, &primary) &&
           qualify(&device->crypto, tpm_name_bytes(&primary), name, &expected) &&
           bytes_is_equal((struct bytes){qualified->name, qualified->size},
                          tpm_name_bytes(&expected));
}

static bool is_of_template(const TPM2B_PUBLIC *public)
{
    TPM2B_PUBLIC key;
    TPM2B_PUBLIC ak;
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        tpm_public_key_template(type, &key);
        tpm_public_ak_template(type, &ak);
        if (tpm_public_matches(public, &key) || tpm_public_matches(public, &ak)) {
            return true;
        }
    }
    return false;
}

static bool is_left_behind(const struct tpm_device *device, TPM2_HANDLE handle)
{
    TPM2B_PUBLIC public;
    TPM2B_NAME qualified;
    struct tpm_name name;
    struct tpm_transport *transport = device->cache.transport;
    if (tpm_command_read_public(transport, handle, &public, &qualified) != TSS2_RC_SUCCESS ||
        tpm_public_name(&device->crypto, &public, &name) != TSS2_RC_SUCCESS) {
        return false;
    }
    if (is_of_template(&public)) {
        return is_child_of_primary(device, &name, &qualified);
    }
    return tpm_name_is_equal(&name, &device->primary.object.name) ||
           tpm_name_is_equal(&name, &device->ek_name);
}

void tpm_reclaim_objects(struct tpm_device *device)
{
    TPML_HANDLE handles = {0};
    if (!device->primary.is_known || tpm_command_handles(&device->transport, TPM_HANDLES_TRANSIENT,
                                                         &handles) != TSS2_RC_SUCCESS) {
        return;
    }
    for (size_t i = 0; i < MIN(handles.count, ARRAY_SIZE(handles.handle)); i++) {
        TPM2_HANDLE handle = handles.handle[i];
        if (is_left_behind(device, handle) &&
            tpm_command_flush(&device->transport, handle) == TSS2_RC_SUCCESS) {
            log_warning("keystore %s: flushed the object 0x%x, left in the TPM by an earlier run",
                        device->name, handle);
        }
    }
}

static bool has_handle(const TPML_HANDLE *handles, TPM2_HANDLE handle)
{
    for (size_t i = 0; i < MIN(handles->count, ARRAY_SIZE(handles->handle)); i++) {
        if (handles->handle[i] == handle) {
            return true;
        }
    }
    return false;
}

/* Those that nobody freed while we waited, without those to be spared. Policy sessions of other
 * programs may well be idle for as long. */
static void flush_idle_sessions(struct tpm_device *device, const TPML_HANDLE *spared,
                                bool with_policies, const char *reason)
{
    TPML_HANDLE before = {0};
    TPML_HANDLE after = {0};
    if (tpm_command_handles(&device->transport, TPM_HANDLES_LOADED_SESSION, &before) !=
        TSS2_RC_SUCCESS) {
        return;
    }
    tpm_transport_pause(SESSION_WAIT_MS);
    if (tpm_command_handles(&device->transport, TPM_HANDLES_LOADED_SESSION, &after) !=
        TSS2_RC_SUCCESS) {
        return;
    }
    for (size_t i = 0; i < MIN(after.count, ARRAY_SIZE(after.handle)); i++) {
        TPM2_HANDLE handle = after.handle[i];
        bool is_meant = handle >> TPM2_HR_SHIFT == TPM2_HT_HMAC_SESSION || with_policies;
        if (is_meant && has_handle(&before, handle) && !has_handle(spared, handle) &&
            tpm_command_flush(&device->transport, handle) == TSS2_RC_SUCCESS) {
            log_warning("keystore %s: flushed the session 0x%x, as %s", device->name, handle,
                        reason);
        }
    }
}

void tpm_reclaim_sessions(struct tpm_device *device)
{
    static const TPML_HANDLE none = {0};
    flush_idle_sessions(device, &none, false,
                        "all session slots of the TPM were taken and nobody seemed to use it");
}

void tpm_reclaim_astray_session(struct tpm_device *device)
{
    if (device->is_session_astray) {
        device->is_session_astray = false;
        flush_idle_sessions(device, &device->sessions_before, true,
                            "it was started by a command of ours whose answer was lost");
    }
}
