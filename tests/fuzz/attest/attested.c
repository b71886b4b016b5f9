/* What a TPM is said to have signed: a size, the signed bytes, and the signature. The signature as
 * it is, and then a right one, so that the signed bytes are read too. */
#include "tests/fuzz/fuzz.h"

#include "attest/attested.h"
#include "tests/unit/attest/software_tpm.h"

static void check(struct bytes attested, struct bytes signature, const TPMT_PUBLIC *ak)
{
    static const TPM2_ST types[] = {TPM2_ST_ATTEST_QUOTE, TPM2_ST_ATTEST_CERTIFY};
    static const uint8_t nonce[8];
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct error err;
        TPMS_ATTEST attest;
        enum attested_flaw flaw;
        (void)attested_check(attested, signature, ak, types[i],
                             (struct bytes){nonce, sizeof(nonce)}, &attest, &flaw, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EVP_PKEY *pkey;
    static TPMT_PUBLIC ak;
    _cleanup_(buffer_clear) struct buffer right = {0};
    struct reader reader = reader_of((struct bytes){data, size});
    const struct bytes attested = reader_bytes(&reader, reader_u16(&reader));
    if (!pkey) {
        (void)setenv("TSS2_LOG", "all+NONE", 0);
        pkey = EVP_EC_gen("P-256");
        ak = software_signing_public(pkey, TPMA_OBJECT_RESTRICTED, TPM2_ALG_ECDSA);
    }
    check(attested, reader.rest, &ak);
    software_sign_bytes(pkey, attested, &right);
    check(attested, buffer_bytes(&right), &ak);
    return 0;
}
