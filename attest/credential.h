/* TPM2_MakeCredential in software: a secret that only the TPM with that EK can read, and only while
 * it holds the key of that name (TPM 2.0 Part 1 24). Every thread. */
#pragma once

#include "attest/public.h"
#include "lib/base/secret.h"

enum { CREDENTIAL_SECRET_BYTES = 32 };

/* secret: at most as long as the digest of the EK's nameAlg. Appends the contents of
 * TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, without their sizes. ek: RSA or ECC, as
 * ek_template_of knows it. */
int credential_make(const TPMT_PUBLIC *ek, const struct tpm2_name *ak_name, struct bytes secret,
                    struct buffer *ret_id_object, struct buffer *ret_encrypted, struct error *err);
