/* What TPMs sign, checked: quotes of a real one with every scheme, and each way in which one can be
 * wrong. */
#include "tests/unit/attest/lab.h"

#include "attest/attested.h"
#include "tests/unit/attest/software_tpm.h"

static struct lab lab;

static const uint8_t nonce_value[32] = {7, 7, 7};
static const struct bytes nonce = {nonce_value, sizeof(nonce_value)};

/* A quote over PCR 16, and who made it. */
struct quoted {
    TPMT_PUBLIC ak;
    struct buffer attested, signature;
};

static void quoted_clear(struct quoted *quoted)
{
    buffer_clear(&quoted->attested);
    buffer_clear(&quoted->signature);
}

static void make_quote(TPM2_ALG_ID scheme, TPM2_ALG_ID hash, struct quoted *ret)
{
    TPMT_PUBLIC template;
    TPM2_HANDLE handle = 0;
    struct pcr_selection selection;
    TPML_PCR_SELECTION list;
    TPM2B_DATA data = {.size = sizeof(nonce_value)};
    const TPMT_SIG_SCHEME by_key = {.scheme = TPM2_ALG_NULL};
    TPM2B_ATTEST attest = {0};
    TPMT_SIGNATURE signature = {0};
    TSS2L_SYS_AUTH_RESPONSE answer = {0};
    uint8_t encoded[sizeof(TPMT_SIGNATURE)];
    size_t size = 0;
    memcpy(data.buffer, nonce_value, sizeof(nonce_value));
    assert_int_equal(pcr_selection_parse("sha256:16", &selection, NULL), 0);
    pcr_selection_tpm(&selection, &list);
    lab_ak_template(scheme, hash, &template);
    assert_int_equal(lab_create_primary(&lab, TPM2_RH_OWNER, &template, &handle, &ret->ak), 0);
    assert_int_equal(Tss2_Sys_Quote(lab.transport.sys, handle, &lab_password, &data, &by_key, &list,
                                    &attest, &signature, &answer),
                     TSS2_RC_SUCCESS);
    lab_flush(&lab, handle);
    buffer_reset(&ret->attested);
    buffer_reset(&ret->signature);
    buffer_append(&ret->attested, attest.attestationData, attest.size);
    assert_int_equal(Tss2_MU_TPMT_SIGNATURE_Marshal(&signature, encoded, sizeof(encoded), &size),
                     0);
    buffer_append(&ret->signature, encoded, size);
}

static enum attested_flaw check_bytes(struct bytes attested, struct bytes signature,
                                      const TPMT_PUBLIC *ak, TPM2_ST type, struct bytes expected)
{
    struct error err;
    TPMS_ATTEST attest;
    enum attested_flaw flaw = (enum attested_flaw)99;
    const int result =
        attested_check(attested, signature, ak, type, expected, &attest, &flaw, &err);
    assert_int_equal(result, flaw == ATTESTED_FLAW_NONE ? 0 : -1);
    if (result == 0) {
        assert_int_equal(attest.type, type);
    }
    return flaw;
}

static enum attested_flaw check(const struct quoted *quoted)
{
    return check_bytes(buffer_bytes(&quoted->attested), buffer_bytes(&quoted->signature),
                       &quoted->ak, TPM2_ST_ATTEST_QUOTE, nonce);
}

static const struct {
    TPM2_ALG_ID scheme, hash;
} schemes[] = {
    {TPM2_ALG_ECDSA, TPM2_ALG_SHA256},  {TPM2_ALG_ECDSA, TPM2_ALG_SHA384},
    {TPM2_ALG_RSASSA, TPM2_ALG_SHA256}, {TPM2_ALG_RSASSA, TPM2_ALG_SHA512},
    {TPM2_ALG_RSAPSS, TPM2_ALG_SHA256},
};

static void check_wrong(struct quoted *quoted, const TPMT_PUBLIC *other)
{
    const size_t last = quoted->signature.size - 1;
    quoted->signature.data[last] ^= 1;
    assert_int_equal(check(quoted), ATTESTED_FLAW_SIGNATURE);
    quoted->signature.data[last] ^= 1;
    for (size_t i = 0; i < quoted->attested.size; i++) {
        quoted->attested.data[i] ^= 0x40;
        assert_int_equal(check(quoted), ATTESTED_FLAW_SIGNATURE);
        quoted->attested.data[i] ^= 0x40;
    }
    /* The algorithm, then its hash: the two fields that a signature begins with. */
    quoted->signature.data[3] ^= 7;
    assert_int_equal(check(quoted), ATTESTED_FLAW_ALGORITHM);
    quoted->signature.data[3] ^= 7;
    for (size_t size = 0; size <= last; size++) {
        assert_int_equal(check_bytes(buffer_bytes(&quoted->attested),
                                     (struct bytes){quoted->signature.data, size}, &quoted->ak,
                                     TPM2_ST_ATTEST_QUOTE, nonce),
                         ATTESTED_FLAW_ENCODING);
    }
    assert_int_not_equal(check_bytes(buffer_bytes(&quoted->attested),
                                     buffer_bytes(&quoted->signature), other, TPM2_ST_ATTEST_QUOTE,
                                     nonce),
                         ATTESTED_FLAW_NONE);
}

