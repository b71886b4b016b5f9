#include "attest/public.h"

#include <openssl/x509.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "lib/base/macro.h"
#include "pkcs11/tpm/tpm_public.h"

struct encoding {
    uint8_t data[sizeof(TPMT_PUBLIC)];
    size_t size;
};

static bool encode(const TPMT_PUBLIC *public, struct encoding *ret)
{
    ret->size = 0;
    return Tss2_MU_TPMT_PUBLIC_Marshal(public, ret->data, sizeof(ret->data), &ret->size) ==
           TSS2_RC_SUCCESS;
}

struct bytes tpm2_name_bytes(const struct tpm2_name *name)
{
    return (struct bytes){name->data, name->size};
}

int public_parse(struct bytes encoded, TPMT_PUBLIC *ret_public, struct error *err)
{
    TPMT_PUBLIC public = {0};
    struct encoding again;
    size_t offset = 0;
    if (encoded.size == 0 || encoded.size > PUBLIC_LIMIT_BYTES) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading a TPM public area: %zu bytes, 1 to %d are expected", encoded.size,
                         PUBLIC_LIMIT_BYTES);
    }
    if (Tss2_MU_TPMT_PUBLIC_Unmarshal(encoded.data, encoded.size, &offset, &public) !=
        TSS2_RC_SUCCESS) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading a TPM public area: it is cut short, or of a kind that the TPM "
                         "2.0 library does not know; expected is a TPMT_PUBLIC without a size "
                         "before it");
    }
    if (offset != encoded.size) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading a TPM public area: %zu bytes are left over behind it",
                         encoded.size - offset);
    }
    if (!encode(&public, &again) ||
        !bytes_is_equal(encoded, (struct bytes){again.data, again.size})) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "reading a TPM public area: it is not encoded as a TPM encodes it");
    }
    *ret_public = public;
    return 0;
}

void public_encode(const TPMT_PUBLIC *public, struct buffer *ret_encoded)
{
    struct encoding encoding;
    if (encode(public, &encoding)) {
        buffer_append(ret_encoded, encoding.data, encoding.size);
    }
}

int public_name(const TPMT_PUBLIC *public, struct tpm2_name *ret_name, struct error *err)
{
    struct encoding encoding;
    uint8_t digest[HASH_MAX_BYTES];
    const struct hash_algorithm *hash = hash_by_id(public->nameAlg);
    if (!hash || !encode(public, &encoding)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "computing the name of a TPM key: its nameAlg 0x%04x is none of sha1, "
                         "sha256, sha384 and sha512",
                         public->nameAlg);
    }
    const struct bytes part = {encoding.data, encoding.size};
    TRY(hash_compute(hash, &part, 1, digest, err));
    ret_name->data[0] = (uint8_t)(hash->id >> 8);
    ret_name->data[1] = (uint8_t)hash->id;
    memcpy(ret_name->data + 2, digest, hash->size);
    ret_name->size = 2 + hash->size;
    return 0;
}

static int invalid_key(const TPMT_PUBLIC *public, struct error *err)
{
    return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                             "reading the key in a TPM public area of type 0x%04x: it is no valid "
                             "key of RSA with 2048 to 4096 bits, P-256, P-384 or P-521",
                             public->type);
}

int public_pkey(const TPMT_PUBLIC *public, EVP_PKEY **ret_pkey, struct error *err)
{
    const TPM2B_PUBLIC sized = {.publicArea = *public};
    *ret_pkey = tpm_public_pkey(&sized, NULL);
    return *ret_pkey ? 0 : invalid_key(public, err);
}

int public_spki(const TPMT_PUBLIC *public, struct buffer *ret_spki, struct error *err)
{
    const TPM2B_PUBLIC sized = {.publicArea = *public};
    return tpm_public_spki(&sized, ret_spki, NULL) < 0 ? invalid_key(public, err) : 0;
}

struct attribute_rule {
    TPMA_OBJECT attribute;
    bool is_wanted;
    const char *flaw;
};

