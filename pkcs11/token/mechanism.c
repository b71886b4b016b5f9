#include "pkcs11/token/mechanism.h"

enum { NUMBER_BYTES = 8, PSS_BYTES = 3 * NUMBER_BYTES };

/* How the wire says that there is no mechanism, or that an array is NULL. */
static const uint32_t nothing = 0xffffffff;

static const CK_MECHANISM_TYPE pss_types[] = {
    CKM_RSA_PKCS_PSS,        CKM_SHA1_RSA_PKCS_PSS,   CKM_SHA224_RSA_PKCS_PSS,
    CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384_RSA_PKCS_PSS, CKM_SHA512_RSA_PKCS_PSS,
};

static bool is_pss(CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < ARRAY_SIZE(pss_types); i++) {
        if (pss_types[i] == type) {
            return true;
        }
    }
    return false;
}

/* The form without parameters of either encoding; UNKNOWN where it is another. */
static enum mechanism_encoding read_no_parameters(struct bytes encoded)
{
    struct reader reader = reader_of(encoded);
    switch (encoded.size) {
    case 0:
        return MECHANISM_ENCODING_MODERN;
    case 1:
        return reader_u8(&reader) == 0 ? MECHANISM_ENCODING_MODERN : MECHANISM_ENCODING_UNKNOWN;
    case sizeof(nothing):
        return reader_u32(&reader) == nothing ? MECHANISM_ENCODING_CLASSIC
                                              : MECHANISM_ENCODING_UNKNOWN;
    default:
        return MECHANISM_ENCODING_UNKNOWN;
    }
}

static CK_RV read_pss(struct bytes encoded, struct mechanism *mechanism)
{
    struct reader reader = reader_of(encoded);
    bool is_modern = encoded.size == PSS_BYTES + 1;
    bool has_parameters = is_modern ? reader_u8(&reader) == 1 : true;
    mechanism->pss.hashAlg = reader_u64(&reader);
    mechanism->pss.mgf = reader_u64(&reader);
    mechanism->pss.sLen = reader_u64(&reader);
    if (!has_parameters || !reader_is_done(&reader)) {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    mechanism->encoding = is_modern ? MECHANISM_ENCODING_MODERN : MECHANISM_ENCODING_CLASSIC;
    mechanism->value.pParameter = &mechanism->pss;
    mechanism->value.ulParameterLen = sizeof(mechanism->pss);
    return CKR_OK;
}

CK_RV mechanism_read(struct bytes encoded, struct mechanism *ret_mechanism)
{
    *ret_mechanism = (struct mechanism){0};
    struct reader reader = reader_of(encoded);
    uint32_t type = reader_u32(&reader);
    if (reader.is_bad) {
        return CKR_MECHANISM_INVALID;
    }
    if (type == nothing && reader_is_done(&reader)) {
        ret_mechanism->is_null = true;
        return CKR_OK;
    }
    ret_mechanism->value.mechanism = type;
    ret_mechanism->encoding = read_no_parameters(reader.rest);
    if (ret_mechanism->encoding != MECHANISM_ENCODING_UNKNOWN) {
        return CKR_OK;
    }
    return is_pss(type) ? read_pss(reader.rest, ret_mechanism) : CKR_MECHANISM_INVALID;
}
