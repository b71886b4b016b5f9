#include "attest/host/seal_policy.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "lib/base/pem.h"

enum { COORDINATE_BYTES = 32, POINT_BYTES = 1 + 2 * COORDINATE_BYTES, PEM_MAX_BYTES = 4096 };

DEFINE_CLEANUP(BIO, bio, BIO_free_all);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_MD_CTX, digest_context, EVP_MD_CTX_free);

static struct bytes digest_bytes(const struct seal_digest *digest)
{
    return (struct bytes){digest->data, sizeof(digest->data)};
}

static int hash(const struct bytes *parts, size_t count, struct seal_digest *ret, struct error *err)
{
    uint8_t digest[HASH_MAX_BYTES];
    TRY(hash_compute(hash_by_id(TPM2_ALG_SHA256), parts, count, digest, err));
    memcpy(ret->data, digest, sizeof(ret->data));
    return 0;
}

/* policyDigest = H(policyDigest || command code || arguments), as each policy command does it. */
static int extend(struct seal_digest *policy, TPM2_CC code, struct bytes arguments,
                  struct error *err)
{
    const struct seal_digest before = *policy;
    const uint8_t code_bytes[] = {(uint8_t)(code >> 24), (uint8_t)(code >> 16),
                                  (uint8_t)(code >> 8), (uint8_t)code};
    const struct bytes parts[] = {
        digest_bytes(&before), {code_bytes, sizeof(code_bytes)}, arguments};
    return hash(parts, ARRAY_SIZE(parts), policy, err);
}

int seal_policy_pcr_digest(const struct seal_file *file, const struct seal_state *state,
                           struct seal_digest *ret_digest, struct error *err)
{
    uint8_t digest[HASH_MAX_BYTES];
    TRY(pcr_set_digest(&state->pcrs, &file->selection, hash_by_id(TPM2_ALG_SHA256), digest, err));
    memcpy(ret_digest->data, digest, sizeof(ret_digest->data));
    return 0;
}

int seal_policy_pcrs(const struct seal_file *file, const struct seal_state *state,
                     struct seal_digest *ret_policy, struct error *err)
{
    TPML_PCR_SELECTION list;
    struct seal_digest digest;
    uint8_t arguments[sizeof(TPML_PCR_SELECTION) + TPM_HASH_BYTES];
    size_t size = 0;
    *ret_policy = (struct seal_digest){0};
    pcr_selection_tpm(&file->selection, &list);
    TRY(seal_policy_pcr_digest(file, state, &digest, err));
    if (Tss2_MU_TPML_PCR_SELECTION_Marshal(&list, arguments, sizeof(TPML_PCR_SELECTION), &size) !=
        TSS2_RC_SUCCESS) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "computing a policy: the registers cannot be written as a TPM reads them");
    }
    memcpy(arguments + size, digest.data, sizeof(digest.data));
    return extend(ret_policy, TPM2_CC_PolicyPCR, (struct bytes){arguments, size + TPM_HASH_BYTES},
                  err);
}

/* Part 3 23.16: from nothing, first the name, then the reference. */
int seal_policy_authority(const struct seal_file *file, struct seal_digest *ret_policy,
                          struct error *err)
{
    TPM2B_PUBLIC public;
    struct tpm_name name;
    *ret_policy = (struct seal_digest){0};
    TRY(seal_authority_public(file->authority, &public, &name, err));
    TRY(extend(ret_policy, TPM2_CC_PolicyAuthorize, tpm_name_bytes(&name), err));
    const struct seal_digest before = *ret_policy;
    const struct bytes parts[] = {digest_bytes(&before), bytes_of_text(SEAL_POLICY_REFERENCE)};
    return hash(parts, ARRAY_SIZE(parts), ret_policy, err);
}

/* Part 3 23.6: from nothing, the branches one after the other. */
static int join(const struct seal_file *file, struct seal_digest *policy, struct error *err)
{
    struct seal_digest branches[2] = {*policy};
    TRY(seal_policy_authority(file, &branches[1], err));
    *policy = (struct seal_digest){0};
    return extend(policy, TPM2_CC_PolicyOR, (struct bytes){branches[0].data, sizeof(branches)},
                  err);
}

/* Part 3 23.9: the comparison is hashed by itself. */
static int add_counter(const struct seal_counter *counter, struct seal_digest *policy,
                       struct error *err)
{
    _cleanup_(buffer_clear) struct buffer comparison = {0};
    _cleanup_(buffer_clear) struct buffer arguments = {0};
    struct seal_digest digest;
    buffer_append_u64(&comparison, counter->value);
    buffer_append_u16(&comparison, 0);
    buffer_append_u16(&comparison, TPM2_EO_EQ);
    const struct bytes part = buffer_bytes(&comparison);
    TRY(hash(&part, 1, &digest, err));
    buffer_append(&arguments, digest.data, sizeof(digest.data));
    buffer_append(&arguments, counter->name.data, counter->name.size);
    return extend(policy, TPM2_CC_PolicyNV, buffer_bytes(&arguments), err);
}

