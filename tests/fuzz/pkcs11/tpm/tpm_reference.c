/* References of lasting TPM keys, as they come back from disk. */
#include "tests/fuzz/fuzz.h"

#include "pkcs11/tpm/tpm_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    TPM2B_PUBLIC public;
    TPM2B_PUBLIC template;
    TPM2B_PRIVATE private;
    if (tpm_key_parse_reference((struct bytes){data, size}, &public, &private, &err) < 0) {
        return 0;
    }
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        tpm_public_key_template(type, &template);
        if (tpm_public_matches(&public, &template)) {
            _cleanup_(buffer_clear) struct buffer spki = {0};
            (void)tpm_public_spki(&public, &spki, &err);
        }
    }
    return 0;
}
