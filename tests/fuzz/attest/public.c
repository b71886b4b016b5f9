/* Public areas of TPM keys from outside, and all that is asked of them. */
#include "tests/fuzz/fuzz.h"

#include <sodium.h>
#include <stdlib.h>

#include "attest/credential.h"
#include "attest/ek.h"

static void ask(const TPMT_PUBLIC *public)
{
    struct error err;
    struct tpm2_name name;
    EVP_PKEY *pkey = NULL;
    _cleanup_(buffer_clear) struct buffer spki = {0};
    (void)public_flaw_of_ak(public);
    (void)public_flaw_of_signing_key(public);
    (void)ek_template_of(public);
    if (public_pkey(public, &pkey, &err) == 0) {
        EVP_PKEY_free(pkey);
    }
    (void)public_spki(public, &spki, &err);
    if (public_name(public, &name, &err) == 0) {
        static const uint8_t secret[CREDENTIAL_SECRET_BYTES];
        _cleanup_(buffer_clear) struct buffer id_object = {0};
        _cleanup_(buffer_clear) struct buffer encrypted = {0};
        (void)credential_make(public, &name, (struct bytes){secret, sizeof(secret)}, &id_object,
                              &encrypted, &err);
    }
}

static void prepare(void)
{
    /* Not secret_init: what OpenSSL keeps in its secure heap would look like a leak. */
    if (setenv("TSS2_LOG", "all+NONE", 0) < 0 || sodium_init() < 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    TPMT_PUBLIC public;
    _cleanup_(buffer_clear) struct buffer again = {0};
    prepare();
    if (public_parse((struct bytes){data, size}, &public, &err) < 0) {
        return 0;
    }
    public_encode(&public, &again);
    if (!bytes_is_equal(buffer_bytes(&again), (struct bytes){data, size})) {
        abort();
    }
    ask(&public);
    return 0;
}