static void real_quotes_hold(void **state)
{
    _cleanup_(quoted_clear) struct quoted quoted = {0};
    TPMT_PUBLIC before = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        make_quote(schemes[i].scheme, schemes[i].hash, &quoted);
        assert_int_equal(check(&quoted), ATTESTED_FLAW_NONE);
        check_wrong(&quoted, &before);
        before = quoted.ak;
    }
}

static void real_quote_is_for_one_question(void **state)
{
    _cleanup_(quoted_clear) struct quoted quoted = {0};
    const uint8_t other[32] = {7, 7, 8};
    const struct bytes nonces[] = {{nonce_value, 31}, {other, 32}, {NULL, 0}};
    (void)state;
    make_quote(TPM2_ALG_ECDSA, TPM2_ALG_SHA256, &quoted);
    const struct bytes attested = buffer_bytes(&quoted.attested);
    const struct bytes signature = buffer_bytes(&quoted.signature);
    for (size_t i = 0; i < ARRAY_SIZE(nonces); i++) {
        assert_int_equal(
            check_bytes(attested, signature, &quoted.ak, TPM2_ST_ATTEST_QUOTE, nonces[i]),
            ATTESTED_FLAW_NONCE);
    }
    assert_int_equal(check_bytes(attested, signature, &quoted.ak, TPM2_ST_ATTEST_CERTIFY, nonce),
                     ATTESTED_FLAW_TYPE);
}

/* Another scheme and hash in the AK's public area than in the signature. */
static void algorithm_is_the_aks(void **state)
{
    _cleanup_(quoted_clear) struct quoted quoted = {0};
    (void)state;
    make_quote(TPM2_ALG_RSASSA, TPM2_ALG_SHA256, &quoted);
    quoted.ak.parameters.rsaDetail.scheme.scheme = TPM2_ALG_RSAPSS;
    assert_int_equal(check(&quoted), ATTESTED_FLAW_ALGORITHM);
    quoted.ak.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
    assert_int_equal(check(&quoted), ATTESTED_FLAW_ALGORITHM);
    quoted.ak.parameters.rsaDetail.scheme.scheme = TPM2_ALG_RSASSA;
    quoted.ak.parameters.rsaDetail.scheme.details.rsassa.hashAlg = TPM2_ALG_SHA384;
    assert_int_equal(check(&quoted), ATTESTED_FLAW_ALGORITHM);
    quoted.ak.type = TPM2_ALG_KEYEDHASH;
    assert_int_equal(check(&quoted), ATTESTED_FLAW_ALGORITHM);
}

/* What a TPM's key would never sign, signed right: only software can. */
static void check_signed(const TPMT_PUBLIC *ak, EVP_PKEY *pkey, struct bytes attested,
                         enum attested_flaw expected)
{
    _cleanup_(buffer_clear) struct buffer signature = {0};
    software_sign_bytes(pkey, attested, &signature);
    assert_int_equal(
        check_bytes(attested, buffer_bytes(&signature), ak, TPM2_ST_ATTEST_QUOTE, nonce), expected);
}

static void signed_bytes_are_read_with_care(void **state)
{
    _cleanup_(quoted_clear) struct quoted quoted = {0};
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    const TPMT_PUBLIC ak = software_signing_public(pkey, TPMA_OBJECT_RESTRICTED, TPM2_ALG_ECDSA);
    (void)state;
    make_quote(TPM2_ALG_ECDSA, TPM2_ALG_SHA256, &quoted);
    struct buffer *attested = &quoted.attested;
    check_signed(&ak, pkey, buffer_bytes(attested), ATTESTED_FLAW_NONE);
    for (size_t size = 0; size < attested->size; size++) {
        check_signed(&ak, pkey, (struct bytes){attested->data, size}, ATTESTED_FLAW_ENCODING);
    }
    attested->data[0] ^= 1;
    check_signed(&ak, pkey, buffer_bytes(attested), ATTESTED_FLAW_MAGIC);
    attested->data[0] ^= 1;
    attested->data[5] ^= 0xff;
    check_signed(&ak, pkey, buffer_bytes(attested), ATTESTED_FLAW_ENCODING);
    attested->data[5] ^= 0xff;
    buffer_append_u8(attested, 0);
    check_signed(&ak, pkey, buffer_bytes(attested), ATTESTED_FLAW_ENCODING);
    memset(buffer_extend(attested, 10000), 0, 10000);
    check_signed(&ak, pkey, buffer_bytes(attested), ATTESTED_FLAW_ENCODING);
    EVP_PKEY_free(pkey);
}

static int setup(void **state)
{
    (void)state;
    lab_new(&lab);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lab_remove(&lab);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_quotes_hold),
        cmocka_unit_test(real_quote_is_for_one_question),
        cmocka_unit_test(algorithm_is_the_aks),
        cmocka_unit_test(signed_bytes_are_read_with_care),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
