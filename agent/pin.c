#include "agent/pin.h"

#include "attest/host/seal.h"

DEFINE_CLEANUP(struct tpm_device, device_close, tpm_device_close);

static int unseal(const char *tcti, struct bytes file, struct secret *ret_pin, struct error *err)
{
    _cleanup_(device_close_cleanup) struct tpm_device *device = NULL;
    const struct tpm_config config = {.tcti = tcti};
    TRY(tpm_device_open(&config, "sealed PIN", &device, err));
    return seal_open(device, file, ret_pin, err);
}

int pin_read_sealed(const void *user, const char *path, size_t limit_bytes, struct secret *ret_pin,
                    struct error *err)
{
    _cleanup_(buffer_clear) struct buffer file = {0};
    _cleanup_(secret_clear) struct secret pin = {0};
    TRY(buffer_read_file(path, SEAL_FILE_MAX_BYTES, &file, err));
    if (unseal(user, buffer_bytes(&file), &pin, err) < 0) {
        return error_prepend(err, "getting the PIN sealed in %s", path);
    }
    if (pin.size > limit_bytes) {
        return error_set(
            err, ERROR_INVALID_ARGUMENT,
            "getting the PIN sealed in %s: it has %zu bytes and at most %zu are of use", path,
            pin.size, limit_bytes);
    }
    *ret_pin = pin;
    pin = (struct secret){0};
    return 0;
}
