/* Credentials are opened by a real TPM's every kind of EK, and by nothing else. */
#include "tests/unit/attest/lab.h"

#include <openssl/rand.h>

#include "attest/credential.h"

enum { ROUNDS = 20 };

static struct lab lab;

/* The AK with a name of that hash, loaded. */
static TPM2_HANDLE load_ak(TPM2_ALG_ID hash, struct tpm2_name *ret_name)
{
    struct error err;
    TPM2_HANDLE handle = 0;
    TPMT_PUBLIC template;
    TPMT_PUBLIC public;
    lab_ak_template(TPM2_ALG_ECDSA, hash, &template);
    assert_int_equal(lab_create_primary(&lab, TPM2_RH_OWNER, &template, &handle, &public), 0);
    assert_done(public_name(&public, ret_name, &err), err);
    return handle;
}

struct made {
    uint8_t secret[HASH_MAX_BYTES];
    struct buffer id_object, encrypted;
};

static void make(const TPMT_PUBLIC *ek, const struct tpm2_name *name, size_t size,
                 struct made *made)
{
    struct error err;
    assert_int_equal(RAND_bytes(made->secret, (int)size), 1);
    buffer_reset(&made->id_object);
    buffer_reset(&made->encrypted);
    assert_done(credential_make(ek, name, (struct bytes){made->secret, size}, &made->id_object,
                                &made->encrypted, &err),
                err);
}

static void made_clear(struct made *made)
{
    buffer_clear(&made->id_object);
    buffer_clear(&made->encrypted);
}

static TSS2_RC activate(TPM2_HANDLE ak, TPM2_HANDLE ek, const struct ek_template *template,
                        const struct made *made, TPM2B_DIGEST *ret_secret)
{
    return lab_activate(&lab, ak, ek, template, buffer_bytes(&made->id_object),
                        buffer_bytes(&made->encrypted), ret_secret);
}

static void assert_opens(TPM2_HANDLE ak, TPM2_HANDLE ek, const struct ek_template *template,
                         const struct made *made, size_t size)
{
    TPM2B_DIGEST secret;
    const TSS2_RC rc = activate(ak, ek, template, made, &secret);
    if (rc != TSS2_RC_SUCCESS || secret.size != size) {
        fail_msg("template %s: the TPM answered 0x%x", template->name, rc);
    }
    assert_memory_equal(secret.buffer, made->secret, size);
}

static void assert_stays_shut(TPM2_HANDLE ak, TPM2_HANDLE ek, const struct ek_template *template,
                              const struct made *made)
{
    TPM2B_DIGEST secret;
    assert_int_not_equal(activate(ak, ek, template, made, &secret), TSS2_RC_SUCCESS);
}

static void check_damage(TPM2_HANDLE ak, TPM2_HANDLE ek, const struct ek_template *template,
                         struct made *made)
{
    made->id_object.data[made->id_object.size - 1] ^= 1;
    assert_stays_shut(ak, ek, template, made);
    made->id_object.data[made->id_object.size - 1] ^= 1;
    made->id_object.data[2] ^= 1;
    assert_stays_shut(ak, ek, template, made);
    made->id_object.data[2] ^= 1;
    made->encrypted.data[made->encrypted.size / 3] ^= 1;
    assert_stays_shut(ak, ek, template, made);
    made->encrypted.data[made->encrypted.size / 3] ^= 1;
    assert_opens(ak, ek, template, made, CREDENTIAL_SECRET_BYTES);
}

static void check_template(const struct ek_template *template, TPM2_ALG_ID name_hash)
{
    struct tpm2_name name;
    TPM2_HANDLE ek = 0;
    TPMT_PUBLIC public;
    _cleanup_(made_clear) struct made made = {0};
    const TSS2_RC rc =
        lab_create_primary(&lab, TPM2_RH_ENDORSEMENT, &template->public, &ek, &public);
    if (tpm_rc_is_parameter(rc)) {
        print_message("this TPM has no EK of template %s\n", template->name);
        return;
    }
    assert_int_equal(rc, TSS2_RC_SUCCESS);
    assert_ptr_equal(ek_template_of(&public), template);
    const TPM2_HANDLE ak = load_ak(name_hash, &name);
    const size_t longest = hash_by_id(public.nameAlg)->size;
    for (size_t i = 0; i < ROUNDS; i++) {
        const size_t size = i % 2 ? CREDENTIAL_SECRET_BYTES : longest;
        make(&public, &name, size, &made);
        assert_opens(ak, ek, template, &made, size);
    }
    make(&public, &name, CREDENTIAL_SECRET_BYTES, &made);
    check_damage(ak, ek, template, &made);
    name.data[5] ^= 1;
    make(&public, &name, CREDENTIAL_SECRET_BYTES, &made);
    assert_stays_shut(ak, ek, template, &made);
    lab_flush(&lab, ak);
    lab_flush(&lab, ek);
}

