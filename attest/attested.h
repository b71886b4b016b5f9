/* What a TPM attests to: a signed TPMS_ATTEST (TPM 2.0 Part 2 10.12, Part 1 31). Every thread. */
#pragma once

#include "attest/public.h"

/* Which check failed; the text of the error says more. */
enum attested_flaw {
    ATTESTED_FLAW_NONE,
    ATTESTED_FLAW_ENCODING,  /* cannot be read, or bytes are left over */
    ATTESTED_FLAW_ALGORITHM, /* the signature's is not the key's */
    ATTESTED_FLAW_SIGNATURE,
    ATTESTED_FLAW_MAGIC, /* not made by a TPM */
    ATTESTED_FLAW_TYPE,  /* it attests to something else */
    ATTESTED_FLAW_NONCE, /* extraData is not the nonce */
};

/* Checks in this order: encoding of the signature, its algorithm against the AK's scheme, the
 * signature over the bytes as they are, then encoding (every byte accounted for), magic, type,
 * nonce (in constant time). ak: public_flaw_of_ak has been asked. type: TPM2_ST_ATTEST_QUOTE or
 * TPM2_ST_ATTEST_CERTIFY. */
int attested_check(struct bytes attested, struct bytes signature, const TPMT_PUBLIC *ak,
                   TPM2_ST type, struct bytes nonce, TPMS_ATTEST *ret_attest,
                   enum attested_flaw *ret_flaw, struct error *err);
