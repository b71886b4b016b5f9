#include "pkcs11/tpm/tpm_public.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <string.h>
#include <tss2/tss2_mu.h>

DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(OSSL_PARAM_BLD, param_builder, OSSL_PARAM_BLD_free);
DEFINE_CLEANUP(OSSL_PARAM, params, OSSL_PARAM_free);
DEFINE_CLEANUP(BIGNUM, bignum, BN_free);

enum { RSA_BITS = 2048, RSA_MAX_BITS = 4096, RSA_EXPONENT = 65537 };

#define FIXED_ATTRIBUTES                                                                           \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |            \
     TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA)

static const struct curve {
    TPM2_ECC_CURVE id;
    const char *name; /* OpenSSL's */
    uint16_t size_bytes;
} curves[] = {
    {TPM2_ECC_NIST_P256, "P-256", 32},
    {TPM2_ECC_NIST_P384, "P-384", 48},
    {TPM2_ECC_NIST_P521, "P-521", 66},
};
enum { COORDINATE_MAX_BYTES = 66 };

struct bytes tpm_name_bytes(const struct tpm_name *name)
{
    return (struct bytes){name->data, name->size};
}

bool tpm_name_is_equal(const struct tpm_name *a, const struct tpm_name *b)
{
    return bytes_is_equal(tpm_name_bytes(a), tpm_name_bytes(b));
}

static void template_ecc(TPM2_ECC_CURVE curve, TPMT_SYM_DEF_OBJECT symmetric, TPMT_PUBLIC *area)
{
    area->type = TPM2_ALG_ECC;
    area->parameters.eccDetail = (TPMS_ECC_PARMS){
        .symmetric = symmetric,
        .scheme.scheme = TPM2_ALG_NULL,
        .curveID = curve,
        .kdf.scheme = TPM2_ALG_NULL,
    };
}

static void template_rsa(TPMT_SYM_DEF_OBJECT symmetric, TPMT_PUBLIC *area)
{
    area->type = TPM2_ALG_RSA;
    area->parameters.rsaDetail = (TPMS_RSA_PARMS){
        .symmetric = symmetric,
        .scheme.scheme = TPM2_ALG_NULL,
        .keyBits = RSA_BITS,
    };
}

void tpm_public_primary_template(enum tpm_primary_kind kind, TPM2B_PUBLIC *ret_template)
{
    const TPMT_SYM_DEF_OBJECT aes = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    *ret_template = (TPM2B_PUBLIC){0};
    TPMT_PUBLIC *area = &ret_template->publicArea;
    area->nameAlg = TPM2_ALG_SHA256;
    area->objectAttributes = FIXED_ATTRIBUTES | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
    if (kind == TPM_PRIMARY_ECC_P256) {
        template_ecc(TPM2_ECC_NIST_P256, aes, area);
    } else {
        template_rsa(aes, area);
    }
}

void tpm_public_key_template(enum key_type type, TPM2B_PUBLIC *ret_template)
{
    const TPMT_SYM_DEF_OBJECT none = {.algorithm = TPM2_ALG_NULL};
    *ret_template = (TPM2B_PUBLIC){0};
    TPMT_PUBLIC *area = &ret_template->publicArea;
    area->nameAlg = TPM2_ALG_SHA256;
    area->objectAttributes = FIXED_ATTRIBUTES | TPMA_OBJECT_SIGN_ENCRYPT;
    if (type == KEY_TYPE_RSA_2048) {
        template_rsa(none, area);
    } else {
        template_ecc(type == KEY_TYPE_EC_P256 ? TPM2_ECC_NIST_P256 : TPM2_ECC_NIST_P384, none,
                     area);
    }
}

void tpm_public_fixed_key_template(enum key_type type, TPM2B_PUBLIC *ret_template)
{
    tpm_public_key_template(type, ret_template);
    TPMT_PUBLIC *area = &ret_template->publicArea;
    if (type == KEY_TYPE_RSA_2048) {
        area->parameters.rsaDetail.scheme =
            (TPMT_RSA_SCHEME){.scheme = TPM2_ALG_RSASSA, .details.rsassa.hashAlg = TPM2_ALG_SHA256};
    } else {
        area->parameters.eccDetail.scheme =
            (TPMT_ECC_SCHEME){.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256};
    }
}

void tpm_public_ak_template(enum key_type type, TPM2B_PUBLIC *ret_template)
{
    tpm_public_fixed_key_template(type, ret_template);
    ret_template->publicArea.objectAttributes |= TPMA_OBJECT_RESTRICTED;
}

struct marshalled {
    uint8_t data[sizeof(TPMT_PUBLIC)];
    size_t size;
};

static TSS2_RC marshal_area(const TPMT_PUBLIC *area, struct marshalled *ret)
{
    ret->size = 0;
    return Tss2_MU_TPMT_PUBLIC_Marshal(area, ret->data, sizeof(ret->data), &ret->size);
}

bool tpm_public_matches(const TPM2B_PUBLIC *public, const TPM2B_PUBLIC *template)
{
    TPMT_PUBLIC expected = template->publicArea;
    struct marshalled have;
    struct marshalled want;
    if (public->publicArea.type != expected.type) {
        return false;
    }
    expected.unique = public->publicArea.unique;
    if (expected.type == TPM2_ALG_RSA && public->publicArea.parameters.rsaDetail.exponent != 0) {
        expected.parameters.rsaDetail.exponent = RSA_EXPONENT;
    }
    return marshal_area(&public->publicArea, &have) == TSS2_RC_SUCCESS &&
           marshal_area(&expected, &want) == TSS2_RC_SUCCESS && have.size == want.size &&
           memcmp(have.data, want.data, have.size) == 0;
}

