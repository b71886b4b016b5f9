/* Public areas: the templates of the storage primary and of signing keys, names, and public keys as
 * OpenSSL has them. Every thread, but for the crypto given. */
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include "pkcs11/keystore.h"
#include "pkcs11/tpm/tpm_crypto.h"
#include "pkcs11/tpm/tpm_rc.h"

/* The name of an object: algorithm and digest of the public area (TPM 2.0 Part 1 16).
 * TPM_NAME_BYTES with SHA-256, as all of our keys have. */
enum { TPM_NAME_BYTES = 2 + TPM_HASH_BYTES, TPM_NAME_MAX_BYTES = 2 + TPM2_SHA512_DIGEST_SIZE };

struct tpm_name {
    uint8_t data[TPM_NAME_MAX_BYTES];
    size_t size;
};

struct bytes tpm_name_bytes(const struct tpm_name *name);
bool tpm_name_is_equal(const struct tpm_name *a, const struct tpm_name *b);

/* The kinds of storage primary that are looked for, the better one first. */
enum tpm_primary_kind { TPM_PRIMARY_ECC_P256, TPM_PRIMARY_RSA_2048 };
enum { TPM_PRIMARY_KIND_COUNT = 2 };

/* H-style (empty unique) and noDA, so that neither wrong passwords nor power cuts lock it; the same
 * template always gives the same key until the TPM is cleared. */
void tpm_public_primary_template(enum tpm_primary_kind kind, TPM2B_PUBLIC *ret_template);
/* Signs, is fixed to this TPM and parent, made inside, noDA, without a scheme of its own. */
void tpm_public_key_template(enum key_type type, TPM2B_PUBLIC *ret_template);
/* The same with a scheme of its own, ECDSA or RSASSA with SHA-256. P-256 or RSA-2048. */
void tpm_public_fixed_key_template(enum key_type type, TPM2B_PUBLIC *ret_template);
/* An attestation key: as the one before, but it signs nothing except what the TPM itself says. */
void tpm_public_ak_template(enum key_type type, TPM2B_PUBLIC *ret_template);

/* Whether public is the template in all but the key itself. */
bool tpm_public_matches(const TPM2B_PUBLIC *public, const TPM2B_PUBLIC *template);

/* The name, computed here. TPM_RC_BAD_ANSWER when the nameAlg is none of SHA-256, -384, -512. */
TSS2_RC tpm_public_name(const struct tpm_crypto *crypto, const TPM2B_PUBLIC *public,
                        struct tpm_name *ret_name);

/* The public key, checked to be a valid one of its kind: RSA of 2048, 3072 or 4096 bits, P-256,
 * P-384, P-521. The caller frees it. */
EVP_PKEY *tpm_public_pkey(const TPM2B_PUBLIC *public, struct error *err);
/* SubjectPublicKeyInfo, DER, appended. */
int tpm_public_spki(const TPM2B_PUBLIC *public, struct buffer *ret_spki, struct error *err);
