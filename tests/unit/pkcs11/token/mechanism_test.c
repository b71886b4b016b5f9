#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "pkcs11/token/mechanism.h"

#define NUMBER(value) 0, 0, 0, 0, 0, 0, (value) >> 8, (value)&0xff
#define PSS_SHA256 NUMBER(CKM_SHA256), NUMBER(CKG_MGF1_SHA256), NUMBER(32)

static const struct {
    const char *name;
    uint8_t bytes[40];
    size_t size;
    CK_RV rv;
    CK_MECHANISM_TYPE type;
    enum mechanism_encoding encoding;
    bool has_pss, is_null;
} cases[] = {
    {"ECDSA of 0.24",
     {0, 0, 0x10, 0x41, 0xff, 0xff, 0xff, 0xff},
     8,
     CKR_OK,
     CKM_ECDSA,
     MECHANISM_ENCODING_CLASSIC,
     false,
     false},
    {"ECDSA of 0.26",
     {0, 0, 0x10, 0x41},
     4,
     CKR_OK,
     CKM_ECDSA,
     MECHANISM_ENCODING_MODERN,
     false,
     false},
    {"ECDSA that says it has no parameters",
     {0, 0, 0x10, 0x41, 0},
     5,
     CKR_OK,
     CKM_ECDSA,
     MECHANISM_ENCODING_MODERN,
     false,
     false},
    {"PSS of 0.24",
     {0, 0, 0, 0x0d, PSS_SHA256},
     28,
     CKR_OK,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_CLASSIC,
     true,
     false},
    {"PSS of 0.26",
     {0, 0, 0, 0x0d, 1, PSS_SHA256},
     29,
     CKR_OK,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_MODERN,
     true,
     false},
    {"SHA256 with PSS of 0.25",
     {0, 0, 0, 0x43, PSS_SHA256},
     28,
     CKR_OK,
     CKM_SHA256_RSA_PKCS_PSS,
     MECHANISM_ENCODING_CLASSIC,
     true,
     false},
    {"PSS of 0.26 without parameters",
     {0, 0, 0, 0x0d, 0},
     5,
     CKR_OK,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_MODERN,
     false,
     false},
    {"PSS with two bytes before",
     {0, 0, 0, 0x0d, 1, 1, PSS_SHA256},
     30,
     CKR_MECHANISM_PARAM_INVALID,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     false},
    {"PSS with another mark",
     {0, 0, 0, 0x0d, 2, PSS_SHA256},
     29,
     CKR_MECHANISM_PARAM_INVALID,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     false},
    {"PSS cut",
     {0, 0, 0, 0x0d, PSS_SHA256},
     27,
     CKR_MECHANISM_PARAM_INVALID,
     CKM_RSA_PKCS_PSS,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     false},
    {"NULL of 0.26",
     {0xff, 0xff, 0xff, 0xff},
     4,
     CKR_OK,
     0,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     true},
    {"AES with an IV",
     {0, 0, 0x10, 0x82, 1, 0, 0, 0, 2, 1, 2},
     11,
     CKR_MECHANISM_INVALID,
     CKM_AES_CBC,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     false},
    {"nothing", {0}, 0, CKR_MECHANISM_INVALID, 0, MECHANISM_ENCODING_UNKNOWN, false, false},
    {"half a type",
     {0, 0, 0x10},
     3,
     CKR_MECHANISM_INVALID,
     0,
     MECHANISM_ENCODING_UNKNOWN,
     false,
     false},
};

static void test_reads_both_encodings(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct mechanism mechanism;
        CK_RV rv = mechanism_read((struct bytes){cases[i].bytes, cases[i].size}, &mechanism);
        if (rv != cases[i].rv || mechanism.value.mechanism != cases[i].type ||
            mechanism.encoding != cases[i].encoding || mechanism.is_null != cases[i].is_null ||
            (mechanism.value.pParameter != NULL) != cases[i].has_pss) {
            fail_msg("%s: 0x%lx, type 0x%lx", cases[i].name, rv, mechanism.value.mechanism);
        }
        if (cases[i].has_pss) {
            assert_ptr_equal(mechanism.value.pParameter, &mechanism.pss);
            assert_int_equal(mechanism.value.ulParameterLen, sizeof(mechanism.pss));
            assert_int_equal(mechanism.pss.hashAlg, CKM_SHA256);
            assert_int_equal(mechanism.pss.mgf, CKG_MGF1_SHA256);
            assert_int_equal(mechanism.pss.sLen, 32);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_both_encodings)};
    return cmocka_run_group_tests_name("mechanism", tests, NULL, NULL);
}
