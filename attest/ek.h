/* Endorsement keys: the templates they are made from, and whether one is genuine (TCG EK Credential
 * Profile 2.x). Every thread. */
#pragma once

#include <openssl/x509.h>

#include "attest/public.h"
#include "lib/base/text.h"

/* One row of the profile's table: "L-1", "L-2", "H-1" to "H-7" without SM2. */
struct ek_template {
    const char *name;
    uint32_t certificate_index; /* NV */
    bool is_low_range;          /* authorized by PolicySecret alone */
    TPMT_PUBLIC public;         /* as TPM2_CreatePrimary takes it */
};
/* NULL behind the last one. The better ones first: P-256, P-384, then RSA. */
const struct ek_template *ek_template_at(size_t place);
/* The template that the public area is an instance of in all but the key itself; NULL: none. */
const struct ek_template *ek_template_of(const TPMT_PUBLIC *public);

/* A certificate as NV has it: what lies behind the DER (padding, or the next certificate) is left
 * alone; ret_size is the size of the DER. Odd encodings of real vendors (id-RSAES-OAEP keys,
 * critical unknown SANs) are understood. */
int ek_certificate_parse(struct bytes der, X509 **ret_certificate, size_t *ret_size,
                         struct error *err);
/* The key in it; the caller frees it. */
EVP_PKEY *ek_certificate_pkey(X509 *certificate, struct error *err);

/* Whom to believe: certificates of manufacturers' CAs, and hashes of single keys. Once it is
 * filled, any number of threads may judge by it. */
struct ek_trust;

struct ek_trust *ek_trust_new(void);
void ek_trust_free(struct ek_trust *trust);
DEFINE_CLEANUP(struct ek_trust, ek_trust_free, ek_trust_free);
/* Every certificate in the files of the folder: PEM (several a file) or DER. Files that hold none
 * are refused by name; a folder without any is refused. 10,000 files and 64 KiB each at most.
 * Self-signed ones and issuing ones are both anchors. */
int ek_trust_add_folder(struct ek_trust *trust, const char *path, struct error *err);
/* "sha256:HEX" of the key's SubjectPublicKeyInfo. */
int ek_trust_add_hash(struct ek_trust *trust, const char *text, struct error *err);
size_t ek_trust_count(const struct ek_trust *trust);

/* Whether to believe the EK: its public area is exactly one of the templates, and its hash is
 * listed, or the certificate is for this key, has the EK's purpose (2.23.133.8.1), is no CA, and
 * chains to an anchor at that time. chain: further certificates, DER each. certificate empty: only
 * a hash can do. ret_how: "certificate" or "hash", static. The verdict on a certificate and chain
 * that were found good is kept for a while, for the next time (up to 1,024; thread-safe).
 * The error's code: PermissionDenied not genuine or not listed; InvalidArgument cannot be read. */
int ek_trust_judge(struct ek_trust *trust, const TPMT_PUBLIC *ek, struct bytes certificate,
                   const struct bytes *chain, size_t chain_count, int64_t now_s,
                   const char **ret_how, struct error *err);