int seal_policy_compute(const struct seal_file *file, struct seal_digest *ret_policy,
                        struct error *err)
{
    TRY(seal_policy_pcrs(file, &file->states[0], ret_policy, err));
    if (file->authority) {
        TRY(join(file, ret_policy, err));
    }
    return file->counter.index ? add_counter(&file->counter, ret_policy, err) : 0;
}

static bool read_point(EVP_PKEY *key, uint8_t ret_point[POINT_BYTES])
{
    size_t size = 0;
    char group[16] = "";
    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                          NULL) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0 &&
           EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, ret_point, POINT_BYTES,
                                           &size) == 1 &&
           size == POINT_BYTES && ret_point[0] == POINT_CONVERSION_UNCOMPRESSED;
}

int seal_authority_public(EVP_PKEY *authority, TPM2B_PUBLIC *ret_public, struct tpm_name *ret_name,
                          struct error *err)
{
    uint8_t point[POINT_BYTES];
    uint8_t area[sizeof(TPMT_PUBLIC)];
    struct seal_digest digest;
    size_t size = 0;
    if (!read_point(authority, point)) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "reading the authority's key: it is not one of P-256");
    }
    TPMT_PUBLIC public = {
        .type = TPM2_ALG_ECC,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT,
        .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                 .scheme.scheme = TPM2_ALG_NULL,
                                 .curveID = TPM2_ECC_NIST_P256,
                                 .kdf.scheme = TPM2_ALG_NULL},
        .unique.ecc = {.x.size = COORDINATE_BYTES, .y.size = COORDINATE_BYTES},
    };
    memcpy(public.unique.ecc.x.buffer, point + 1, COORDINATE_BYTES);
    memcpy(public.unique.ecc.y.buffer, point + 1 + COORDINATE_BYTES, COORDINATE_BYTES);
    *ret_public = (TPM2B_PUBLIC){.publicArea = public};
    if (Tss2_MU_TPMT_PUBLIC_Marshal(&public, area, sizeof(area), &size) != TSS2_RC_SUCCESS) {
        return error_set(err, ERROR_INTERNAL, "encoding the authority's key for the TPM");
    }
    const struct bytes part = {area, size};
    TRY(hash(&part, 1, &digest, err));
    *ret_name = (struct tpm_name){.data = {TPM2_ALG_SHA256 >> 8, TPM2_ALG_SHA256 & 0xff},
                                  .size = TPM_NAME_BYTES};
    memcpy(ret_name->data + 2, digest.data, sizeof(digest.data));
    return 0;
}

int seal_policy_to_sign(const struct seal_file *file, const struct seal_state *state,
                        struct buffer *ret_to_sign, struct error *err)
{
    struct seal_digest policy;
    TRY(seal_policy_pcrs(file, state, &policy, err));
    buffer_append(ret_to_sign, policy.data, sizeof(policy.data));
    buffer_append_text(ret_to_sign, SEAL_POLICY_REFERENCE);
    return 0;
}

int seal_policy_check_signature(const struct seal_file *file, const struct seal_state *state,
                                struct error *err)
{
    _cleanup_(buffer_clear) struct buffer text = {0};
    _cleanup_(digest_context_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    TRY(seal_policy_to_sign(file, state, &text, err));
    if (!context ||
        EVP_DigestVerifyInit_ex(context, NULL, "SHA256", NULL, NULL, file->authority, NULL) != 1 ||
        EVP_DigestVerify(context, state->signature, state->signature_size, text.data, text.size) !=
            1) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "the signature is not one of the authority for these register "
                                 "values (ECDSA with SHA-256, DER, over the bytes to sign)");
    }
    return 0;
}

int seal_authority_read(struct bytes pem, EVP_PKEY **ret_key, struct error *err)
{
    uint8_t point[POINT_BYTES];
    _cleanup_(bio_cleanup) BIO *bio =
        pem.size <= PEM_MAX_BYTES ? BIO_new_mem_buf(pem.data, (int)pem.size) : NULL;
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *key =
        bio ? PEM_read_bio_PUBKEY(bio, NULL, pem_no_password, NULL) : NULL;
    if (!key || !EVP_PKEY_is_a(key, "EC") || !read_point(key, point)) {
        return error_set_openssl(err, ERROR_INVALID_ARGUMENT,
                                 "reading the authority's public key: it is not PEM "
                                 "(BEGIN PUBLIC KEY) of a P-256 key");
    }
    *ret_key = take_ptr(key);
    return 0;
}

void seal_template(const uint8_t policy[TPM_HASH_BYTES], TPM2B_PUBLIC *ret_template)
{
    *ret_template =
        (TPM2B_PUBLIC){.publicArea = {
                           .type = TPM2_ALG_KEYEDHASH,
                           .nameAlg = TPM2_ALG_SHA256,
                           .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                               TPMA_OBJECT_NODA | TPMA_OBJECT_ADMINWITHPOLICY,
                           .authPolicy.size = TPM_HASH_BYTES,
                           .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
                       }};
    memcpy(ret_template->publicArea.authPolicy.buffer, policy, TPM_HASH_BYTES);
}