/* SHA-256 is the name of all keys and is at hand. */
static bool hash_area(const struct tpm_crypto *crypto, TPM2_ALG_ID algorithm,
                      const struct marshalled *area, uint8_t *ret_hash, size_t *ret_size)
{
    const struct bytes part = {area->data, area->size};
    const EVP_MD *md = algorithm == TPM2_ALG_SHA384 ? EVP_sha384() : EVP_sha512();
    unsigned size = 0;
    if (algorithm == TPM2_ALG_SHA256) {
        *ret_size = TPM_HASH_BYTES;
        return tpm_crypto_hash(crypto, &part, 1, ret_hash);
    }
    bool is_done = EVP_Digest(area->data, area->size, ret_hash, &size, md, NULL) == 1;
    *ret_size = size;
    return is_done;
}

TSS2_RC tpm_public_name(const struct tpm_crypto *crypto, const TPM2B_PUBLIC *public,
                        struct tpm_name *ret_name)
{
    struct marshalled area;
    size_t size = 0;
    TPM2_ALG_ID algorithm = public->publicArea.nameAlg;
    if ((algorithm != TPM2_ALG_SHA256 && algorithm != TPM2_ALG_SHA384 &&
         algorithm != TPM2_ALG_SHA512) ||
        marshal_area(&public->publicArea, &area) != TSS2_RC_SUCCESS) {
        return TPM_RC_BAD_ANSWER;
    }
    *ret_name = (struct tpm_name){
        .data = {(uint8_t)(algorithm >> 8), (uint8_t)algorithm},
    };
    if (!hash_area(crypto, algorithm, &area, ret_name->data + 2, &size)) {
        return TPM_RC_CRYPTO;
    }
    ret_name->size = 2 + size;
    return TSS2_RC_SUCCESS;
}

static const struct curve *find_curve(TPM2_ECC_CURVE id)
{
    for (size_t i = 0; i < ARRAY_SIZE(curves); i++) {
        if (curves[i].id == id) {
            return &curves[i];
        }
    }
    return NULL;
}

/* A coordinate left-padded to the size of the field; false when it is longer. */
static bool put_coordinate(const TPM2B_ECC_PARAMETER *from, uint8_t *to, size_t size)
{
    if (from->size > size) {
        return false;
    }
    memset(to, 0, size);
    memcpy(to + size - from->size, from->buffer, from->size);
    return true;
}

static bool push_ecc(OSSL_PARAM_BLD *builder, const TPMT_PUBLIC *area, uint8_t *point)
{
    const struct curve *curve = find_curve(area->parameters.eccDetail.curveID);
    if (!curve || !put_coordinate(&area->unique.ecc.x, point + 1, curve->size_bytes) ||
        !put_coordinate(&area->unique.ecc.y, point + 1 + curve->size_bytes, curve->size_bytes)) {
        return false;
    }
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    return OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->name, 0) &&
           OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point,
                                            1 + 2 * (size_t)curve->size_bytes);
}

static bool push_rsa(OSSL_PARAM_BLD *builder, const TPMT_PUBLIC *area, const BIGNUM *modulus)
{
    const uint16_t bits = area->parameters.rsaDetail.keyBits;
    const uint32_t exponent = area->parameters.rsaDetail.exponent;
    return modulus && bits >= RSA_BITS && bits <= RSA_MAX_BITS && bits % 1024 == 0 &&
           area->unique.rsa.size == bits / 8 && BN_num_bits(modulus) == bits &&
           BN_is_odd(modulus) && (exponent == 0 || exponent == RSA_EXPONENT) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) &&
           OSSL_PARAM_BLD_push_uint32(builder, OSSL_PKEY_PARAM_RSA_E, RSA_EXPONENT);
}

EVP_PKEY *tpm_public_pkey(const TPM2B_PUBLIC *public, struct error *err)
{
    const TPMT_PUBLIC *area = &public->publicArea;
    bool is_rsa = area->type == TPM2_ALG_RSA;
    uint8_t point[1 + 2 * COORDINATE_MAX_BYTES];
    _cleanup_(bignum_cleanup) BIGNUM *modulus =
        is_rsa ? BN_bin2bn(area->unique.rsa.buffer, area->unique.rsa.size, NULL) : NULL;
    _cleanup_(param_builder_cleanup) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    bool is_pushed =
        builder && (is_rsa ? push_rsa(builder, area, modulus)
                           : area->type == TPM2_ALG_ECC && push_ecc(builder, area, point));
    _cleanup_(params_cleanup) OSSL_PARAM *params =
        is_pushed ? OSSL_PARAM_BLD_to_param(builder) : NULL;
    _cleanup_(evp_pkey_context_cleanup) EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_name(NULL, is_rsa ? "RSA" : "EC", NULL);
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = NULL;
    if (!params || !context || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        (void)error_set_openssl(err, ERROR_INTERNAL, "reading a public key that the TPM gave");
        return NULL;
    }
    return take_ptr(pkey);
}

int tpm_public_spki(const TPM2B_PUBLIC *public, struct buffer *ret_spki, struct error *err)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey = tpm_public_pkey(public, err);
    if (!pkey) {
        return -1;
    }
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    if (size <= 0) {
        return error_set_openssl(err, ERROR_INTERNAL, "encoding a public key that the TPM gave");
    }
    buffer_append(ret_spki, der, (size_t)size);
    OPENSSL_free(der);
    return 0;
}
