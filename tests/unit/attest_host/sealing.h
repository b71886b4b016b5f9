/* A PIN that is sealed and opened again, for tests. */
#pragma once

#include "tests/unit/attest_host/tpms.h"

#include "attest/host/seal_file.h"

static const char sealing_pin[] = "a PIN that is long enough to be found again";

static inline void sealing_make(const char *tcti, const struct seal_request *request,
                                struct buffer *ret_file)
{
    struct error err;
    struct tpm_device *device = tpms_open(tcti);
    assert_done(seal_make(device, request, ret_file, &err), err);
    tpm_device_close(device);
    device_assert_empty(tcti);
}

static inline struct seal_request sealing_request(const char *registers)
{
    return (struct seal_request){.secret = bytes_of_text(sealing_pin),
                                 .selection = tpms_selection(registers)};
}

/* The code of the error; of what opens, the contents must be the PIN. */
static inline enum error_code sealing_try_text(const char *tcti, struct bytes file,
                                               struct error *ret_err)
{
    struct tpm_device *device = tpms_open(tcti);
    struct secret secret = {0};
    enum error_code code = ERROR_OK;
    if (seal_open(device, file, &secret, ret_err) < 0) {
        code = ret_err->code;
    } else {
        assert_true(bytes_is_equal(secret_bytes(&secret), bytes_of_text(sealing_pin)));
    }
    secret_clear(&secret);
    tpm_device_close(device);
    device_assert_empty(tcti);
    return code;
}

static inline enum error_code sealing_try(const char *tcti, const struct buffer *file,
                                          struct error *ret_err)
{
    return sealing_try_text(tcti, buffer_bytes(file), ret_err);
}

static inline void sealing_assert_opens(const char *tcti, const struct buffer *file)
{
    struct error err = {.text = ""};
    if (sealing_try(tcti, file, &err) != ERROR_OK) {
        fail_msg("%s", err.text);
    }
}

static inline void sealing_assert_refused(const char *tcti, const struct buffer *file,
                                          const char *reason)
{
    struct error err = {.text = ""};
    assert_int_equal(sealing_try(tcti, file, &err), ERROR_PERMISSION_DENIED);
    if (!strstr(err.text, reason)) {
        fail_msg("nothing of \"%s\" in: %s", reason, err.text);
    }
}

static inline struct seal_file *sealing_decode(const struct buffer *text)
{
    struct error err;
    struct seal_file *file = NULL;
    assert_done(seal_file_decode(buffer_bytes(text), &file, &err), err);
    return file;
}

/* The code that opening ends with when the file says something else, with the right checksum. */
static inline enum error_code sealing_try_changed(struct tpm_device *device,
                                                  const struct seal_file *file)
{
    struct error err;
    struct secret secret = {0};
    _cleanup_(buffer_clear) struct buffer text = {0};
    /* What cannot be written can be no file either. */
    if (seal_file_encode(file, &text, &err) < 0) {
        return err.code;
    }
    int result = seal_open(device, buffer_bytes(&text), &secret, &err);
    secret_clear(&secret);
    return result < 0 ? err.code : ERROR_OK;
}
