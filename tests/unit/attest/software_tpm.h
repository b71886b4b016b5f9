/* A TPM's word made in software, true or false as a test wants it: what a verifier must refuse can
 * mostly not be had from a real TPM. */
#pragma once

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <tss2/tss2_mu.h>

#include "attest/judge_internal.h"
#include "tests/unit/attest/software_ca.h"
#include "tests/unit/attest/software_log.h"

enum {
    SOFTWARE_ATTRIBUTES = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                          TPMA_OBJECT_NODA | TPMA_OBJECT_SIGN_ENCRYPT,
};

struct software_tpm {
    EVP_PKEY *ek, *ak, *key;
    TPMT_PUBLIC ek_public, ak_public, key_public;
    struct software_boot boot;
    TPMS_CLOCK_INFO clock;
    X509 *ek_certificate;
};

static inline void software_point(EVP_PKEY *pkey, TPMS_ECC_POINT *ret)
{
    unsigned char point[1 + 2 * 32];
    size_t size = 0;
    (void)EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                          &size);
    ret->x.size = 32;
    memcpy(ret->x.buffer, point + 1, 32);
    ret->y.size = 32;
    memcpy(ret->y.buffer, point + 33, 32);
}

static inline TPMT_PUBLIC software_signing_public(EVP_PKEY *pkey, TPMA_OBJECT more,
                                                  TPM2_ALG_ID scheme)
{
    TPMT_PUBLIC public = {
        .type = TPM2_ALG_ECC,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = SOFTWARE_ATTRIBUTES | more,
        .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                 .scheme.scheme = scheme,
                                 .curveID = TPM2_ECC_NIST_P256,
                                 .kdf.scheme = TPM2_ALG_NULL},
    };
    public.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
    software_point(pkey, &public.unique.ecc);
    return public;
}

static inline X509 *software_ek_certificate(const struct software_ca *ca, EVP_PKEY *ek,
                                            const char *purpose)
{
    const struct software_extension extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_ext_key_usage, purpose},
        {NID_key_usage, "critical,keyAgreement"},
    };
    const struct software_leaf leaf = {"an EK", NULL, extensions, ARRAY_SIZE(extensions)};
    return software_certificate(&leaf, ek, ca, ca->pkey);
}

static inline void software_tpm_new(struct software_tpm *tpm, const struct software_ca *ek_ca)
{
    *tpm = (struct software_tpm){
        .ek = EVP_EC_gen("P-256"),
        .ak = EVP_EC_gen("P-256"),
        .key = EVP_EC_gen("P-256"),
        .ek_public = ek_template_at(0)->public,
        .clock = {.clock = 1000000, .resetCount = 7, .restartCount = 1, .safe = 1},
    };
    software_point(tpm->ek, &tpm->ek_public.unique.ecc);
    tpm->ak_public = software_signing_public(tpm->ak, TPMA_OBJECT_RESTRICTED, TPM2_ALG_ECDSA);
    tpm->key_public = software_signing_public(tpm->key, 0, TPM2_ALG_NULL);
    tpm->ek_certificate = software_ek_certificate(ek_ca, tpm->ek, "2.23.133.8.1");
    software_boot_new(&tpm->boot, true);
}

static inline void software_tpm_clear(struct software_tpm *tpm)
{
    EVP_PKEY_free(tpm->ek);
    EVP_PKEY_free(tpm->ak);
    EVP_PKEY_free(tpm->key);
    X509_free(tpm->ek_certificate);
    software_boot_clear(&tpm->boot);
}