static void opens_with_every_template(void **state)
{
    (void)state;
    for (size_t i = 0; ek_template_at(i); i++) {
        check_template(ek_template_at(i), i % 2 ? TPM2_ALG_SHA384 : TPM2_ALG_SHA256);
    }
}

/* The EKs that the TPM was made with, where they lie. */
static void opens_with_certified_keys(void **state)
{
    static const TPM2_HANDLE handles[] = {LAB_EK_RSA, LAB_EK_P384};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        struct tpm2_name name;
        TPMT_PUBLIC public;
        _cleanup_(made_clear) struct made made = {0};
        lab_read_public(&lab, handles[i], &public, NULL);
        const TPM2_HANDLE ak = load_ak(TPM2_ALG_SHA256, &name);
        for (size_t round = 0; round < ROUNDS; round++) {
            make(&public, &name, CREDENTIAL_SECRET_BYTES, &made);
            assert_opens(ak, handles[i], ek_template_of(&public), &made, CREDENTIAL_SECRET_BYTES);
        }
        lab_flush(&lab, ak);
    }
}

static void is_for_one_tpm_alone(void **state)
{
    struct tpm2_name name;
    TPM2_HANDLE ek = 0;
    TPMT_PUBLIC public;
    const struct ek_template *template = ek_template_at(0);
    _cleanup_(made_clear) struct made made = {0};
    (void)state;
    /* The same template under another seed: another TPM. */
    assert_int_equal(lab_create_primary(&lab, TPM2_RH_OWNER, &template->public, &ek, &public), 0);
    lab_flush(&lab, ek);
    const TPM2_HANDLE ak = load_ak(TPM2_ALG_SHA256, &name);
    make(&public, &name, CREDENTIAL_SECRET_BYTES, &made);
    assert_int_equal(lab_create_primary(&lab, TPM2_RH_ENDORSEMENT, &template->public, &ek, &public),
                     0);
    assert_stays_shut(ak, ek, template, &made);
    lab_flush(&lab, ek);
    lab_flush(&lab, ak);
}

static void refuses(void **state)
{
    struct error err;
    TPMT_PUBLIC ek;
    _cleanup_(made_clear) struct made made = {0};
    const struct tpm2_name name = {{0x00, 0x0b}, 34};
    const struct tpm2_name no_name = {0};
    const uint8_t secret[HASH_MAX_BYTES + 1] = {0};
    (void)state;
    lab_read_public(&lab, LAB_EK_P384, &ek, NULL);
    const struct {
        const struct tpm2_name *name;
        size_t size;
    } wrong[] = {{&name, 0}, {&name, 49}, {&name, sizeof(secret)}, {&no_name, 32}};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(credential_make(&ek, wrong[i].name, (struct bytes){secret, wrong[i].size},
                                         &made.id_object, &made.encrypted, &err),
                         -1);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
    }
    ek.objectAttributes &= ~TPMA_OBJECT_RESTRICTED;
    assert_int_equal(credential_make(&ek, &name, (struct bytes){secret, 32}, &made.id_object,
                                     &made.encrypted, &err),
                     -1);
    assert_int_equal(made.id_object.size + made.encrypted.size, 0);
}

static int setup(void **state)
{
    struct error err;
    (void)state;
    assert_done(secret_init(&err), err);
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
        cmocka_unit_test(opens_with_every_template),
        cmocka_unit_test(opens_with_certified_keys),
        cmocka_unit_test(is_for_one_tpm_alone),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