/* Of every key that is to stay in the TPM that made it. */
static const struct attribute_rule signing_rules[] = {
    {TPMA_OBJECT_FIXEDTPM, true, "fixedTPM is clear: the key can be copied to another TPM"},
    {TPMA_OBJECT_FIXEDPARENT, true, "fixedParent is clear: the key can be moved to another parent"},
    {TPMA_OBJECT_ENCRYPTEDDUPLICATION, false,
     "encryptedDuplication is set: the key is meant to be copied"},
    {TPMA_OBJECT_SENSITIVEDATAORIGIN, true,
     "sensitiveDataOrigin is clear: the key was made outside of the TPM"},
    {TPMA_OBJECT_SIGN_ENCRYPT, true, "sign is clear: the key does not sign"},
    {TPMA_OBJECT_DECRYPT, false, "decrypt is set: the key does more than sign"},
};

/* Of an AK besides these. */
static const struct attribute_rule ak_rules[] = {
    {TPMA_OBJECT_RESTRICTED, true,
     "restricted is clear: the key signs anything, also what only looks like a TPM's word"},
};

static const char *find_flaw(const TPMT_PUBLIC *public, const struct attribute_rule *rules,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!!(public->objectAttributes & rules[i].attribute) != rules[i].is_wanted) {
            return rules[i].flaw;
        }
    }
    return NULL;
}

/* Of names and signatures: SHA-1 is not one any more. */
static bool is_strong_hash(TPM2_ALG_ID id)
{
    return id != TPM2_ALG_SHA1 && hash_by_id(id) != NULL;
}

static const char *flaw_of_kind(const TPMT_PUBLIC *public)
{
    if (!is_strong_hash(public->nameAlg)) {
        return "nameAlg is none of sha256, sha384 and sha512";
    }
    if (public->type == TPM2_ALG_RSA) {
        const uint16_t bits = public->parameters.rsaDetail.keyBits;
        return bits == 2048 || bits == 3072 || bits == 4096
                   ? NULL
                   : "the RSA key has neither 2048 nor 3072 nor 4096 bits";
    }
    if (public->type == TPM2_ALG_ECC) {
        const TPM2_ECC_CURVE curve = public->parameters.eccDetail.curveID;
        return curve == TPM2_ECC_NIST_P256 || curve == TPM2_ECC_NIST_P384 ||
                       curve == TPM2_ECC_NIST_P521
                   ? NULL
                   : "the curve is none of P-256, P-384 and P-521";
    }
    return "the key is neither RSA nor ECC";
}

static bool has_known_scheme(const TPMT_PUBLIC *public)
{
    if (public->type == TPM2_ALG_ECC) {
        const TPMT_ECC_SCHEME *scheme = &public->parameters.eccDetail.scheme;
        return scheme->scheme == TPM2_ALG_ECDSA && is_strong_hash(scheme->details.ecdsa.hashAlg);
    }
    const TPMT_RSA_SCHEME *scheme = &public->parameters.rsaDetail.scheme;
    return (scheme->scheme == TPM2_ALG_RSASSA && is_strong_hash(scheme->details.rsassa.hashAlg)) ||
           (scheme->scheme == TPM2_ALG_RSAPSS && is_strong_hash(scheme->details.rsapss.hashAlg));
}

const char *public_flaw_of_signing_key(const TPMT_PUBLIC *public)
{
    const char *flaw = flaw_of_kind(public);
    return flaw ? flaw : find_flaw(public, signing_rules, ARRAY_SIZE(signing_rules));
}

const char *public_flaw_of_ak(const TPMT_PUBLIC *public)
{
    const char *flaw = public_flaw_of_signing_key(public);
    if (!flaw) {
        flaw = find_flaw(public, ak_rules, ARRAY_SIZE(ak_rules));
    }
    if (!flaw && !has_known_scheme(public)) {
        flaw = "the scheme is none of ECDSA, RSASSA and RSAPSS with sha256, sha384 or sha512";
    }
    return flaw;
}
