#include "attest/ek.h"

#include "lib/base/macro.h"
#include "pkcs11/tpm/tpm_public.h"

#define LOW_ATTRIBUTES                                                                             \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |            \
     TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)
#define HIGH_ATTRIBUTES (LOW_ATTRIBUTES | TPMA_OBJECT_USERWITHAUTH)

/* Macros, since initializers have to be constant. */
/* PolicySecret of the endorsement hierarchy. */
#define POLICY_A_SHA256                                                                            \
    {                                                                                              \
        .size = 32, .buffer = "\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24"   \
                              "\xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa"   \
    }
/* Policy A, or what an NV index says that the platform's maker defined. */
#define POLICY_B_SHA256                                                                            \
    {                                                                                              \
        .size = 32, .buffer = "\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3"   \
                              "\xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0"   \
    }
#define POLICY_B_SHA384                                                                            \
    {                                                                                              \
        .size = 48, .buffer = "\xb2\x6e\x7d\x28\xd1\x1a\x50\xbc\x53\xd8\x82\xbc\xf5\xfd\x3a\x1a"   \
                              "\x07\x41\x48\xbb\x35\xd3\xb4\xe4\xcb\x1c\x0a\xd9\xbd\xe4\x19\xca"   \
                              "\xcb\x47\xba\x09\x69\x96\x46\x15\x0f\x9f\xc0\x00\xf3\xf8\x0e\x12"   \
    }
#define POLICY_B_SHA512                                                                            \
    {                                                                                              \
        .size = 64, .buffer = "\xb8\x22\x1c\xa6\x9e\x85\x50\xa4\x91\x4d\xe3\xfa\xa6\xa1\x8c\x07"   \
                              "\x2c\xc0\x12\x08\x07\x3a\x92\x8d\x5d\x66\xd5\x9e\xf7\x9e\x49\xa4"   \
                              "\x29\xc4\x1a\x6b\x26\x95\x71\xd5\x7e\xdb\x25\xfb\xdb\x18\x38\x42"   \
                              "\x56\x08\xb4\x13\xcd\x61\x6a\x5f\x6d\xb5\xb6\x07\x1a\xf9\x9b\xea"   \
    }

#define AES_CFB(bits)                                                                              \
    {                                                                                              \
        .algorithm = TPM2_ALG_AES, .keyBits.aes = (bits), .mode.aes = TPM2_ALG_CFB                 \
    }
#define RSA_DETAIL(bits, aes_bits)                                                                 \
    {                                                                                              \
        .symmetric = AES_CFB(aes_bits), .scheme.scheme = TPM2_ALG_NULL, .keyBits = (bits)          \
    }
#define ECC_DETAIL(curve, aes_bits)                                                                \
    {                                                                                              \
        .symmetric = AES_CFB(aes_bits), .scheme.scheme = TPM2_ALG_NULL, .curveID = (curve),        \
        .kdf.scheme = TPM2_ALG_NULL                                                                \
    }

static const struct ek_template templates[] = {
    {"L-2",
     0x01c0000a,
     true,
     {.type = TPM2_ALG_ECC,
      .nameAlg = TPM2_ALG_SHA256,
      .objectAttributes = LOW_ATTRIBUTES,
      .authPolicy = POLICY_A_SHA256,
      .parameters.eccDetail = ECC_DETAIL(TPM2_ECC_NIST_P256, 128),
      .unique.ecc = {.x.size = 32, .y.size = 32}}},
    {"H-2",
     0x01c00014,
     false,
     {.type = TPM2_ALG_ECC,
      .nameAlg = TPM2_ALG_SHA256,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA256,
      .parameters.eccDetail = ECC_DETAIL(TPM2_ECC_NIST_P256, 128)}},
    {"H-3",
     0x01c00016,
     false,
     {.type = TPM2_ALG_ECC,
      .nameAlg = TPM2_ALG_SHA384,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA384,
      .parameters.eccDetail = ECC_DETAIL(TPM2_ECC_NIST_P384, 256)}},
    {"H-4",
     0x01c00018,
     false,
     {.type = TPM2_ALG_ECC,
      .nameAlg = TPM2_ALG_SHA512,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA512,
      .parameters.eccDetail = ECC_DETAIL(TPM2_ECC_NIST_P521, 256)}},
    {"L-1",
     0x01c00002,
     true,
     {.type = TPM2_ALG_RSA,
      .nameAlg = TPM2_ALG_SHA256,
      .objectAttributes = LOW_ATTRIBUTES,
      .authPolicy = POLICY_A_SHA256,
      .parameters.rsaDetail = RSA_DETAIL(2048, 128),
      .unique.rsa.size = 256}},
    {"H-1",
     0x01c00012,
     false,
     {.type = TPM2_ALG_RSA,
      .nameAlg = TPM2_ALG_SHA256,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA256,
      .parameters.rsaDetail = RSA_DETAIL(2048, 128)}},
    {"H-6",
     0x01c0001c,
     false,
     {.type = TPM2_ALG_RSA,
      .nameAlg = TPM2_ALG_SHA384,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA384,
      .parameters.rsaDetail = RSA_DETAIL(3072, 256)}},
    {"H-7",
     0x01c0001e,
     false,
     {.type = TPM2_ALG_RSA,
      .nameAlg = TPM2_ALG_SHA384,
      .objectAttributes = HIGH_ATTRIBUTES,
      .authPolicy = POLICY_B_SHA384,
      .parameters.rsaDetail = RSA_DETAIL(4096, 256)}},
};

const struct ek_template *ek_template_at(size_t place)
{
    return place < ARRAY_SIZE(templates) ? &templates[place] : NULL;
}

const struct ek_template *ek_template_of(const TPMT_PUBLIC *public)
{
    const TPM2B_PUBLIC sized = {.publicArea = *public};
    for (size_t i = 0; i < ARRAY_SIZE(templates); i++) {
        const TPM2B_PUBLIC template = {.publicArea = templates[i].public};
        if (tpm_public_matches(&sized, &template)) {
            return &templates[i];
        }
    }
    return NULL;
}
