#include "pkcs11/token/algorithm.h"

#include <string.h>

#include "pkcs11/key_type.h"

static const struct sign_algorithm algorithms[] = {
    {CKM_ECDSA, SIGN_SCHEME_ECDSA, false, 0},
    {CKM_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, false, 0},
    {CKM_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, false, 0},
    {CKM_ECDSA_SHA256, SIGN_SCHEME_ECDSA, true, SIGN_DIGEST_SHA256},
    {CKM_ECDSA_SHA384, SIGN_SCHEME_ECDSA, true, SIGN_DIGEST_SHA384},
    {CKM_ECDSA_SHA512, SIGN_SCHEME_ECDSA, true, SIGN_DIGEST_SHA512},
    {CKM_SHA256_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, true, SIGN_DIGEST_SHA256},
    {CKM_SHA384_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, true, SIGN_DIGEST_SHA384},
    {CKM_SHA512_RSA_PKCS, SIGN_SCHEME_RSA_PKCS1, true, SIGN_DIGEST_SHA512},
    {CKM_SHA256_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, true, SIGN_DIGEST_SHA256},
    {CKM_SHA384_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, true, SIGN_DIGEST_SHA384},
    {CKM_SHA512_RSA_PKCS_PSS, SIGN_SCHEME_RSA_PSS, true, SIGN_DIGEST_SHA512},
};

/* For each digest: its PSS parameters, and DigestInfo up to the digest (RFC 8017 9.2 note 1). */
static const struct {
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mask;
    uint8_t info[19];
} digests[] = {
    [SIGN_DIGEST_SHA256] = {CKM_SHA256,
                            CKG_MGF1_SHA256,
                            {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}},
    [SIGN_DIGEST_SHA384] = {CKM_SHA384,
                            CKG_MGF1_SHA384,
                            {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30}},
    [SIGN_DIGEST_SHA512] = {CKM_SHA512,
                            CKG_MGF1_SHA512,
                            {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                             0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40}},
};

const struct sign_algorithm *sign_algorithm_find(CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        if (algorithms[i].type == type) {
            return &algorithms[i];
        }
    }
    return NULL;
}

bool sign_algorithm_fits(const struct sign_algorithm *algorithm, enum key_type type)
{
    return (algorithm->scheme == SIGN_SCHEME_ECDSA) == (key_type_info(type)->group != NULL);
}

/* RFC 8017 9.1 lets every part be chosen; only what TLS and JOSE use is taken. */
static CK_RV check_pss(const struct sign_algorithm *algorithm, const CK_MECHANISM *mechanism,
                       enum sign_digest *ret_digest)
{
    CK_RSA_PKCS_PSS_PARAMS given;
    if (!mechanism->pParameter || mechanism->ulParameterLen != sizeof(given)) {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    memcpy(&given, mechanism->pParameter, sizeof(given));
    for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
        enum sign_digest digest = (enum sign_digest)i;
        if (digests[i].hash == given.hashAlg && digests[i].mask == given.mgf &&
            sign_digest_size(digest) == given.sLen &&
            (!algorithm->is_hashing || algorithm->digest == digest)) {
            *ret_digest = digest;
            return CKR_OK;
        }
    }
    return CKR_MECHANISM_PARAM_INVALID;
}

CK_RV sign_algorithm_check(const struct sign_algorithm *algorithm, const CK_MECHANISM *mechanism,
                           enum sign_digest *ret_digest)
{
    if (algorithm->scheme == SIGN_SCHEME_RSA_PSS) {
        return check_pss(algorithm, mechanism, ret_digest);
    }
    if (mechanism->ulParameterLen != 0) {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    if (algorithm->is_hashing) {
        *ret_digest = algorithm->digest;
    }
    return CKR_OK;
}

/* FIPS 186-4 6.4: of a digest that is longer than the order the leftmost bits count, a shorter one
 * is the number that it is. So every digest can be one of the curve's own size, which is what all
 * hardware takes. */
static CK_RV value_of_ecdsa(enum key_type type, struct bytes data, struct sign_value *ret_value)
{
    size_t size = key_type_info(type)->number_bytes;
    size_t used = MIN(data.size, size);
    if (data.size == 0 || data.size > sizeof(ret_value->bytes)) {
        return CKR_DATA_LEN_RANGE;
    }
    memset(ret_value->bytes, 0, sizeof(ret_value->bytes));
    memcpy(ret_value->bytes + size - used, data.data, used);
    ret_value->digest = size == 48 ? SIGN_DIGEST_SHA384 : SIGN_DIGEST_SHA256;
    return CKR_OK;
}

/* Anything but the DigestInfo of a good digest is refused: what else would be signed with an
 * identity's key is nobody's business. */
static CK_RV value_of_digest_info(struct bytes data, struct sign_value *ret_value)
{
    for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
        size_t size = sign_digest_size((enum sign_digest)i);
        size_t prefix = sizeof(digests[i].info);
        if (data.size == prefix + size && memcmp(data.data, digests[i].info, prefix) == 0) {
            ret_value->digest = (enum sign_digest)i;
            memcpy(ret_value->bytes, data.data + prefix, size);
            return CKR_OK;
        }
    }
    return CKR_DATA_INVALID;
}

CK_RV sign_algorithm_value(const struct sign_algorithm *algorithm, enum sign_digest digest,
                           enum key_type type, struct bytes data, struct sign_value *ret_value)
{
    if (algorithm->scheme == SIGN_SCHEME_ECDSA) {
        return value_of_ecdsa(type, data, ret_value);
    }
    if (algorithm->scheme == SIGN_SCHEME_RSA_PKCS1 && !algorithm->is_hashing) {
        return value_of_digest_info(data, ret_value);
    }
    if (data.size != sign_digest_size(digest)) {
        return CKR_DATA_LEN_RANGE;
    }
    ret_value->digest = digest;
    memcpy(ret_value->bytes, data.data, data.size);
    return CKR_OK;
}
