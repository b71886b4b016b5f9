/* Sealed files: what is taken is written again byte for byte, and everything that needs no TPM is
 * done with it. */
#include "attest/host/seal.h"
#include "attest/host/seal_policy.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes text = {data, size};
    struct seal_digest policy;
    struct error err;
    struct pcr_set pcrs = {0};
    _cleanup_(seal_file_free_cleanup) struct seal_file *file = NULL;
    _cleanup_(buffer_clear) struct buffer again = {0};
    _cleanup_(buffer_clear) struct buffer to_sign = {0};
    /* Structures that cannot be are told of by the library otherwise. */
    (void)setenv("TSS2_LOG", "all+NONE", 0);
    if (seal_file_decode(text, &file, &err) < 0) {
        return 0;
    }
    if (seal_file_encode(file, &again, &err) < 0 || !bytes_is_equal(buffer_bytes(&again), text)) {
        abort();
    }
    (void)seal_policy_compute(file, &policy, &err);
    for (size_t i = 1; i < file->state_count; i++) {
        (void)seal_policy_check_signature(file, &file->states[i], &err);
    }
    free(seal_file_difference(file, &pcrs));
    (void)seal_approval_request(text, &pcrs, &to_sign, &err);
    return 0;
}
