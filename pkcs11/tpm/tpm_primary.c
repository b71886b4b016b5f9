#include "pkcs11/tpm/tpm_primary.h"

#include <errno.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"
#include "pkcs11/tpm/tpm_device.h"

/* TCG TPM v2.0 Provisioning Guidance 7.5.1: where a storage primary is persisted. */
#define PERSISTENT_HANDLE ((TPM2_HANDLE)0x81000001)

enum { PIN_LIMIT_BYTES = 256 };

static const char pin_prefix[] = "signet-tpm-primary-1 ";

static char *format_pin(const struct tpm_name *name)
{
    _cleanup_(free_cleanup) char *hex = text_hex(tpm_name_bytes(name));
    return text_format("%s%s\n", pin_prefix, hex);
}

static int parse_hex_digit(char digit)
{
    const char digits[] = "0123456789abcdef";
    const char *found = digit ? strchr(digits, digit) : NULL;
    return found ? (int)(found - digits) : -1;
}

static bool parse_pin(struct bytes text, struct tpm_name *ret_name)
{
    struct reader reader = reader_of(text);
    struct bytes prefix = reader_bytes(&reader, sizeof(pin_prefix) - 1);
    if (!bytes_is_equal(prefix, bytes_of_text(pin_prefix))) {
        return false;
    }
    *ret_name = (struct tpm_name){.size = TPM_NAME_BYTES};
    for (size_t i = 0; i < ret_name->size; i++) {
        int high = parse_hex_digit((char)reader_u8(&reader));
        int low = parse_hex_digit((char)reader_u8(&reader));
        if (high < 0 || low < 0) {
            return false;
        }
        ret_name->data[i] = (uint8_t)(high << 4 | low);
    }
    return reader_u8(&reader) == '\n' && reader_is_done(&reader) && !reader.is_bad;
}

int tpm_primary_read_pin(struct tpm_primary *primary, const char *path, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    struct error reason;
    if (buffer_read_file(path, PIN_LIMIT_BYTES, &text, &reason) < 0) {
        return reason.code == ERROR_NOT_FOUND ? 0 : error_set(err, reason.code, "%s", reason.text);
    }
    if (!parse_pin(buffer_bytes(&text), &primary->object.name)) {
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "reading the pinned name of the TPM's storage primary in %s: it is not a "
                         "pin of this version; restore the file from a backup, or remove it if the "
                         "TPM can be trusted as it is now",
                         path);
    }
    primary->is_known = true;
    return 0;
}

int tpm_primary_write_pin(const struct tpm_primary *primary, const char *path, struct error *err)
{
    _cleanup_(free_cleanup) char *text = format_pin(&primary->object.name);
    return file_write_atomic(path, bytes_of_text(text), 0600, err) < 0
               ? error_prepend(err, "pinning the TPM's storage primary")
               : 0;
}

/* Makes the primary of its kind. Of a known one the name must come out the same. */
static TSS2_RC make(struct tpm_device *device, struct tpm_object *object, TPM2_HANDLE *ret_handle)
{
    struct tpm_primary *primary = container_of(object, struct tpm_primary, object);
    TPM2B_PUBLIC template;
    TPM2B_PUBLIC public;
    struct tpm_name name;
    tpm_public_primary_template(primary->kind, &template);
    TSS2_RC rc = tpm_command_create_primary(&device->transport, TPM2_RH_OWNER, &template,
                                            ret_handle, &public);
    if (rc != TSS2_RC_SUCCESS) {
        return rc;
    }
    rc = tpm_public_name(&device->crypto, &public, &name);
    if (rc == TSS2_RC_SUCCESS && !tpm_public_matches(&public, &template)) {
        rc = TPM_RC_BAD_ANSWER;
    }
    if (rc == TSS2_RC_SUCCESS && primary->is_known && !tpm_name_is_equal(&name, &object->name)) {
        rc = TPM_RC_OTHER_PRIMARY;
    }
    if (rc != TSS2_RC_SUCCESS) {
        (void)tpm_command_flush(&device->transport, *ret_handle);
        return rc;
    }
    object->name = name;
    primary->public = public;
    return TSS2_RC_SUCCESS;
}

/* Whether the object at the persistent handle is of our template; it is used then. */
static TSS2_RC try_persistent(struct tpm_device *device, bool *ret_is_found)
{
    struct tpm_primary *primary = &device->primary;
    TPM2B_PUBLIC public;
    TPM2B_PUBLIC template;
    struct tpm_name name;
    TSS2_RC rc = tpm_command_read_public(&device->transport, PERSISTENT_HANDLE, &public, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_is_handle(rc) ? TSS2_RC_SUCCESS : rc;
    }
    for (unsigned kind = 0; kind < TPM_PRIMARY_KIND_COUNT && !*ret_is_found; kind++) {
        tpm_public_primary_template(kind, &template);
        if (tpm_public_matches(&public, &template) &&
            tpm_public_name(&device->crypto, &public, &name) == TSS2_RC_SUCCESS &&
            (!primary->is_known || tpm_name_is_equal(&name, &primary->object.name))) {
            primary->kind = kind;
            primary->public = public;
            primary->object.name = name;
            primary->object.handle = PERSISTENT_HANDLE;
            primary->object.is_persistent = true;
            *ret_is_found = true;
        }
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC try_template(struct tpm_device *device, enum tpm_primary_kind kind,
                            bool *ret_is_found)
{
    struct tpm_primary *primary = &device->primary;
    primary->kind = kind;
    TSS2_RC rc = tpm_cache_acquire(&device->cache, &primary->object);
    *ret_is_found = rc == TSS2_RC_SUCCESS;
    return tpm_rc_is_parameter(rc) || rc == TPM_RC_OTHER_PRIMARY ? TSS2_RC_SUCCESS : rc;
}

TSS2_RC tpm_primary_find(struct tpm_device *device)
{
    struct tpm_primary *primary = &device->primary;
    primary->object.load = make;
    bool is_found = false;
    TSS2_RC rc = try_persistent(device, &is_found);
    for (unsigned kind = 0; rc == TSS2_RC_SUCCESS && !is_found && kind < TPM_PRIMARY_KIND_COUNT;
         kind++) {
        rc = try_template(device, kind, &is_found);
    }
    if (rc == TSS2_RC_SUCCESS && !is_found) {
        return primary->is_known ? TPM_RC_OTHER_PRIMARY : TPM_RC_NO_PRIMARY;
    }
    primary->is_known |= is_found;
    return rc;
}

TSS2_RC tpm_primary_check(struct tpm_device *device)
{
    struct tpm_object *object = &device->primary.object;
    TPM2B_PUBLIC public;
    struct tpm_name name;
    if (!device->primary.is_known || !object->is_persistent) {
        return TSS2_RC_SUCCESS;
    }
    TSS2_RC rc = tpm_command_read_public(&device->transport, object->handle, &public, NULL);
    if (rc != TSS2_RC_SUCCESS && tpm_rc_is_handle(rc)) {
        object->is_persistent = false;
        object->handle = 0;
        return TSS2_RC_SUCCESS;
    }
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_public_name(&device->crypto, &public, &name);
    }
    if (rc == TSS2_RC_SUCCESS && !tpm_name_is_equal(&name, &object->name)) {
        rc = TPM_RC_OTHER_PRIMARY;
    }
    return rc;
}
