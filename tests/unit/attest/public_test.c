/* Public areas: of a real TPM's keys, and what is to be refused. */
#include "tests/unit/attest/lab.h"

#include "attest/public.h"

static struct lab lab;

static TPMT_PUBLIC ak;

static void encode(const TPMT_PUBLIC *public, struct buffer *ret)
{
    buffer_reset(ret);
    public_encode(public, ret);
    assert_true(ret->size > 0);
}

static void name_is_the_tpms(void **state)
{
    static const TPM2_HANDLE handles[] = {LAB_EK_RSA, LAB_EK_P384};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        struct error err;
        TPMT_PUBLIC public;
        TPM2B_NAME expected;
        struct tpm2_name name;
        lab_read_public(&lab, handles[i], &public, &expected);
        assert_done(public_name(&public, &name, &err), err);
        const struct bytes bytes = tpm2_name_bytes(&name);
        assert_int_equal(bytes.size, expected.size);
        assert_memory_equal(bytes.data, expected.name, expected.size);
    }
}

static void every_byte_counts(void **state)
{
    struct error err;
    TPMT_PUBLIC parsed;
    _cleanup_(buffer_clear) struct buffer encoded = {0};
    _cleanup_(buffer_clear) struct buffer again = {0};
    (void)state;
    encode(&ak, &encoded);
    assert_done(public_parse(buffer_bytes(&encoded), &parsed, &err), err);
    encode(&parsed, &again);
    assert_true(bytes_is_equal(buffer_bytes(&encoded), buffer_bytes(&again)));
    for (size_t size = 0; size < encoded.size; size++) {
        assert_int_equal(public_parse((struct bytes){encoded.data, size}, &parsed, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    buffer_append_u8(&encoded, 0);
    assert_int_equal(public_parse(buffer_bytes(&encoded), &parsed, &err), -1);
    assert_non_null(strstr(err.text, "left over"));
    memset(buffer_extend(&encoded, PUBLIC_LIMIT_BYTES), 0, PUBLIC_LIMIT_BYTES);
    assert_int_equal(public_parse(buffer_bytes(&encoded), &parsed, &err), -1);
    /* With a size before it, as tpm2-tools write it. */
    encode(&ak, &encoded);
    _cleanup_(buffer_clear) struct buffer sized = {0};
    buffer_append_u16(&sized, (uint16_t)encoded.size);
    buffer_append(&sized, encoded.data, encoded.size);
    assert_int_equal(public_parse(buffer_bytes(&sized), &parsed, &err), -1);
}

/* A length that lies, at each place where there could be one. */
static void lengths_are_not_trusted(void **state)
{
    struct error err;
    TPMT_PUBLIC parsed;
    _cleanup_(buffer_clear) struct buffer encoded = {0};
    (void)state;
    encode(&ak, &encoded);
    for (size_t at = 0; at + 1 < encoded.size; at++) {
        const uint8_t before[] = {encoded.data[at], encoded.data[at + 1]};
        memset(encoded.data + at, 0xff, 2);
        (void)public_parse(buffer_bytes(&encoded), &parsed, &err);
        memcpy(encoded.data + at, before, 2);
    }
}

static void key_is_the_tpms(void **state)
{
    struct error err;
    TPMT_PUBLIC public;
    EVP_PKEY *pkey = NULL;
    (void)state;
    lab_read_public(&lab, LAB_EK_P384, &public, NULL);
    assert_done(public_pkey(&public, &pkey, &err), err);
    assert_int_equal(EVP_PKEY_get_bits(pkey), 384);
    _cleanup_(buffer_clear) struct buffer spki = {0};
    assert_done(public_spki(&public, &spki, &err), err);
    const unsigned char *cursor = spki.data;
    EVP_PKEY *read = d2i_PUBKEY(NULL, &cursor, (long)spki.size);
    assert_int_equal(EVP_PKEY_eq(pkey, read), 1);
    EVP_PKEY_free(read);
    EVP_PKEY_free(pkey);
}

static void change_curve(TPMT_PUBLIC *public)
{
    public->parameters.eccDetail.curveID = TPM2_ECC_NIST_P224;
}

static void leave_curve(TPMT_PUBLIC *public)
{
    public->unique.ecc.x.buffer[3] ^= 1;
}

static void lengthen(TPMT_PUBLIC *public)
{
    public->unique.ecc.x.size = 33;
}

static void empty(TPMT_PUBLIC *public)
{
    public->unique.ecc.x.size = 0;
    public->unique.ecc.y.size = 0;
}

static void make_hash_key(TPMT_PUBLIC *public)
{
    public->type = TPM2_ALG_KEYEDHASH;
}

static void make_rsa(TPMT_PUBLIC *public, uint16_t bits, uint32_t exponent, uint8_t last)
{
    public->type = TPM2_ALG_RSA;
    public->parameters.rsaDetail = (TPMS_RSA_PARMS){
        .symmetric.algorithm = TPM2_ALG_NULL,
        .scheme = {.scheme = TPM2_ALG_RSASSA, .details.anySig.hashAlg = TPM2_ALG_SHA256},
        .keyBits = bits,
        .exponent = exponent,
    };
    public->unique.rsa = (TPM2B_PUBLIC_KEY_RSA){.size = bits / 8};
    memset(public->unique.rsa.buffer, 0x93, bits / 8);
    public->unique.rsa.buffer[bits / 8 - 1] = last;
}

static void make_small_rsa(TPMT_PUBLIC *public)
{
    make_rsa(public, 1024, 0, 0x93);
}

static void make_even_rsa(TPMT_PUBLIC *public)
{
    make_rsa(public, 2048, 0, 0x92);
}

static void make_rsa_of_exponent_3(TPMT_PUBLIC *public)
{
    make_rsa(public, 2048, 3, 0x93);
}

static void make_short_rsa(TPMT_PUBLIC *public)
{
    make_rsa(public, 2048, 0, 0x93);
    public->unique.rsa.buffer[0] = 0;
}

static void make_cut_rsa(TPMT_PUBLIC *public)
{
    make_rsa(public, 2048, 0, 0x93);
    public->unique.rsa.size = 255;
}

static void keys_are_checked(void **state)
{
    static void (*const changes[])(TPMT_PUBLIC * public) = {
        change_curve,   leave_curve,   lengthen,       empty,        make_hash_key,
        make_small_rsa, make_even_rsa, make_short_rsa, make_cut_rsa, make_rsa_of_exponent_3,
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct error err;
        TPMT_PUBLIC public = ak;
        EVP_PKEY *pkey = NULL;
        _cleanup_(buffer_clear) struct buffer spki = {0};
        changes[i](&public);
        if (public_pkey(&public, &pkey, &err) == 0) {
            fail_msg("change %zu was not seen", i);
        }
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(public_spki(&public, &spki, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
}

static void large_keys_are_taken(void **state)
{
    static const uint16_t sizes[] = {2048, 3072, 4096};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct error err;
        TPMT_PUBLIC public = ak;
        EVP_PKEY *pkey = NULL;
        make_rsa(&public, sizes[i], i ? 65537 : 0, 0x93);
        assert_done(public_pkey(&public, &pkey, &err), err);
        assert_int_equal(EVP_PKEY_get_bits(pkey), sizes[i]);
        EVP_PKEY_free(pkey);
        assert_null(public_flaw_of_ak(&public));
    }
}

static void name_needs_a_hash(void **state)
{
    struct error err;
    struct tpm2_name name;
    TPMT_PUBLIC public = ak;
    (void)state;
    public.nameAlg = TPM2_ALG_NULL;
    assert_int_equal(public_name(&public, &name, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

/* Attributes changed one at a time. */
static const struct {
    TPMA_OBJECT changed;
    const char *ak, *signing; /* part of the flaw's text; NULL: none */
} attributes[] = {
    {0, NULL, NULL},
    {TPMA_OBJECT_FIXEDTPM, "fixedTPM", "fixedTPM"},
    {TPMA_OBJECT_FIXEDPARENT, "fixedParent", "fixedParent"},
    {TPMA_OBJECT_SENSITIVEDATAORIGIN, "sensitiveDataOrigin", "sensitiveDataOrigin"},
    {TPMA_OBJECT_ENCRYPTEDDUPLICATION, "encryptedDuplication", "encryptedDuplication"},
    {TPMA_OBJECT_SIGN_ENCRYPT, "sign", "sign"},
    {TPMA_OBJECT_DECRYPT, "decrypt", "decrypt"},
    {TPMA_OBJECT_RESTRICTED, "restricted", NULL},
    {TPMA_OBJECT_NODA, NULL, NULL},
    {TPMA_OBJECT_USERWITHAUTH, NULL, NULL},
    {TPMA_OBJECT_ADMINWITHPOLICY, NULL, NULL},
};

static void assert_flaw(const char *flaw, const char *expected)
{
    if (!expected) {
        assert_null(flaw);
        return;
    }
    assert_non_null(flaw);
    assert_int_equal(strncmp(flaw, expected, strlen(expected)), 0);
}

static void flaws_of_attributes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
        TPMT_PUBLIC public = ak;
        public.objectAttributes ^= attributes[i].changed;
        assert_flaw(public_flaw_of_ak(&public), attributes[i].ak);
        assert_flaw(public_flaw_of_signing_key(&public), attributes[i].signing);
    }
}

static void flaws_of_algorithms(void **state)
{
    (void)state;
    TPMT_PUBLIC public = ak;
    public.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
    assert_flaw(public_flaw_of_ak(&public), "the scheme");
    assert_null(public_flaw_of_signing_key(&public));
    public.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECDAA;
    assert_flaw(public_flaw_of_ak(&public), "the scheme");
    public = ak;
    public.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA1;
    assert_flaw(public_flaw_of_ak(&public), "the scheme");
    public = ak;
    public.nameAlg = TPM2_ALG_SHA1;
    assert_flaw(public_flaw_of_ak(&public), "nameAlg");
    public.nameAlg = TPM2_ALG_NULL;
    assert_flaw(public_flaw_of_signing_key(&public), "nameAlg");
    public = ak;
    change_curve(&public);
    assert_flaw(public_flaw_of_ak(&public), "the curve");
    public = ak;
    make_hash_key(&public);
    assert_flaw(public_flaw_of_signing_key(&public), "the key is neither");
    make_small_rsa(&public);
    assert_flaw(public_flaw_of_ak(&public), "the RSA key");
    make_rsa(&public, 2048, 0, 0x93);
    public.parameters.rsaDetail.scheme.scheme = TPM2_ALG_OAEP;
    assert_flaw(public_flaw_of_ak(&public), "the scheme");
}

static int setup(void **state)
{
    TPM2_HANDLE handle = 0;
    TPMT_PUBLIC template;
    (void)state;
    lab_new(&lab);
    lab_ak_template(TPM2_ALG_ECDSA, TPM2_ALG_SHA256, &template);
    assert_int_equal(lab_create_primary(&lab, TPM2_RH_OWNER, &template, &handle, &ak), 0);
    lab_flush(&lab, handle);
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
        cmocka_unit_test(name_is_the_tpms),        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(lengths_are_not_trusted), cmocka_unit_test(key_is_the_tpms),
        cmocka_unit_test(keys_are_checked),        cmocka_unit_test(large_keys_are_taken),
        cmocka_unit_test(name_needs_a_hash),       cmocka_unit_test(flaws_of_attributes),
        cmocka_unit_test(flaws_of_algorithms),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