static inline void software_sign_bytes(EVP_PKEY *pkey, struct bytes bytes, struct buffer *ret)
{
    uint8_t der[256], encoded[sizeof(TPMT_SIGNATURE)];
    size_t size = sizeof(der), offset = 0;
    const unsigned char *at = der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    (void)EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey);
    (void)EVP_DigestSign(context, der, &size, bytes.data, bytes.size);
    EVP_MD_CTX_free(context);
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)size);
    TPMT_SIGNATURE signature = {
        .sigAlg = TPM2_ALG_ECDSA,
        .signature.ecdsa = {.hash = TPM2_ALG_SHA256, .signatureR.size = 32, .signatureS.size = 32}};
    (void)BN_bn2binpad(ECDSA_SIG_get0_r(numbers), signature.signature.ecdsa.signatureR.buffer, 32);
    (void)BN_bn2binpad(ECDSA_SIG_get0_s(numbers), signature.signature.ecdsa.signatureS.buffer, 32);
    ECDSA_SIG_free(numbers);
    (void)Tss2_MU_TPMT_SIGNATURE_Marshal(&signature, encoded, sizeof(encoded), &offset);
    buffer_reset(ret);
    buffer_append(ret, encoded, offset);
}

static inline void software_sign(EVP_PKEY *pkey, const TPMS_ATTEST *attest,
                                 struct evidence_signed *ret)
{
    uint8_t encoded[sizeof(TPMS_ATTEST)];
    size_t size = 0;
    (void)Tss2_MU_TPMS_ATTEST_Marshal(attest, encoded, sizeof(encoded), &size);
    buffer_reset(&ret->attested);
    buffer_append(&ret->attested, encoded, size);
    software_sign_bytes(pkey, buffer_bytes(&ret->attested), &ret->signature);
}

static inline TPMS_ATTEST software_attest(const struct software_tpm *tpm, TPM2_ST type,
                                          struct bytes nonce)
{
    TPMS_ATTEST attest = {.magic = TPM2_GENERATED_VALUE,
                          .type = type,
                          .extraData.size = (uint16_t)nonce.size,
                          .clockInfo = tpm->clock,
                          .firmwareVersion = 1};
    struct tpm2_name signer;
    (void)public_name(&tpm->ak_public, &signer, NULL);
    attest.qualifiedSigner.size = (uint16_t)signer.size;
    memcpy(attest.qualifiedSigner.name, signer.data, signer.size);
    if (nonce.size) {
        memcpy(attest.extraData.buffer, nonce.data, nonce.size);
    }
    return attest;
}

/* Of the registers as they are. */
static inline TPMS_ATTEST software_quote(const struct software_tpm *tpm,
                                         const struct pcr_selection *selection, struct bytes nonce)
{
    uint8_t digest[HASH_MAX_BYTES];
    TPMS_ATTEST attest = software_attest(tpm, TPM2_ST_ATTEST_QUOTE, nonce);
    pcr_selection_tpm(selection, &attest.attested.quote.pcrSelect);
    (void)pcr_set_digest(&tpm->boot.pcrs, selection, hash_by_id(TPM2_ALG_SHA256), digest, NULL);
    attest.attested.quote.pcrDigest.size = 32;
    memcpy(attest.attested.quote.pcrDigest.buffer, digest, 32);
    return attest;
}

static inline TPMS_ATTEST software_certify(const struct software_tpm *tpm, const TPMT_PUBLIC *key,
                                           struct bytes nonce)
{
    struct tpm2_name name;
    TPMS_ATTEST attest = software_attest(tpm, TPM2_ST_ATTEST_CERTIFY, nonce);
    (void)public_name(key, &name, NULL);
    attest.attested.certify.name.size = (uint16_t)name.size;
    memcpy(attest.attested.certify.name.name, name.data, name.size);
    return attest;
}

static inline void software_pcrs(const struct software_tpm *tpm,
                                 const struct pcr_selection *selection, struct pcr_set *ret_pcrs)
{
    *ret_pcrs = (struct pcr_set){0};
    for (size_t i = 0; i < selection->count; i++) {
        TPM2_ALG_ID bank = selection->banks[i].bank;
        for (unsigned index = 0; index < PCR_COUNT; index++) {
            const uint8_t *value = pcr_set_value(&tpm->boot.pcrs, bank, index);
            if (value && (selection->banks[i].mask >> index & 1)) {
                (void)pcr_set_put(ret_pcrs, bank, index,
                                  (struct bytes){value, hash_by_id(bank)->size}, NULL);
            }
        }
    }
}
